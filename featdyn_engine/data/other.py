"""Examples of another data set, as a network that was trained on this one takes them.

For splices on another law (STL-10 under networks of CIFAR-10, SVHN under those of MNIST): the
classes that both have, in the size, colours and levels of the training set.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import InputError

# The same class under another name: STL-10's, as CIFAR-10 calls it.
SYNONYMS = {"car": "automobile"}
# Luma of ITU-R BT.601, as Pillow's conversion to grey.
LUMA = torch.tensor([0.299, 0.587, 0.114])


def _called(name: str) -> str:
    plain = name.strip().lower()
    return SYNONYMS.get(plain, plain)


def class_map(names: tuple[str, ...], own_names: tuple[str, ...]) -> Tensor:
    """Return for each class of the other set this set's class of that name, or -1: int64 (K',)."""
    places = {_called(name): k for k, name in enumerate(own_names)}
    return torch.tensor([places.get(_called(name), -1) for name in names])


def converted(images: Tensor, peak: int, own: Dataset) -> Tensor:
    """Bring images to the colours, size and levels of ``own``.

    images: uint8 (N, C', H', H'), 0 to ``peak``. Grey becomes three equal colours, colour its
    luma; the size by antialiased bilinear interpolation. Returns uint8 (N, C, H, H), 0 to
    ``own.peak``.
    """
    task = own.task
    values = images.float()
    if values.shape[1] > task.channels:
        values = (values * LUMA[:, None, None]).sum(dim=1, keepdim=True)
    values = values.expand(-1, task.channels, -1, -1)
    if values.shape[-1] != task.pixels:
        size = (task.pixels, task.pixels)
        values = F.interpolate(values, size, mode="bilinear", antialias=True)
    return (values * own.peak / peak).round().clamp(0, own.peak).to(torch.uint8)


def adapted(other: Dataset, split: str, own: Dataset) -> tuple[Tensor, Tensor]:
    """Return the other set's images of shared classes, as ``own`` has them, and their labels there.

    uint8 (M, C, H, H) and int64 (M,), in the order of the other set. Raises InputError where
    fewer than two classes have the same name.
    """
    images, labels = (
        (other.train_images, other.train_labels)
        if split == "train"
        else (other.test_images, other.test_labels)
    )
    mapped = class_map(other.class_names, own.class_names)[labels]
    shared = mapped >= 0
    if len(mapped[shared].unique()) < 2:
        raise InputError(
            "evaluations.data: expected at least two classes of the same name in both sets, got "
            f"{', '.join(other.class_names[:10])} beside {', '.join(own.class_names[:10])}"
        )
    return converted(images[shared], other.peak, own), mapped[shared]
