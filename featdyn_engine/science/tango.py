"""Tango's score test of a paired difference of two shares (Statistics in Medicine 17, 1998)."""

import numpy as np
from numpy.typing import NDArray

Counts = float | NDArray[np.float64]


def variance(gained: Counts, lost: Counts, n: int, delta: float) -> Counts:
    """Variance of (gained - lost) if the true difference of the shares were ``delta``.

    gained, lost: discordant examples of either kind, among ``n``, numbers or arrays of one shape;
    delta: -1 to 1. The share lost is the likeliest one under that difference (eq. 5).
    """
    linear = (2 * n - gained + lost) * delta - gained - lost
    root = np.sqrt(np.maximum(linear**2 + 8 * n * lost * delta * (1 - delta), 0.0))
    share_lost = (root - linear) / (4 * n)
    found: Counts = n * np.maximum(2 * share_lost + delta * (1 - delta), 0.0)
    return found
