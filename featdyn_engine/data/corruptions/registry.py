"""The kinds: one line each, with the smallest images that they are defined for.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (arXiv 1903.12261). These images are made here, "C-like": official files are
another matter (``official.py``).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from featdyn_engine.data.corruptions import blur, digital, noise, weather
from featdyn_engine.data.corruptions.draws import Draws
from featdyn_engine.domain import InputError, Task

SEVERITIES = 5
# Images at a time: a bound on memory.
CHUNK = 500


class Corruption(NamedTuple):
    """A kind: float32 images in 0 to 1 (N, C, H, H) and a level 0 to 4 to images about there.

    ``version``: a part of the identity of every set made with it, up when any image changes.
    """

    make: Callable[[Tensor, int, Draws], Tensor]
    least_pixels: int
    colour_only: bool = False
    version: int = 1


# The fifteen of the benchmark, then the four that its authors set aside for validation.
KINDS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(noise.gaussian_noise, 8),
    "shot_noise": Corruption(noise.shot_noise, 8),
    "impulse_noise": Corruption(noise.impulse_noise, 8),
    "defocus_blur": Corruption(blur.defocus_blur, 8),
    "glass_blur": Corruption(blur.glass_blur, 16),
    "motion_blur": Corruption(blur.motion_blur, 16),
    "zoom_blur": Corruption(blur.zoom_blur, 16, version=2),
    "snow": Corruption(weather.snow, 16),
    "frost": Corruption(weather.frost, 16, version=2),
    "fog": Corruption(weather.fog, 8, version=2),
    "brightness": Corruption(weather.brightness, 8),
    "contrast": Corruption(digital.contrast, 8),
    "elastic_transform": Corruption(digital.elastic_transform, 16),
    "pixelate": Corruption(digital.pixelate, 16),
    "jpeg_compression": Corruption(digital.jpeg_compression, 8),
    "speckle_noise": Corruption(noise.speckle_noise, 8),
    "gaussian_blur": Corruption(blur.gaussian_blur, 8),
    "spatter": Corruption(weather.spatter, 16, version=2),
    "saturate": Corruption(digital.saturate, 8, colour_only=True),
}


def defined(task: Task) -> list[str]:
    """Name the kinds that are defined for images of a task."""
    return [
        name
        for name, kind in KINDS.items()
        if task.pixels >= kind.least_pixels and (task.channels == 3 or not kind.colour_only)
    ]


def check(kind: str, task: Task) -> None:
    """Raise InputError for a kind that isn't defined for images of a task."""
    if kind not in defined(task):
        colours = "colour" if task.channels == 3 else "grey"
        raise InputError(
            f"corruption: expected one of {', '.join(defined(task))} for {colours} images of "
            f"{task.pixels} pixels, got {kind}"
        )


@torch.inference_mode()
def corrupt(
    images: Tensor, kind: str, severity: int, positions: Sequence[int], peak: int, seed: int = 0
) -> Tensor:
    """Corrupt images, uint8 (N, C, H, H) from 0 to ``peak``, H 8 to 96; the same shape and range.

    severity: 0 (the identity) to 5. positions: of each image in its split; with ``kind`` and
    ``seed`` they decide its random numbers, so that an image comes out the same alone and in any
    batch. Made on the CPU and rounded to whole levels: the same on every device. Raises ValueError
    for an unknown kind or severity.
    """
    if kind not in KINDS or not 0 <= severity <= SEVERITIES:
        raise ValueError(f"corruption: expected a kind and severity 0 to 5, got {kind} {severity}")
    if not severity:
        return images.clone()
    made = []
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        x = images[part].cpu().float() / peak
        draws = Draws(kind, seed, positions[part])
        corrupted = KINDS[kind].make(x, severity - 1, draws).clamp(0, 1)
        made.append((corrupted * peak).round().to(torch.uint8))
    return torch.cat(made)
