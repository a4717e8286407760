"""What cameras and files do. Contrast and JPEG have CIFAR-10-C's strengths.

Elastic, pixelate and saturate are ours: CIFAR-10-C's levels of these need not be ordered by their
distance from the clean image (decision 9).
"""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from featdyn_engine.data.corruptions.draws import Draws
from featdyn_engine.data.corruptions.filters import gaussian, scale

CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
# Root mean square of the displacement in pixels of 32; its field is smooth over 4 pixels.
ELASTIC = (0.3, 0.6, 0.9, 1.2, 1.6)
SMOOTH = 4.0
# Sides of what is left, as shares of the image's.
PIXELATE = (0.5, 0.45, 0.4, 0.35, 0.25)
JPEG = (80, 65, 58, 50, 40)
SATURATE = (1.3, 1.6, 2.0, 3.0, 5.0)


def contrast(x: Tensor, level: int, _: Draws) -> Tensor:
    """Pull every channel towards its mean over the image."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * CONTRAST[level] + mean


def elastic_transform(x: Tensor, level: int, draws: Draws) -> Tensor:
    """Move pixels along a smooth random field."""
    side = x.shape[-1]
    field = gaussian(draws.normal(2, side, side), SMOOTH * scale(x))
    field = field / field.square().mean(dim=(2, 3), keepdim=True).sqrt()
    moved = ELASTIC[level] * scale(x) * field * 2 / side
    still = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), list(x.shape), align_corners=False)
    grid = still + moved.permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def pixelate(x: Tensor, level: int, _: Draws) -> Tensor:
    """Average over fewer, larger pixels."""
    side = x.shape[-1]
    small = F.adaptive_avg_pool2d(x, int(side * PIXELATE[level]))
    return F.interpolate(small, size=(side, side), mode="nearest")


def jpeg_compression(x: Tensor, level: int, _: Draws) -> Tensor:
    """Write and read a JPEG file of quality 80 to 40."""
    pixels = (x * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    read = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            file, "JPEG", quality=JPEG[level]
        )
        read.append(np.asarray(Image.open(file)).reshape(image.shape))
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).float() / 255


def saturate(x: Tensor, level: int, _: Draws) -> Tensor:
    """Make colours stronger, 1.3 to 5 times; hue and value (HSV) stay, and grey stays grey."""
    value, low = x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True)
    saturation = (value - low) / value.clamp(min=1e-6)
    factor = (SATURATE[level] * saturation).clamp(max=1) / saturation.clamp(min=1e-6)
    return value - (value - x) * factor
