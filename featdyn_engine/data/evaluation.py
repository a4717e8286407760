"""Evaluation sets: the fixed examples, and labels, that every stored score names."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from featdyn_engine.data import other, registry
from featdyn_engine.data.corruptions import official
from featdyn_engine.data.corruptions import registry as corruptions
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.data.problems import named
from featdyn_engine.domain import DataConfig, EvalConfig, InputError
from featdyn_engine.randomness import generator


@dataclass(frozen=True)
class EvalSet:
    """Images as the network takes them, float32 (N, C, H, H), normalised; labels int64 (N,)."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    sha256: str


def identified(config: EvalConfig, home: Path) -> EvalConfig:
    """Return the configuration with what tells its corrupted images apart from others.

    That is the SHA-256 of images that are read from files, or the version of those that are made
    here. The folder becomes absolute, for callers that start elsewhere. Raises InputError as
    ``load`` does.
    """
    if config.other is not None:
        config = replace(config, other=registry.identified(config.other, home))
    images, labels = _split(config, home)
    if _made_here(config):
        return replace(config, corruption_version=corruptions.KINDS[config.corruption].version)
    if config.corruption_folder is None or config.corruption == "none":
        return config
    folder = str(named(config.corruption_folder).resolve())
    sha256 = config.corruption_sha256 or _digest(images, labels)
    return replace(config, corruption_folder=folder, corruption_sha256=sha256)


def size(config: EvalConfig, home: Path) -> int:
    """Count the examples of an evaluation set. Raises InputError as ``load`` does."""
    return len(_chosen(config, home).labels)


def load(config: EvalConfig, home: Path) -> EvalSet:
    """Load the examples of an evaluation set; ``sha256`` covers raw pixels and labels, in order.

    Raises InputError when the set asks for more examples than the split holds, or for corrupted
    images that are not there.
    """
    images, labels, positions = _chosen(config, home)
    dataset = registry.load(config.data, home)
    if _made_here(config):
        images = corruptions.corrupt(
            images, config.corruption, config.severity, positions.tolist(), dataset.peak
        )
        # The corruption is of the picture, not of its permuted pixels.
        if config.data.permute_pixels:
            images = registry.permuted(images)
    return EvalSet(dataset.normalise(images), labels, dataset.class_names, _digest(images, labels))


def _made_here(config: EvalConfig) -> bool:
    return config.corruption != "none" and config.corruption_folder is None


def _digest(images: Tensor, labels: Tensor) -> str:
    digest = hashlib.sha256(images.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()


def _split(config: EvalConfig, home: Path) -> tuple[Tensor, Tensor]:
    """All images of the split, uint8 (N, C, H, H), and their true labels.

    Clean and unpermuted where the corrupted ones are made here.
    """
    dataset = registry.load(config.data, home)
    if not dataset.is_raw and (config.other is not None or config.corruption != "none"):
        raise InputError(
            f"evaluations: expected {config.data.name} to hold pixels, uint8, for other data and "
            "corruptions, got floating-point images; give pixels, with data.mean and data.std"
        )
    if config.other is not None:
        return _of_other(config, config.other, dataset, home)
    if config.corruption == "none" and not config.severity:
        if config.split == "train":
            return dataset.train_images, dataset.train_labels
        return dataset.test_images, dataset.test_labels
    if _made_here(config):
        official.check(config, dataset.task)
        plain = registry.load(replace(config.data, permute_pixels=False), home)
        return plain.test_images, plain.test_labels
    images, labels = official.load(config, dataset.task)
    if config.data.permute_pixels:
        images = registry.permuted(images)
    if int(images.max()) > dataset.peak:
        raise InputError(
            f"corruption: expected levels from 0 to {dataset.peak} in {config.corruption_folder}, "
            f"as {config.data.name} has, got {int(images.max())}"
        )
    if config.corruption_sha256 is not None and _digest(images, labels) != config.corruption_sha256:
        raise InputError(
            f"corruption: expected the images of {config.corruption} {config.severity} that this "
            f"study was planned with in {config.corruption_folder}, got others; put the old files "
            "back, or plan a new study with the new ones"
        )
    return images, labels


def _of_other(
    config: EvalConfig, source: DataConfig, own: Dataset, home: Path
) -> tuple[Tensor, Tensor]:
    """All shared examples of another set, and their true labels in this one."""
    plain = DataConfig(
        name=source.name, folder=source.folder, title=source.title, sha256=source.sha256
    )
    if source != plain or config.corruption != "none" or config.severity:
        raise InputError(
            f"evaluations.data: expected name, folder and title of {source.name} alone, and no "
            "corruption beside it; leave the others out"
        )
    images, labels = other.adapted(registry.load(source, home), config.split, own)
    if config.data.permute_pixels:
        images = registry.permuted(images)
    return images, labels


class _Chosen(NamedTuple):
    """Raw images and labels of a set, in its order, and their positions in the split."""

    images: Tensor
    labels: Tensor
    positions: Tensor


def _chosen(config: EvalConfig, home: Path) -> _Chosen:
    images, labels = _split(config, home)
    if config.labels == "trained_on":
        classes = registry.load(config.data, home).task.classes
        labels = noisy_labels(labels, config.label_noise, classes, config.seed_labels)
    if config.n is None:
        return _Chosen(images, labels, torch.arange(len(labels)))
    if config.n > len(labels):
        raise InputError(
            f"evaluations: expected n of at most {len(labels)} (the {config.split} split "
            f"of this study), got {config.n}"
        )
    stream = generator("evaluation subset", config.subset_seed)
    subset = torch.randperm(len(labels), generator=stream)[: config.n]
    return _Chosen(images[subset], labels[subset], subset)
