"""Image files as one tensor, and its keeping: decoding CIFAR's 60,000 takes seconds each time."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import safetensors
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import InputError
from featdyn_engine.files import write_tensors

GREY_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L")


def decode(files: Iterable[tuple[str, bytes]]) -> Tensor:
    """Decode named image files, all square and of one size, to uint8 (N, C, H, H).

    One channel where all are grey, else three; transparency is dropped, 16 bits keep their upper
    eight. Raises InputError that names the first file which is no image or has another size.
    """
    pictures = []
    for name, content in files:
        try:
            pictures.append(_pixels(content))
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as problem:
            reason = str(problem).splitlines()[0] if "BytesIO" not in str(problem) else "no image"
            raise InputError(f"{name}: expected an image, got: {reason}") from None
        first, this = pictures[0].shape[:2], pictures[-1].shape[:2]
        if this != first:
            raise InputError(
                f"{name}: expected {first[1]} x {first[0]} pixels as the first image, got "
                f"{this[1]} x {this[0]}; make all images one size"
            )
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [_in_colour(picture) for picture in pictures]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return torch.from_numpy(np.stack(pictures))[:, None]


def _pixels(content: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """One image, uint8 (H, W) if it is grey, else (H, W, 3)."""
    with Image.open(io.BytesIO(content)) as image:
        if image.mode in DEEP_MODES:
            return (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.asarray(image.convert("L" if image.mode in GREY_MODES else "RGB"))


def _in_colour(
    picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)


def kept(folder: Path, sources: Sequence[Path], make: Callable[[], Dataset]) -> Dataset:
    """Return ``make()``, kept as one file in ``folder``/decoded for the next time.

    ``sources`` are the files that it is made from: when one changes its size or date, or the
    decoder its version, it is made anew. So it is when the kept file can't be read.
    """
    path = folder / "decoded" / f"{_key(sources)}.safetensors"
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Dataset(class_names=tuple(json.loads(file.metadata()["class_names"])), **tensors)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError):
        dataset = make()
    tensors = {
        "train_images": dataset.train_images,
        "train_labels": dataset.train_labels,
        "test_images": dataset.test_images,
        "test_labels": dataset.test_labels,
    }
    try:
        write_tensors(path, tensors, {"class_names": json.dumps(dataset.class_names)})
    except OSError:
        # A home that can't be written, or is full: decoding again next time is only slower.
        return dataset
    return dataset


def _key(sources: Sequence[Path]) -> str:
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    text = json.dumps([version("pillow"), sorted(stats)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
