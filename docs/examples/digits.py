"""scikit-learn's digits as two torch data sets, as a user's own code may have them."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from featdyn_engine.data import registry
from featdyn_engine.domain import DataConfig


def digits(
    pixels: int, channels: int, train: int, test: int
) -> tuple[TensorDataset, TensorDataset]:
    """Return ``train`` and ``test`` examples: images uint8 (channels, pixels, pixels), labels."""
    data = registry.load(DataConfig(name="digits"), Path("no-home"))

    def split(images: Tensor, labels: Tensor, n: int) -> TensorDataset:
        levels = images[:n].float() * 255 / data.peak
        large = torch.nn.functional.interpolate(levels, (pixels, pixels), mode="nearest")
        return TensorDataset(large.expand(-1, channels, -1, -1).to(torch.uint8), labels[:n])

    return (
        split(data.train_images, data.train_labels, train),
        split(data.test_images, data.test_labels, test),
    )


def scaled(split: TensorDataset) -> TensorDataset:
    """Return the same images as networks take them here: floating point, -1 to 1."""
    images, labels = split.tensors
    return TensorDataset(images.float() / 127.5 - 1, labels)
