"""Independent random streams: every draw names its purpose, so no two draws share a state."""

import hashlib

import torch
from torch import Tensor


def generator(purpose: str, *seeds: int) -> torch.Generator:
    """Return a CPU generator that is a function of its purpose and seeds alone.

    Without the purpose, "the first 500 of seed 0" and "the noisy labels of seed 0" would be
    the same examples.
    """
    digest = hashlib.sha256(repr((purpose, *seeds)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def subset(purpose: str, total: int, count: int) -> Tensor:
    """Return which ``count`` of ``total`` examples serve a purpose: int64, rising, always the same.

    All where there are fewer. Drawn, as a set may be sorted by class.
    """
    return torch.randperm(total, generator=generator(purpose, total))[:count].sort().values
