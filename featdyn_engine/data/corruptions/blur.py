"""Blur. Strengths are CIFAR-10-C's; lengths grow with the image."""

import math
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, kron
from torch import Tensor

from featdyn_engine.data.corruptions.draws import Draws
from featdyn_engine.data.corruptions.filters import (
    filtered,
    gaussian,
    motion,
    normal_weights,
    scale,
    zoom_weights,
)

GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1.0)
# Radius of the disk, and of the blur that softens its edge.
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
# Share of the pixels that change places, and how often. Ours: CIFAR-10-C's levels differ in blur
# too, and blurring undoes a part of the moves.
GLASS = ((0.25, 1), (0.5, 1), (0.75, 1), (1.0, 1), (1.0, 2))
GLASS_SIGMA = 0.4
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
ZOOM = (1.05, 1.1, 1.15, 1.2, 1.25)


def gaussian_blur(x: Tensor, level: int, _: Draws) -> Tensor:
    """Blur with a normal density of 0.4 to 1 pixel."""
    return gaussian(x, GAUSSIAN[level] * scale(x))


def defocus_blur(x: Tensor, level: int, _: Draws) -> Tensor:
    """Average over a disk with a soft edge, as a lens out of focus does."""
    radius, soft = (each * scale(x) for each in DEFOCUS[level])
    reach = math.ceil(radius) + 2
    places = torch.arange(-reach, reach + 1)
    disk = (places[:, None] ** 2 + places[None] ** 2 <= radius**2).float()
    # The edge softens over its neighbours alone, at any size: wider, levels would not be in order.
    weights = normal_weights(soft, 1)
    disk = filtered(filtered((disk / disk.sum())[None, None], weights[:, None]), weights[None])
    return filtered(x, disk[0, 0])


def glass_blur(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Blur, let pixels change places with a neighbour, blur again."""
    share, turns = GLASS[level]
    n, channels, side, _ = x.shape
    sigma = GLASS_SIGMA * scale(x)
    drawn = draws.uniform(3, 2, side, side)[:, :, :turns]
    moving, *steps = drawn.unbind(dim=1)
    far = [((3 * step).to(torch.int8) - 1) * (moving < share) for step in steps]
    # Images last, so that those of one pixel lie side by side: (turn, pixel, image).
    rows, columns = (each.permute(1, 2, 3, 0) for each in far)
    line = torch.arange(side)
    to_row = (line[:, None, None] + rows).clamp(0, side - 1)
    to_column = (line[:, None] + columns).clamp(0, side - 1)
    there = ((to_row * side + to_column) * n + torch.arange(n)).flatten(1, 2).numpy()
    source = np.arange(side * side).repeat(n)
    at = source.reshape(side * side, n)
    for turn in range(turns):
        for here in _apart(side):
            other = source[there[turn, here]]
            source[there[turn, here]] = at[here]
            at[here] = other
    places = torch.from_numpy(at.T.copy())[:, None].expand(n, channels, -1)
    return gaussian(gaussian(x, sigma).flatten(2).gather(2, places).view_as(x), sigma)


@cache
def _apart(side: int) -> list[NDArray[np.int64]]:
    """Pixels of an image from the last to the first, those together whose moves can't meet.

    A move is to a neighbour at most, so that moves meet where pixels are less than three columns
    and rows apart. Of such two, the one that comes first in reading order is always in a later
    group: the outcome is that of one pixel after the other.
    """
    row, column = np.divmod(np.arange(side * side), side)
    group = 3 * row + column
    return [np.flatnonzero(group == each) for each in range(group.max(), -1, -1)]


def motion_blur(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Smear along a direction of its own between -45 and 45 degrees."""
    radius, sigma = MOTION[level]
    degrees = 90 * draws.uniform() - 45
    return motion(x, round(radius * scale(x)), sigma * scale(x), degrees)


def zoom_blur(x: Tensor, level: int, _: Draws) -> Tensor:
    """Average over zooms from 1 in steps of 0.01, up to 1.05 to 1.25."""
    side = x.shape[-1]
    pixels = x.reshape(-1, side * side).T.contiguous().numpy()
    mixed = torch.from_numpy(_zooms(side, ZOOM[level]) @ pixels)
    return mixed.T.reshape(x.shape)


@lru_cache(maxsize=len(ZOOM))
def _zooms(side: int, most: float) -> csr_array:
    """Weights of each pixel of an image in each of its mean zoom, float32 (side^2, side^2)."""
    factors = np.arange(1, most + 0.005, 0.01)
    total = csr_array((side * side, side * side))
    for factor in factors.tolist():
        line = csr_array(zoom_weights(side, factor))
        total = total + kron(line, line, format="csr")
    return (total / len(factors)).astype(np.float32)
