"""Independent random streams: every draw names its purpose, so no two draws share a state."""

import zlib

import numpy as np
import torch


def generator(purpose: str, *seeds: int) -> torch.Generator:
    """Return a CPU generator that is a function of its purpose and seeds alone.

    Without the purpose, "the first 500 of seed 0" and "the noisy labels of seed 0" would be
    the same examples.
    """
    entropy = (zlib.crc32(purpose.encode()), *seeds)
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))
