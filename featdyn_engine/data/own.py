"""Data sets of the user's own: torch ``Dataset`` objects, from a factory or kept as tensors.

An object has a training and a test split, each with a length and items (image, label), or dicts of
``pixel_values`` or ``image`` and ``labels`` or ``label``. An image is uint8, (C, H, H) or a picture
of Pillow's, or floating point (C, H, H), then as the network takes it. Draws that an object makes
by itself, such as augmentation, are read once, as they come.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from featdyn_engine import factories, files
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.decoded import TENSORS
from featdyn_engine.data.problems import named, reason
from featdyn_engine.domain import DataConfig, InputError

FILE = "data.safetensors"
IMAGE_KEYS = ("pixel_values", "image", "img")
LABEL_KEYS = ("labels", "label")
FORM = "items (image, label), or dicts of pixel_values and labels"


def _part(item: Mapping[str, Any], keys: tuple[str, ...], place: str) -> Any:
    found = next((key for key in keys if key in item), None)
    if found is None:
        raise InputError(
            f"{place}: expected {' or '.join(keys)}, got a dict of {', '.join(map(str, item))}"
        )
    return item[found]


def _image(value: Any, place: str) -> Tensor:
    if isinstance(value, Image.Image):
        pixels = np.array(value if value.mode == "L" else value.convert("RGB"))
        value = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    image = torch.as_tensor(value)
    if image.dim() != 3 or not (image.dtype == torch.uint8 or image.is_floating_point()):
        raise InputError(
            f"{place}: expected an image, uint8 or floating point (C, H, H), got {image.dtype} "
            f"{tuple(image.shape)}"
        )
    return image if image.dtype == torch.uint8 else image.float()


def _split(data: Any, split: str) -> tuple[Tensor, Tensor]:
    """Read a split through: images (N, C, H, H), labels int64 (N,)."""
    try:
        count = len(data)
    except TypeError:
        raise InputError(
            f"data: expected a {split} split with a length and {FORM}, got {type(data).__name__}"
        ) from None
    images, labels = [], []
    for index in range(count):
        place = f"data {split}[{index}]"
        item = data[index]
        if isinstance(item, Mapping):
            image, label = _part(item, IMAGE_KEYS, place), _part(item, LABEL_KEYS, place)
        elif isinstance(item, tuple | list) and len(item) == 2:
            image, label = item
        else:
            raise InputError(f"{place}: expected {FORM}, got {type(item).__name__}")
        images.append(_image(image, place))
        labels.append(int(label))
        if images[-1].shape != images[0].shape or images[-1].dtype != images[0].dtype:
            raise InputError(
                f"{place}: expected {images[0].dtype} {tuple(images[0].shape)} as the first image, "
                f"got {images[-1].dtype} {tuple(images[-1].shape)}; bring all to one form"
            )
    if not images:
        raise InputError(f"data: expected images in its {split} split, got none")
    return torch.stack(images), torch.tensor(labels)


def _class_names(data: Any, count: int) -> tuple[str, ...]:
    """Names that the object brings, as torchvision and Hugging Face keep them, or numbers."""
    names = getattr(data, "classes", None)
    features = getattr(data, "features", None)
    if names is None and isinstance(features, Mapping):
        names = next(
            (getattr(features[k], "names", None) for k in LABEL_KEYS if k in features), None
        )
    if names is None or len(names) < count:
        names = range(count)
    return tuple(str(name) for name in names)


def collected(train: Any, test: Any) -> Dataset:
    """Read both splits of a user's data set. Raises InputError for items of another form."""
    train_images, train_labels = _split(train, "train")
    test_images, test_labels = _split(test, "test")
    if train_images.dtype != test_images.dtype:
        raise InputError(
            f"data: expected test images of {train_images.dtype} as the training images, got "
            f"{test_images.dtype}"
        )
    count = int(max(train_labels.max(), test_labels.max())) + 1
    names = _class_names(train, count)
    return Dataset(names, train_images, train_labels, test_images, test_labels)


def _splits(made: Any) -> tuple[Any, Any]:
    if isinstance(made, Mapping) and {"train", "test"} <= set(made):
        return made["train"], made["test"]
    if isinstance(made, tuple | list) and len(made) == 2:
        return made[0], made[1]
    raise InputError(
        f"data: expected (train, test) or a dict of train and test, got {type(made).__name__}"
    )


def load_factory(config: DataConfig, folder: Path) -> Dataset:  # noqa: ARG001
    """Call ``module:factory``, which returns (train, test) or a dict of these two.

    Raises InputError for a module that is not allowed, a factory that fails, and other items.
    """
    factory = factories.find(config.name, "data.name")
    try:
        made = factory()
    except Exception as problem:
        factories.refuse("data.name", f"{config.name} to return data", factories.said(problem))
    return collected(*_splits(made))


def keep(train: Any, test: Any, folder: Path) -> DataConfig:
    """Keep a user's data set as tensors in ``folder``/own, and say how a study names it."""
    dataset = collected(train, test)
    kept = folder / "own" / dataset.sha256[:12]
    tensors = {name: getattr(dataset, name) for name in TENSORS}
    metadata = {"class_names": json.dumps(dataset.class_names), "sha256": dataset.sha256}
    files.write_tensors(kept / FILE, tensors, metadata)
    return DataConfig(name="tensors", folder=str(kept.resolve()), sha256=dataset.sha256)


def load_tensors(config: DataConfig, folder: Path) -> Dataset:  # noqa: ARG001
    """Read what ``keep`` has written. Raises InputError for a folder without it."""
    if config.folder is None:
        raise InputError(f"data tensors: expected a folder with {FILE}, got none; set data.folder")
    path = named(config.folder) / FILE
    try:
        with safe_open(path, framework="pt") as file:
            names = tuple(json.loads(file.metadata()["class_names"]))
            return Dataset(names, **{name: file.get_tensor(name) for name in TENSORS})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise InputError(
            f"data tensors: expected {path} as featdyn keeps it, got {reason(problem)}"
        ) from None
