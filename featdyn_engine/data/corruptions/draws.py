"""Random numbers of each example: its own stream, whatever batch it comes in."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from featdyn_engine.randomness import generator


class Draws:
    """One stream an example, a function of kind, seed and the example's position in its split.

    Severity is no part of it: the severities of an image differ by strength, not by chance. All
    numbers are drawn on the CPU.
    """

    def __init__(self, kind: str, seed: int, positions: Sequence[int]) -> None:
        purpose = f"corruption {kind}"
        self._streams = [generator(purpose, seed, position) for position in positions]

    def each(self, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """Stack what ``draw(index, stream)`` gives for each of the N examples."""
        return torch.stack([draw(i, stream) for i, stream in enumerate(self._streams)])

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers, float32 (N, *shape)."""
        drawn = torch.empty(len(self._streams), *shape)
        for row, stream in zip(drawn, self._streams, strict=True):
            row.normal_(generator=stream)
        return drawn

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniform numbers in 0 to 1, float32 (N, *shape)."""
        drawn = torch.empty(len(self._streams), *shape)
        for row, stream in zip(drawn, self._streams, strict=True):
            row.uniform_(generator=stream)
        return drawn
