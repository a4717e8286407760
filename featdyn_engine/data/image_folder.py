"""A folder of image files: one folder a class."""

from pathlib import Path

import torch
from torch import Tensor

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.decoded import decode, kept
from featdyn_engine.domain import DataConfig, InputError

SPLITS = {"train": ("train",), "test": ("test", "validation", "valid", "val")}
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def load(config: DataConfig, folder: Path) -> Dataset:
    """Read ``train/<class>/*`` and ``test/<class>/*`` (or ``val``) of ``config.folder``.

    Classes are numbered in the order of their names; other files than images, and hidden ones,
    are passed over. What was decoded is kept in ``folder``. Raises InputError for folders that
    are missing, classes of one split alone, and files that are no images of one size.
    """
    if config.folder is None:
        raise InputError("data.folder: expected a folder with train/ and test/, got none; add it")
    root = Path(config.folder)
    train, test = _split(root, "train"), _split(root, "test")
    if list(train) != list(test):
        odd = sorted(set(train) ^ set(test))[0]
        raise InputError(
            f"data images: expected the same classes in both splits of {root}, got {odd!r} in one"
        )

    def make() -> Dataset:
        # Both in one go: a grey test set beside a training set in colour is in colour.
        files = [path for split in (train, test) for each in split.values() for path in each]
        images = decode((str(path), path.read_bytes()) for path in files)
        labels = torch.cat([_labels(train), _labels(test)])
        boundary = sum(len(each) for each in train.values())
        return Dataset(
            class_names=tuple(train),
            train_images=images[:boundary],
            train_labels=labels[:boundary],
            test_images=images[boundary:],
            test_labels=labels[boundary:],
        )

    sources = [path for split in (train, test) for each in split.values() for path in each]
    return kept(folder, sources, make)


def _labels(split: dict[str, list[Path]]) -> Tensor:
    counts = torch.tensor([len(files) for files in split.values()])
    return torch.arange(len(split)).repeat_interleave(counts)


def _split(root: Path, split: str) -> dict[str, list[Path]]:
    """Image files of a split by class, both in the order of their names."""
    for name in SPLITS[split]:
        classes = sorted(path for path in root.glob(f"{name}/*") if path.is_dir())
        found = {path.name: _images(path) for path in classes if not path.name.startswith(".")}
        empty = next((label for label, files in found.items() if not files), None)
        if empty is not None:
            raise InputError(f"{root / name / empty}: expected images, found none")
        if found:
            return found
    raise InputError(f"data images: expected {root / split}/<class>/ with images, found none")


def _images(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
