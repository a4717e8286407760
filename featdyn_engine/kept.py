"""Values kept by their key, up to a number of bytes."""

from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any, TypeVar

from cachetools import LRUCache
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
        self._values: LRUCache[Hashable, Any] = LRUCache(room, getsizeof=tensor_bytes)

    @property
    def used(self) -> int:
        """Bytes of what is kept."""
        return int(self._values.currsize)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key: that kept, or a new one of ``make``."""
        if key in self._values:
            found: T = self._values[key]
            return found
        value = make()
        with suppress(ValueError):  # larger than all the room
            self._values[key] = value
        return value
