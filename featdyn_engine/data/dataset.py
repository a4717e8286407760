"""What every source delivers: raw pixels, labels, and the training set's own statistics."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Raw images in [0, 1], float32 (N, C, H, W); labels int64 (N,) in 0 .. K - 1."""

    class_names: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @property
    def channels(self) -> int:
        """Number of image channels C."""
        return self.train_images.shape[1]

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    def normalise(self, images: Tensor) -> Tensor:
        """Centre and scale channels by the training images' mean and standard deviation."""
        std, mean = torch.std_mean(self.train_images, dim=(0, 2, 3), keepdim=True)
        return (images - mean) / std
