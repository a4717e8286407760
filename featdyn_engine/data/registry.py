"""The data sets that a study can name: one line each."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from featdyn_engine.data import bundled, digits, image_folder, own, parquet, torchvision_sets
from featdyn_engine.data.dataset import MOST_PIXELS, Dataset
from featdyn_engine.domain import UNTOLD, DataConfig, InputError
from featdyn_engine.factories import is_factory
from featdyn_engine.files import is_read_only
from featdyn_engine.randomness import generator

# A source takes the configuration and the folder for downloads and decoded images
# (FEATDYN_HOME/data), and returns both splits whole: choosing from them is done here.
Source = Callable[[DataConfig, Path], Dataset]

DATASETS: dict[str, Source] = {
    "digits": digits.load,
    "parquet": parquet.load,
    "images": image_folder.load,
    "tensors": own.load_tensors,
    **dict.fromkeys(torchvision_sets.SETS, torchvision_sets.load),
}
# Pinned with the package that they are a part of.
EMBEDDED = ("digits",)


# Two: a study mostly has one data set, and another one to evaluate on.
@lru_cache(maxsize=2)
def load(config: DataConfig, home: Path) -> Dataset:
    """Load a data set with its options applied; ``home`` is where downloads are kept.

    The last sets are kept in memory. Raises InputError for a name outside the registry, files
    that are missing or not what they should be, and options that the data can't satisfy.
    """
    if config.name == UNTOLD.name:
        raise InputError(
            "data: expected the data set that this run was trained on, got none; name it in the "
            "[data] of a study"
        )
    if config.name not in DATASETS and not is_factory(config.name):
        known = ", ".join(sorted(DATASETS))
        raise InputError(
            f"data.name: expected one of {known} or module:factory, got {config.name!r}"
        )
    dataset = bundled.read(config, home) or _from_source(config, home)
    if config.sha256 is not None and dataset.sha256 != config.sha256:
        raise InputError(
            f"data: expected the images and labels that this study was planned with (sha256 "
            f"{config.sha256[:12]}...), got others ({dataset.sha256[:12]}...); put the old files "
            "back, or plan a new study with the new ones"
        )
    if config.train_size is not None or config.balanced:
        dataset = dataset.with_training_set(_chosen(config, dataset))
    if config.permute_pixels:
        dataset = replace(
            dataset,
            train_images=permuted(dataset.train_images),
            test_images=permuted(dataset.test_images),
        )
    return replace(dataset, scaling=_scaling(config, dataset))


def _scaling(
    config: DataConfig, dataset: Dataset
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and standard deviation that a configuration gives, one a channel."""
    if config.mean is None and config.std is None:
        return None
    channels = dataset.task.channels
    if (
        config.mean is None
        or config.std is None
        or {len(config.mean), len(config.std)} != {channels}
    ):
        raise InputError(
            f"data.mean, data.std: expected both, one number for each of {channels} channels, got "
            f"{config.mean} and {config.std}"
        )
    if not dataset.is_raw:
        raise InputError(
            f"data.mean: expected none for {config.name}, whose images are what the network takes "
            "already, got some; leave mean and std out"
        )
    return config.mean, config.std


def _from_source(config: DataConfig, home: Path) -> Dataset:
    """Read a data set where it comes from.

    Raises InputError under FEATDYN_READONLY, unless it ships inside a package: a home that is only
    looked at neither downloads nor says which folders to read.
    """
    if is_read_only() and config.name not in EMBEDDED:
        raise InputError(
            f"data {config.name}: expected its images in {bundled.path_of(config, home)}, since "
            f"FEATDYN_READONLY=1, got none; make the snapshot with --images {config.name} where "
            "its licence allows"
        )
    return _whole(_without_options(config), home)


def whole(config: DataConfig, home: Path) -> Dataset:
    """Load a data set without its options; see ``load``."""
    return load(replace(_without_options(config), sha256=config.sha256), home)


def identified(config: DataConfig, home: Path) -> DataConfig:
    """Return the configuration with the SHA-256 of what is read from files; see ``load``."""
    if config.name in EMBEDDED or config.sha256 is not None:
        load(config, home)
        return config
    return replace(config, sha256=load(_without_options(config), home).sha256)


def permuted(images: Tensor) -> Tensor:
    """Move the pixels of every image by one permutation, the same for all runs and channels.

    images: (N, C, H, H). The permutation depends on H alone.
    """
    pixels = images.shape[-1]
    order = torch.randperm(pixels**2, generator=generator("pixel permutation", pixels))
    return images.flatten(2)[:, :, order].view_as(images)


def _without_options(config: DataConfig) -> DataConfig:
    """Reduce a configuration to what a source reads: equal for all subsets of one data set."""
    plain = DataConfig(name=config.name, folder=config.folder)
    return replace(plain, split_seed=config.split_seed)


# Subsets of several sizes, and the hash of the whole set, come from one reading of its files.
@lru_cache(maxsize=2)
def _whole(config: DataConfig, home: Path) -> Dataset:
    source = own.load_factory if is_factory(config.name) else DATASETS[config.name]
    dataset = source(config, home / "data")
    _check(config, dataset)
    return dataset


def _check(config: DataConfig, dataset: Dataset) -> None:
    """Hold what a source read to what networks can take."""
    channels, height, width = dataset.train_images.shape[1:]
    limited = config.name != "tensors" and not is_factory(config.name)
    if height != width or (limited and (height > MOST_PIXELS or channels not in (1, 3))):
        raise InputError(
            f"data {config.name}: expected square images of at most {MOST_PIXELS} pixels, grey or "
            f"in three colours, got {height} x {width} in {channels}"
        )
    if dataset.test_images.shape[1:] != dataset.train_images.shape[1:]:
        _, *others = dataset.test_images.shape
        raise InputError(
            f"data {config.name}: expected test images of the training images' shape "
            f"{(channels, height, width)}, got {tuple(others)}"
        )
    classes = len(dataset.class_names)
    splits = {
        "train": (dataset.train_images, dataset.train_labels),
        "test": (dataset.test_images, dataset.test_labels),
    }
    for split, (images, labels) in splits.items():
        if not len(images):
            raise InputError(f"data {config.name}: expected images in its {split} split, got none")
        if len(images) != len(labels):
            raise InputError(
                f"data {config.name}: expected a label for each of {len(images)} images in its "
                f"{split} split, got {len(labels)}"
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise InputError(
                f"data {config.name}: expected labels from 0 to {classes - 1} in its {split} "
                f"split, got {low if low < 0 else high}"
            )


def _chosen(config: DataConfig, dataset: Dataset) -> Tensor:
    """Return the indices of the training examples in use, int64 (train_size,)."""
    labels, size = dataset.train_labels, config.train_size
    if size is None:
        raise InputError("data.balanced: expected a train_size beside it, got none; add it")
    if size > len(labels):
        raise InputError(
            f"data.train_size: expected at most {len(labels)} (the training split of "
            f"{config.name}), got {size}"
        )
    order = torch.randperm(len(labels), generator=generator("subset", config.split_seed))
    if not config.balanced:
        return order[:size]
    classes = len(dataset.class_names)
    each, rest = divmod(size, classes)
    smallest = int(torch.bincount(labels, minlength=classes).min())
    if rest or each > smallest:
        raise InputError(
            f"data.train_size: expected a multiple of {classes} up to {classes * smallest} for a "
            f"balanced subset of {config.name}, got {size}"
        )
    of_class = [order[labels[order] == k][:each] for k in range(classes)]
    # Back into the random order: label noise and mini-batches must not meet the classes in turn.
    member = torch.zeros(len(labels), dtype=torch.bool)
    member[torch.cat(of_class)] = True
    return order[member[order]]
