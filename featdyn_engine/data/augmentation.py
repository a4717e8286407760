"""Random crops and mirror images of a mini-batch, on the device where it lies.

The usual augmentation of CIFAR: He et al. 2016 (arXiv 1512.03385), section 4.2: "4 pixels are
padded on each side, and a 32 x 32 crop is randomly sampled from the padded image or its
horizontal flip".
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from featdyn_engine.domain import Augmentation


def padding(pixels: int) -> int:
    """Return by how many pixels an image is padded on each side: an eighth, at least one."""
    return max(1, pixels // 8)


def augment(images: Tensor, kinds: tuple[Augmentation, ...], stream: torch.Generator) -> Tensor:
    """Crop and mirror each image by its own draws. The order of ``kinds`` has no meaning.

    "crop": pad with raw zeros (black) on each side, take an H x H window at random, all
    (2p + 1)^2 equally likely. "flip": mirror the window left to right with probability 1/2.
    All draws are made on the CPU, whatever ``kinds`` holds: results don't depend on the device,
    and adding a flip leaves the crops as they were.

    images: uint8 (N, C, H, H) on any device. Returns the same shape there: a new, contiguous
    tensor, or ``images`` itself where no kind is asked for.
    """
    n, channels, pixels, _ = images.shape
    pad = padding(pixels)
    offsets = torch.randint(2 * pad + 1, (2, n), generator=stream)
    mirrored = torch.rand(n, generator=stream) < 0.5
    if not kinds:
        return images
    if "crop" not in kinds:
        pad, offsets = 0, torch.zeros_like(offsets)
    positions = torch.arange(pixels)
    rows = offsets[0][:, None] + positions
    columns = offsets[1][:, None] + positions
    if "flip" in kinds:
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    # One gather for both kinds: where in its padded image each pixel of a result comes from.
    width = pixels + 2 * pad
    places = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1)
    padded = F.pad(images, (pad, pad, pad, pad)).flatten(2)
    return padded.gather(2, places.expand(n, channels, -1)).view(n, channels, pixels, pixels)
