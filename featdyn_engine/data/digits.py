"""scikit-learn's digits: 1,797 real handwritten digits, 8 x 8 pixels, 17 grey levels.

They ship inside the scikit-learn package, so nothing is downloaded. Source: the test part of
"Optical Recognition of Handwritten Digits" (UCI), Alpaydin & Kaynak 1998.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig
from featdyn_engine.randomness import generator

TRAIN_SHARE = 0.8
GREY_LEVELS = 16


def load(config: DataConfig, folder: Path) -> Dataset:  # noqa: ARG001
    """Split 80/20 by ``split_seed``: 1,437 and 360 images."""
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.uint8).unsqueeze(1)
    labels = torch.tensor(bunch.target, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=generator("split", config.split_seed))
    boundary = int(TRAIN_SHARE * len(labels))
    train, test = order[:boundary], order[boundary:]
    return Dataset(
        class_names=tuple(str(name) for name in bunch.target_names),
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        peak=GREY_LEVELS,
    )
