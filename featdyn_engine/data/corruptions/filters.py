"""Filters that several kinds share. Sums go tap by tap, in one order on every machine."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# CIFAR-10-C's lengths are pixels of images of this side.
SIDE = 32


def scale(x: Tensor) -> float:
    """Factor from lengths at 32 pixels to those of images (N, C, H, H); never below 1.

    What is shorter than a pixel cannot be seen.
    """
    return max(1.0, x.shape[-1] / SIDE)


def shifted(x: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Read each image at an offset of its own, int64 (N,); beyond the edge its last row repeats."""
    n, channels, height, width = x.shape
    rows = (torch.arange(height) + dy[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + dx[:, None]).clamp(0, width - 1)
    places = rows[:, :, None] * width + columns[:, None, :]
    flat = places.flatten(1)[:, None].expand(n, channels, -1)
    return x.flatten(2).gather(2, flat).view_as(x)


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate images (N, C, H, W) with one kernel (odd, odd), edges repeated."""
    height, width = kernel.shape
    padded = F.pad(x, (width // 2, width // 2, height // 2, height // 2), mode="replicate")
    result = torch.zeros_like(x)
    for i, j in kernel.nonzero().tolist():
        result += kernel[i, j] * padded[..., i : i + x.shape[-2], j : j + x.shape[-1]]
    return result


def normal_weights(sigma: float, radius: int) -> Tensor:
    """Weights of a normal density at -radius .. radius, of sum 1: (2 radius + 1,)."""
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    return (weights / weights.sum()).float()


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Blur with a normal density, cut at four standard deviations."""
    weights = normal_weights(sigma, max(1, math.ceil(4 * sigma)))
    return filtered(filtered(x, weights[:, None]), weights[None])


def motion(x: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    """Smear each image along its own direction (N,): half a normal density over 2 radius + 1."""
    weights = torch.exp(-(torch.arange(2 * radius + 1).double() ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).float()
    angle = torch.deg2rad(degrees)
    result = torch.zeros_like(x)
    for i, weight in enumerate(weights.tolist()):
        dy, dx = (i * torch.sin(angle)).round().long(), (i * torch.cos(angle)).round().long()
        result += weight * shifted(x, dy, dx)
    return result


def zoom_weights(side: int, factor: float) -> NDArray[np.float64]:
    """Weights of ``zoomed`` along one axis: of each pixel (column) in each enlarged one (row)."""
    places = (np.arange(side) + 0.5 - side / 2) / factor + side / 2 - 0.5
    before = np.floor(places).astype(np.int64)
    weights = np.zeros((side, side))
    rows = np.arange(side)
    weights[rows, before] = 1 - (places - before)
    # The last pixel has none behind it where nothing is enlarged.
    behind = (before + 1).clip(max=side - 1)
    weights[rows, behind] += places - before
    return weights


def zoomed(x: Tensor, factor: float) -> Tensor:
    """Enlarge around the centre by a factor of at least 1, bilinear; the size stays."""
    places = torch.tensor([[1 / factor, 0, 0], [0, 1 / factor, 0]], dtype=x.dtype)
    grid = F.affine_grid(places.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
