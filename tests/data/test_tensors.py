"""Data sets of the user's own: torch datasets kept as tensors, by factory, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from featdyn_engine.data import evaluation, own, registry
from featdyn_engine.domain import DataConfig, EvalConfig, InputError
from featdyn_engine.factories import VARIABLE
from tests.networks import images_and_labels


def floats(n: int) -> TensorDataset:
    return TensorDataset(*images_and_labels(n))


def pixels(n: int) -> TensorDataset:
    images, labels = images_and_labels(n)
    return TensorDataset(((images + 4).clamp(0, 8) * 31).to(torch.uint8), labels)


def factory() -> tuple[TensorDataset, TensorDataset]:
    return pixels(12), pixels(6)


def failing() -> None:
    raise RuntimeError("no\n disk")


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    config = own.keep(floats(12), floats(5), tmp_path)
    dataset = registry.load(config, tmp_path)
    images, labels = images_and_labels(12)
    assert torch.equal(dataset.train_images, images)
    assert torch.equal(dataset.train_labels, labels)
    assert len(dataset.test_labels) == 5
    assert not dataset.is_raw
    assert torch.equal(dataset.normalise(dataset.train_images), images)
    assert dataset.sha256 == config.sha256
    examples = evaluation.load(EvalConfig(data=config, split="test", n=3), tmp_path)
    assert examples.images.shape == (3, 1, 8, 8)


def test_pixels_are_scaled_as_said(tmp_path: Path) -> None:
    config = own.keep(pixels(12), pixels(5), tmp_path)
    said = DataConfig(**{**vars(config), "mean": (0.5,), "std": (0.25,)})
    dataset = registry.load(said, tmp_path)
    raw = dataset.train_images
    assert torch.allclose(dataset.normalise(raw), (raw / 255 - 0.5) / 0.25, atol=1e-6)
    plain = registry.load(config, tmp_path)
    assert float(plain.normalise(raw).mean()) == pytest.approx(0, abs=1e-5)


def test_a_factory_returns_both_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig(name="tests.data.test_tensors:factory")
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(
        InputError, match=r"data.name: expected a module that you allow, got 'tests"
    ):
        registry.load(config, tmp_path)
    monkeypatch.setenv(VARIABLE, "tests.data.test_tensors")
    assert len(registry.load(config, tmp_path).train_labels) == 12
    failed = DataConfig(name="tests.data.test_tensors:failing")
    with pytest.raises(InputError, match=r"failing to return data, got RuntimeError: no disk"):
        registry.load(failed, tmp_path)


def test_items_may_be_dicts_and_pictures_with_names_for_classes() -> None:
    class Named(list[Any]):
        classes = ("cat", "dog")

    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    items = Named([{"image": picture, "label": 1}, {"image": picture, "label": 0}])
    dataset = own.collected(items, items)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train_images.shape == (2, 1, 8, 8)
    assert dataset.is_raw
    colour = [(picture.convert("RGB"), 0)]
    assert own.collected(colour, colour).train_images.shape == (1, 3, 8, 8)


IMAGE = torch.zeros(1, 8, 8)
BAD: list[tuple[Any, str]] = [
    (iter([]), r"a train split with a length and items \(image, label\), .* got list_iterator"),
    ([], r"expected images in its train split, got none"),
    ([IMAGE], r"data train\[0\]: expected items \(image, label\), .* got Tensor"),
    ([{"x": IMAGE}], r"train\[0\]: expected pixel_values or image or img, got a dict of x"),
    (
        [(IMAGE[0], 1)],
        r"train\[0\]: expected an image, uint8 or floating .* got torch.float32 \(8,",
    ),
    (
        [(IMAGE, 1), (IMAGE[:, :4], 1)],
        r"train\[1\]: expected torch.float32 \(1, 8, 8\) as the first",
    ),
]


@pytest.mark.parametrize(("items", "pattern"), BAD)
def test_items_of_another_form_are_refused(items: Any, pattern: str) -> None:
    with pytest.raises(InputError, match=pattern) as caught:
        own.collected(items, [(IMAGE, 0)])
    assert "\n" not in str(caught.value)


def test_splits_of_two_kinds_are_refused() -> None:
    with pytest.raises(InputError, match=r"test images of torch.float32 as the training images"):
        own.collected(floats(2), pixels(2))
    with pytest.raises(InputError, match=r"expected \(train, test\) or a dict of train and test"):
        own._splits([1, 2, 3])


def test_a_folder_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data tensors: expected a folder with data.safetensors"):
        registry.load(DataConfig(name="tensors"), tmp_path)
    with pytest.raises(InputError, match=r"expected .*data.safetensors as featdyn keeps it, got"):
        registry.load(DataConfig(name="tensors", folder=str(tmp_path)), tmp_path)


SCALINGS: list[tuple[dict[str, Any], str]] = [
    ({"mean": (0.5,)}, r"data.mean, data.std: expected both, one number for each of 1 channels"),
    ({"mean": (0.5, 0.5), "std": (1.0, 1.0)}, r"expected both, one number for each of 1 channels"),
]


@pytest.mark.parametrize(("scaling", "pattern"), SCALINGS)
def test_scalings_that_do_not_fit_are_refused(scaling: dict[str, Any], pattern: str) -> None:
    with pytest.raises(InputError, match=pattern):
        registry.load(DataConfig(name="digits", **scaling), Path("no-home"))


def test_images_that_are_scaled_already_are_not_scaled_again(tmp_path: Path) -> None:
    config = own.keep(floats(4), floats(4), tmp_path)
    said = DataConfig(**{**vars(config), "mean": (0.5,), "std": (0.25,)})
    with pytest.raises(InputError, match=r"data.mean: expected none for tensors, whose images are"):
        registry.load(said, tmp_path)
