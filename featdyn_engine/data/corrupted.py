"""Official corrupted test sets: CIFAR-10-C and CIFAR-100-C (Hendrycks & Dietterich, 1903.12261).

A folder holds one ``<kind>.npy`` a corruption, uint8 (5 N, 32, 32, 3), severities 1 to 5 one
after the other, and ``labels.npy`` (5 N,). Only the images of the severity are read.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featdyn_engine.domain import EvalConfig, InputError, Task

# The fifteen of the benchmark, then the four that its authors set aside for validation.
KINDS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "speckle_noise",
    "gaussian_blur",
    "spatter",
    "saturate",
)
SEVERITIES = 5


def _array(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"{path}: expected a file of the official corrupted set, found none; download the set "
            "and name the folder that holds its .npy files"
        ) from None
    except (OSError, ValueError, EOFError) as problem:
        reason = str(problem).splitlines()[0]
        raise InputError(
            f"{path}: expected a whole .npy file, got: {reason}; download it again"
        ) from None


def load(config: EvalConfig, task: Task) -> tuple[Tensor, Tensor]:
    """Return the corrupted images, uint8 (N, C, H, H), and their labels, int64 (N,).

    Raises InputError for a kind, a severity or a folder that isn't there, and for images or
    labels that don't belong to ``task``.
    """
    kind, severity = config.corruption, config.severity
    if kind not in KINDS:
        raise InputError(f"corruption: expected one of {', '.join(KINDS)}, got {kind!r}")
    if not severity:
        raise InputError(f"severity: expected 1 to {SEVERITIES} for {kind}, got 0")
    if config.corruption_folder is None:
        raise InputError(
            f"corruption_folder: expected the folder of the official files for {kind}, got none"
        )
    folder = Path(config.corruption_folder)
    images, labels = _array(folder / f"{kind}.npy"), _array(folder / "labels.npy")
    expected = (len(labels), task.pixels, task.pixels, task.channels)
    if images.shape != expected or images.dtype != np.uint8 or labels.ndim != 1:
        raise InputError(
            f"{folder / kind}.npy: expected uint8 images {expected}, got {images.dtype} "
            f"{images.shape}"
        )
    n, rest = divmod(len(labels), SEVERITIES)
    if rest or not n:
        raise InputError(
            f"{folder / 'labels.npy'}: expected a multiple of {SEVERITIES} labels, "
            f"got {len(labels)}"
        )
    chosen = slice((severity - 1) * n, severity * n)
    values = torch.from_numpy(labels[chosen].astype(np.int64))
    if int(values.min()) < 0 or int(values.max()) >= task.classes:
        raise InputError(
            f"{folder / 'labels.npy'}: expected labels from 0 to {task.classes - 1}, got "
            f"{int(values.min())} to {int(values.max())}"
        )
    pixels = torch.from_numpy(np.ascontiguousarray(images[chosen].transpose(0, 3, 1, 2)))
    return pixels, values
