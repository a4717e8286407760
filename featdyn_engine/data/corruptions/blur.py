"""Blur. Strengths are CIFAR-10-C's; lengths grow with the image."""

import math

import numpy as np
import torch
from torch import Tensor

from featdyn_engine.data.corruptions.draws import Draws
from featdyn_engine.data.corruptions.filters import (
    filtered,
    gaussian,
    motion,
    normal_weights,
    scale,
    zoomed,
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
    moving, *steps = draws.uniform(3, 2, side, side).unbind(dim=1)
    far = [((3 * step).long() - 1) * (moving < share) for step in steps]
    rows, columns = (each.numpy() for each in far)
    source = np.tile(np.arange(side * side), (n, 1))
    every = np.arange(n)
    for turn in range(turns):
        for here in range(side * side - 1, -1, -1):
            row, column = divmod(here, side)
            to_row = (row + rows[:, turn, row, column]).clip(0, side - 1)
            to_column = (column + columns[:, turn, row, column]).clip(0, side - 1)
            there = to_row * side + to_column
            source[every, there], source[:, here] = source[:, here], source[every, there]
    places = torch.from_numpy(source)[:, None].expand(n, channels, -1)
    return gaussian(gaussian(x, sigma).flatten(2).gather(2, places).view_as(x), sigma)


def motion_blur(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Smear along a direction of its own between -45 and 45 degrees."""
    radius, sigma = MOTION[level]
    degrees = 90 * draws.uniform() - 45
    return motion(x, round(radius * scale(x)), sigma * scale(x), degrees)


def zoom_blur(x: Tensor, level: int, _: Draws) -> Tensor:
    """Average over zooms from 1 in steps of 0.01, up to 1.05 to 1.25."""
    factors = np.arange(1.01, ZOOM[level] + 0.005, 0.01)
    result = x.clone()
    for factor in factors.tolist():
        result += zoomed(x, factor)
    return result / (len(factors) + 1)
