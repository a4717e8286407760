"""What every source delivers: raw pixels, labels, and the training set's own statistics."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from featdyn_engine.domain import InputError, Task

MOST_PIXELS = 96


@dataclass(frozen=True)
class Dataset:
    """Raw images, uint8 (N, C, H, H) from 0 to ``peak``; labels int64 (N,) in 0 .. K - 1.

    Images of a user's own data set may be float32, as the network takes them: nothing is done to
    those. ``scaling``: mean and standard deviation of each channel of pixels in [0, 1], where they
    aren't the training set's own.
    """

    class_names: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    peak: int = 255
    scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def is_raw(self) -> bool:
        """Whether images are pixels, not yet what the network takes."""
        return not self.train_images.is_floating_point()

    @property
    def task(self) -> Task:
        """What a network for this data takes and gives."""
        _, channels, pixels, _ = self.train_images.shape
        return Task(channels, pixels, len(self.class_names))

    @cached_property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (n - 1) of the training pixels in [0, 1], each (C, 1, 1).

        Summed in whole numbers, hence the same to the last bit on every machine. Raises
        InputError for a channel of one level, which can't be scaled.
        """
        if self.scaling is not None:
            chosen = (torch.tensor(each, dtype=torch.float32) for each in self.scaling)
            given_mean, given_std = (each[:, None, None] for each in chosen)
            return given_mean, given_std
        n = self.train_images[:, 0].numel()
        mean: list[float] = []
        std: list[float] = []
        for channel in self.train_images.unbind(dim=1):
            counts = torch.bincount(channel.flatten(), minlength=256).tolist()
            total = sum(level * count for level, count in enumerate(counts))
            squares = sum(level * level * count for level, count in enumerate(counts))
            if n * squares == total * total:
                raise InputError(
                    "data: expected training images that differ in every colour channel, got "
                    f"the level {total // n} in all of channel {len(mean)}; leave it out"
                )
            mean.append(total / n / self.peak)
            std.append(((squares - total * total / n) / (n - 1)) ** 0.5 / self.peak)
        return torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def normalise(self, images: Tensor) -> Tensor:
        """Scale raw images to [0, 1], then by the training set's mean and standard deviation.

        uint8 (N, C, H, H) on any device to float32 of the same shape there.
        """
        if images.is_floating_point():
            return images
        mean, std = (each.to(images.device) for each in self.statistics)
        return (images.float() / self.peak - mean) / std

    def raw(self, images: Tensor) -> Tensor:
        """Undo ``normalise``: float32 (N, C, H, H) to the raw levels, uint8 of the same shape."""
        mean, std = (each.to(images.device) for each in self.statistics)
        return ((images * std + mean) * self.peak).round().to(torch.uint8)

    def displayed(self, images: Tensor) -> Tensor:
        """Undo ``normalise``: float32 (N, C, H, H) to uint8, 0 to 255, for people."""
        mean, std = (each.to(images.device) for each in self.statistics)
        return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all pixels and labels, of both splits, in order: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        splits = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        for tensor in splits:
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def with_training_set(self, chosen: Tensor) -> "Dataset":
        """Return the same data with only the training examples of these indices, in this order."""
        return replace(
            self, train_images=self.train_images[chosen], train_labels=self.train_labels[chosen]
        )
