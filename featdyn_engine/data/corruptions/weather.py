"""Weather. Fog, snow and brightness have CIFAR-10-C's strengths; frost and spatter are ours.

No photographs of ice are needed: frost is a texture of ridged clouds. Clouds are summed octaves
of random grids where the benchmark has a plasma fractal.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from featdyn_engine.data.corruptions.draws import Draws
from featdyn_engine.data.corruptions.filters import gaussian, motion, scale, zoomed

BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
# Strength, and by how much finer clouds are fainter.
FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
# What is left of the image, and how much ice there is.
FROST = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.5), (0.75, 0.6))
# Mean, deviation, zoom, threshold, radius and deviation of the smear, what is left of the image.
SNOW = (
    (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
)
# Share of the image that drops cover, and whether they are mud.
SPATTER = ((0.04, False), (0.08, False), (0.14, False), (0.2, True), (0.28, True))
WATER, MUD = (0.69, 0.93, 0.93), (0.25, 0.16, 0.08)
LUMINANCE = (0.299, 0.587, 0.114)


def brightness(x: Tensor, level: int, _: Draws) -> Tensor:
    """Add 0.05 to 0.3 to the brightest colour, and to the others in proportion (HSV's value)."""
    value = x.amax(dim=1, keepdim=True)
    brighter = (value + BRIGHTNESS[level]).clamp(max=1)
    return torch.where(value > 0, x * brighter / value.clamp(min=1e-6), brighter)


def _interpolated(grid: Tensor, side: int) -> Tensor:
    return F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=True)


def clouds(draws: Draws, side: int, decay: float) -> Tensor:
    """Cloudy textures in 0 to 1, (N, 1, side, side): finer octaves fainter by ``decay``."""
    octaves = [2**k for k in range(1, (2 * side).bit_length())]
    grids = draws.uniform(sum((cells + 1) ** 2 for cells in octaves))
    total, weight = torch.zeros(len(grids), 1, 2, 2), 1.0
    for grid in grids.split([(cells + 1) ** 2 for cells in octaves], dim=1):
        # Each grid has the nodes of the coarser ones: what lies between these stays the same.
        nodes = math.isqrt(grid.shape[1])
        coarse = _interpolated(total, nodes)
        total = coarse + weight * grid.view(-1, 1, nodes, nodes)
        weight /= decay
    total = _interpolated(total, side)
    low, high = total.amin(dim=(2, 3), keepdim=True), total.amax(dim=(2, 3), keepdim=True)
    return (total - low) / (high - low)


def fog(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Add clouds, and lower the contrast by as much."""
    strength, decay = FOG[level]
    most = x.amax(dim=(1, 2, 3), keepdim=True)
    return (x + strength * clouds(draws, x.shape[-1], decay)) * most / (most + strength)


def frost(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Add ice: bright ridges between clouds."""
    left, ice = FROST[level]
    ridges = 1 - (2 * clouds(draws, x.shape[-1], 1.5) - 1).abs()
    return left * x + ice * ridges


def snow(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Whiten the image and add flakes that fall at an angle, once more upside down."""
    mean, deviation, zoom, threshold, radius, sigma, left = SNOW[level]
    flakes = zoomed(mean + deviation * draws.normal(1, *x.shape[2:]), zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    degrees = 90 * draws.uniform() - 135
    flakes = motion(flakes, round(radius * scale(x)), sigma * scale(x), degrees)
    grey = x if x.shape[1] == 1 else (x * torch.tensor(LUMINANCE)[:, None, None]).sum(1, True)
    white = left * x + (1 - left) * torch.maximum(x, 1.5 * grey + 0.5)
    return white + flakes + flakes.rot90(2, (2, 3))


def spatter(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Cover a part with drops of water (severity 1 to 3) or mud (4 and 5)."""
    share, mud = SPATTER[level]
    liquid = gaussian(draws.normal(1, *x.shape[2:]), scale(x))
    # NumPy's is many times faster than torch's.
    edge = torch.from_numpy(np.quantile(liquid.flatten(1).numpy(), 1 - share, axis=1))
    edge = edge[:, None, None, None]
    depth = ((liquid - edge) / liquid.std(dim=(2, 3), keepdim=True) * 4).clamp(0, 1)
    colour = torch.tensor(MUD if mud else WATER)[:, None, None]
    if x.shape[1] == 1:
        colour = colour.mean(dim=0, keepdim=True)
    return x + depth * (colour - x)
