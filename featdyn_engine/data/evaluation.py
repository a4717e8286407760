"""Evaluation sets: the fixed examples, and labels, that every stored score names."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from featdyn_engine.data import corrupted, registry
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.domain import EvalConfig, InputError
from featdyn_engine.randomness import generator


@dataclass(frozen=True)
class EvalSet:
    """Images as the network takes them, float32 (N, C, H, H), normalised; labels int64 (N,)."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    sha256: str


def identified(config: EvalConfig, home: Path) -> EvalConfig:
    """Return the configuration with the SHA-256 of corrupted images that are read from files.

    Raises InputError as ``load`` does.
    """
    if config.corruption_folder is None:
        return config
    folder = str(Path(config.corruption_folder).expanduser().resolve())
    config = replace(config, corruption_folder=folder)
    images, labels = _raw(replace(config, corruption_sha256=None), home)
    return replace(config, corruption_sha256=_digest(images, labels))


def size(config: EvalConfig, home: Path) -> int:
    """Count the examples of an evaluation set. Raises InputError as ``load`` does."""
    return len(_chosen(config, home)[1])


def load(config: EvalConfig, home: Path) -> EvalSet:
    """Load the examples of an evaluation set; ``sha256`` covers raw pixels and labels, in order.

    Raises InputError when the set asks for more examples than the split holds, or for corrupted
    images that are not there.
    """
    images, labels = _chosen(config, home)
    dataset = registry.load(config.data, home)
    return EvalSet(
        dataset.normalise(images), labels, dataset.class_names, _digest(images, labels)
    )


def _digest(images: Tensor, labels: Tensor) -> str:
    digest = hashlib.sha256(images.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()


def _raw(config: EvalConfig, home: Path) -> tuple[Tensor, Tensor]:
    """All images of the split, uint8, and the data set's own labels for them."""
    dataset = registry.load(config.data, home)
    if config.corruption == "none" and config.severity == 0:
        if config.split == "train":
            return dataset.train_images, dataset.train_labels
        return dataset.test_images, dataset.test_labels
    if config.split != "test":
        raise InputError(
            f"corruption: expected split = 'test' for corrupted images, got {config.split!r}"
        )
    images, labels = corrupted.load(config, dataset.task)
    if config.corruption_sha256 not in (None, _digest(images, labels)):
        raise InputError(
            f"corruption_folder {config.corruption_folder}: expected the images of "
            f"{config.corruption} {config.severity} that this study was planned with, got others; "
            "put the old files back, or plan a new study with the new ones"
        )
    return images, labels


def _chosen(config: EvalConfig, home: Path) -> tuple[Tensor, Tensor]:
    """Raw images and labels of the set, in its order."""
    images, labels = _raw(config, home)
    if config.labels == "trained_on":
        classes = registry.load(config.data, home).task.classes
        labels = noisy_labels(labels, config.label_noise, classes, config.seed_labels)
    if config.n is not None:
        if config.n > len(labels):
            raise InputError(
                f"evaluations: expected n of at most {len(labels)} (the {config.split} split "
                f"of this study), got {config.n}"
            )
        stream = generator("evaluation subset", config.subset_seed)
        subset = torch.randperm(len(labels), generator=stream)[: config.n]
        images, labels = images[subset], labels[subset]
    return images, labels
