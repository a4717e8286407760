"""Corrupted test sets: official files of CIFAR-10-C and CIFAR-100-C, or images made here.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (arXiv 1903.12261). A folder holds one ``<kind>.npy`` a corruption, uint8
(5 N, 32, 32, 3), severities 1 to 5 one after the other, and ``labels.npy`` (5 N,).
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featdyn_engine.data.corruptions.registry import KINDS, SEVERITIES
from featdyn_engine.data.corruptions.registry import check as check_defined
from featdyn_engine.data.problems import named, reason
from featdyn_engine.domain import EvalConfig, InputError, Task


def load(config: EvalConfig, task: Task) -> tuple[Tensor, Tensor]:
    """Return the official images of a kind and severity, uint8 (N, C, H, H), and labels (N,).

    Raises InputError for a kind or severity that isn't there, files that are missing or damaged,
    and images or labels that don't fit ``task``.
    """
    check(config, task)
    folder = named(config.corruption_folder or "")
    image_file, label_file = folder / f"{config.corruption}.npy", folder / "labels.npy"
    images, labels = _array(image_file), _array(label_file)
    shape = (task.pixels, task.pixels, task.channels)
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise InputError(
            f"corruption: expected uint8 images of {shape} in {image_file}, as the data have, got "
            f"{images.dtype} of {images.shape[1:]}"
        )
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"corruption: expected {len(images)} whole numbers in {label_file}, one for each "
            f"image of {image_file.name}, got {labels.dtype} of {labels.shape}"
        )
    n, rest = divmod(len(images), SEVERITIES)
    if rest or not n:
        raise InputError(
            f"corruption: expected as many images of each of {SEVERITIES} severities in "
            f"{image_file}, got {len(images)} in all"
        )
    rows = slice((config.severity - 1) * n, config.severity * n)
    # The files are mapped into memory: only these rows are read.
    values = torch.from_numpy(labels[rows].astype(np.int64))
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= task.classes:
        raise InputError(
            f"corruption: expected labels from 0 to {task.classes - 1} in {label_file}, as the "
            f"data have, got {low if low < 0 else high}"
        )
    return torch.from_numpy(images[rows].transpose(0, 3, 1, 2).copy()), values


def check(config: EvalConfig, task: Task) -> None:
    """Raise InputError for a kind or severity that there is not, also of images made here."""
    kind, severity = config.corruption, config.severity
    if kind == "none":
        raise InputError(f"severity: expected 0 without a corruption, got {severity}; name one")
    if kind not in KINDS:
        raise InputError(f"corruption: expected none or one of {', '.join(KINDS)}, got {kind!r}")
    if not 1 <= severity <= SEVERITIES:
        raise InputError(f"severity: expected 1 to {SEVERITIES} for {kind}, got {severity}")
    if config.split != "test":
        raise InputError(f"corruption: expected split = 'test' for {kind}, got {config.split!r}")
    if config.corruption_folder is None:
        check_defined(kind, task)


def _array(path: Path) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"corruption: expected {path}, got no such file; get it") from None
    except (OSError, ValueError, EOFError, SyntaxError) as problem:
        raise InputError(
            f"corruption: expected a whole .npy file at {path}, got {reason(problem)}; get it again"
        ) from problem
    return array
