"""The benchmark sets that torchvision.datasets reads and downloads."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, InputError
from featdyn_engine.vision import torchvision_datasets

# What torchvision and the readers below it raise for files that are missing, cut off or altered.
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, EOFError, AssertionError, TypeError)


def _labelled_stl10(root: Path, train: bool, download: bool) -> Any:
    """STL-10 without the 2.6 GB of unlabelled images, which torchvision hashes at every start."""
    whole = torchvision_datasets().STL10
    reduced = type("STL10", (whole,), {"train_list": whole.train_list[:2]})
    return reduced(root, split="train" if train else "test", download=download)


def _svhn(root: Path, train: bool, download: bool) -> Any:
    return torchvision_datasets().SVHN(root, split="train" if train else "test", download=download)


def _by_flag(name: str, root: Path, train: bool, download: bool) -> Any:
    return getattr(torchvision_datasets(), name)(root, train=train, download=download)


Reader = Callable[[Path, bool, bool], Any]
READERS: dict[str, Reader] = {
    "cifar10": partial(_by_flag, "CIFAR10"),
    "cifar100": partial(_by_flag, "CIFAR100"),
    "mnist": partial(_by_flag, "MNIST"),
    "fashion_mnist": partial(_by_flag, "FashionMNIST"),
    "kmnist": partial(_by_flag, "KMNIST"),
    "svhn": _svhn,
    "stl10": _labelled_stl10,
}


def load(config: DataConfig, folder: Path) -> Dataset:
    """Read a set from ``config.folder``, else from ``folder``, where it is downloaded if need be.

    The layout is the one that torchvision has under its ``root``. Raises InputError for files
    that are missing, cut off or not those of the set, and for a download that can't be made.
    """
    if config.folder is not None:
        root = Path(config.folder)
        try:
            return _both(config.name, root, download=False)
        except UNREADABLE as problem:
            raise InputError(
                f"data {config.name}: expected its files, whole and unchanged, in {root} (laid "
                f"out as torchvision does), got: {_line(problem)}; put them there, or leave "
                "data.folder out to have them downloaded"
            ) from None
    try:
        return _both(config.name, folder, download=False)
    except UNREADABLE:
        return _downloaded(config.name, folder)


def _downloaded(name: str, folder: Path) -> Dataset:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Two engines would write into one file.
        with FileLock(folder / "download.lock"):
            return _both(name, folder, download=True)
    except UNREADABLE as problem:
        raise InputError(
            f"data {name}: expected to find or download its files, got: {_line(problem)}; get "
            f"them by other means and name their folder in data.folder, or try again ({folder})"
        ) from None


def _both(name: str, root: Path, download: bool) -> Dataset:
    read = READERS[name]
    with warnings.catch_warnings():
        # CIFAR's pickles are older than NumPy's rule on how to spell a flag in them.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        train, test = read(root, True, download), read(root, False, download)
    train_images, train_labels = _arrays(train)
    test_images, test_labels = _arrays(test)
    # torchvision has no names for SVHN, and STL-10's lie in a file that may be missing.
    names = getattr(train, "classes", None) or [str(digit) for digit in range(10)]
    return Dataset(
        class_names=tuple(names),
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def _arrays(split: Any) -> tuple[Tensor, Tensor]:
    """Images as uint8 (N, C, H, H), labels as int64 (N,), of any of torchvision's classes."""
    images = torch.from_numpy(np.ascontiguousarray(split.data))
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2).contiguous()
    labels = split.targets if hasattr(split, "targets") else split.labels
    values = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
    if len(values) != len(images):
        raise ValueError(f"{len(images)} images, but {len(values)} labels")
    return images, values


def _line(problem: Exception) -> str:
    """Put an exception's words on one line, its kind in front where they are few."""
    words = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {words}" if len(words) < 20 else words[:300]
