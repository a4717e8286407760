"""scikit-learn's digits: 1,797 real handwritten digits, 8 x 8 pixels, 17 grey levels.

They ship inside the scikit-learn package, so nothing is downloaded. Source: the test part of
"Optical Recognition of Handwritten Digits" (UCI), Alpaydin & Kaynak 1998.
"""

import torch
from sklearn.datasets import load_digits

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, InputError
from featdyn_engine.randomness import generator

TRAIN_SHARE = 0.8


def load(config: DataConfig) -> Dataset:
    """Split 80/20 by ``split_seed`` (1,437 and 360 images) and keep ``train_size`` to train on.

    Raises InputError when ``train_size`` exceeds the training split.
    """
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(bunch.target, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=generator("split", config.split_seed))
    boundary = int(TRAIN_SHARE * len(labels))
    if config.train_size is not None and config.train_size > boundary:
        raise InputError(
            f"data.train_size: expected at most {boundary} (the digits' training split), "
            f"got {config.train_size}"
        )
    train, test = order[:boundary][: config.train_size], order[boundary:]
    return Dataset(
        class_names=tuple(str(name) for name in bunch.target_names),
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )
