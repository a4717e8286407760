"""scikit-learn's digits: 1,797 real handwritten digits, 8 x 8 pixels, 17 grey levels.

They ship inside the scikit-learn package, so nothing is downloaded. Source: the test part of
"Optical Recognition of Handwritten Digits" (UCI), Alpaydin & Kaynak 1998.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, InputError
from featdyn_engine.randomness import generator

TRAIN_SHARE = 0.8
GREY_LEVELS = 16


def _rows() -> NDArray[np.float64]:
    """64 pixels and the label of each image, (1797, 65), as ``sklearn.datasets.load_digits``.

    From the package's own file: importing scikit-learn takes seconds, in every worker process.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise InputError("data digits: expected scikit-learn installed, got none; pip install it")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows: NDArray[np.float64] = np.loadtxt(path, delimiter=",")
    return rows


def load(config: DataConfig, folder: Path) -> Dataset:  # noqa: ARG001
    """Split 80/20 by ``split_seed``: 1,437 and 360 images."""
    rows = torch.from_numpy(_rows())
    images = rows[:, :-1].to(torch.uint8).view(-1, 1, 8, 8)
    labels = rows[:, -1].long()
    order = torch.randperm(len(labels), generator=generator("split", config.split_seed))
    boundary = int(TRAIN_SHARE * len(labels))
    train, test = order[:boundary], order[boundary:]
    return Dataset(
        class_names=tuple("0123456789"),
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        peak=GREY_LEVELS,
    )
