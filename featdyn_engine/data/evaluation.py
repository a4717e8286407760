"""Evaluation sets: the fixed examples, and labels, that every stored score names."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from featdyn_engine.data import registry
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.domain import EvalConfig, InputError
from featdyn_engine.randomness import generator


@dataclass(frozen=True)
class EvalSet:
    """Images as the network takes them, float32 (N, C, H, W), normalised; labels int64 (N,)."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    sha256: str


def size(config: EvalConfig) -> int:
    """Count the examples of an evaluation set. Raises InputError as ``load`` does."""
    return len(load(config).labels)


def load(config: EvalConfig) -> EvalSet:
    """Load the examples of an evaluation set; ``sha256`` covers raw pixels and labels, in order.

    Raises InputError when the set asks for more examples than the split holds.
    """
    if config.corruption != "none" or config.severity:
        raise InputError(f"corruption: expected 'none', got {config.corruption!r}")
    dataset = registry.load(config.data)
    if config.split == "train":
        images, labels = dataset.train_images, dataset.train_labels
    else:
        images, labels = dataset.test_images, dataset.test_labels
    if config.labels == "trained_on":
        labels = noisy_labels(labels, config.label_noise, dataset.classes, config.seed_labels)
    if config.n is not None:
        if config.n > len(labels):
            raise InputError(
                f"evaluations: expected n of at most {len(labels)} (the {config.split} split "
                f"of this study), got {config.n}"
            )
        stream = generator("evaluation subset", config.subset_seed)
        subset = torch.randperm(len(labels), generator=stream)[: config.n]
        images, labels = images[subset], labels[subset]
    digest = hashlib.sha256(images.contiguous().numpy().tobytes() + labels.numpy().tobytes())
    return EvalSet(dataset.normalise(images), labels, dataset.class_names, digest.hexdigest())
