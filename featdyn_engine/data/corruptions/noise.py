"""Noise: independent of pixel to pixel. Strengths are CIFAR-10-C's."""

import torch
from torch import Tensor

from featdyn_engine.data.corruptions.draws import Draws

GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)
SHOT = (500.0, 250.0, 100.0, 75.0, 50.0)
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)
SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)


def gaussian_noise(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Add normal noise of standard deviation 0.04 to 0.10."""
    return x + GAUSSIAN[level] * draws.normal(*x.shape[1:])


def shot_noise(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Count photons: Poisson of 500 to 50 expected for white."""
    photons = SHOT[level]
    return draws.each(lambda i, stream: torch.poisson(photons * x[i], stream)) / photons


def impulse_noise(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Turn 1 to 7 % of the values to black or white."""
    where, white = draws.uniform(2, *x.shape[1:]).unbind(dim=1)
    return torch.where(where < IMPULSE[level], (white < 0.5).float(), x)


def speckle_noise(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Multiply by 1 plus normal noise of standard deviation 0.06 to 0.2."""
    return x + SPECKLE[level] * x * draws.normal(*x.shape[1:])
