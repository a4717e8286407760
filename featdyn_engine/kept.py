"""Values kept by their key, up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import is_dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

T = TypeVar("T")


def tensor_bytes(value: Any) -> int:
    """Bytes of the tensors in a tensor, a network, or a dataclass with tensors."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, nn.Module):
        return sum(tensor_bytes(each) for each in (*value.parameters(), *value.buffers()))
    return sum(tensor_bytes(each) for each in vars(value).values()) if is_dataclass(value) else 0


class Kept:
    """The values used last, of at most ``room`` bytes of tensors in all.

    One that alone is larger is made and given, and not kept.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    @property
    def used(self) -> int:
        """Bytes of what is kept."""
        return sum(size for _, size in self._values.values())

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key: that kept, or a new one of ``make``."""
        if key in self._values:
            self._values.move_to_end(key)
            found: T = self._values[key][0]
            return found
        value = make()
        size = tensor_bytes(value)
        if size <= self.room:
            self._values[key] = (value, size)
            while self.used > self.room:
                self._values.popitem(last=False)
        return value
