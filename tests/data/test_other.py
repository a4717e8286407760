import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from featdyn_engine.data import evaluation, other, registry
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, EvalConfig, InputError
from tests.cases import HERE


def dataset(names: str, channels: int, pixels: int, peak: int = 255, n: int = 12) -> Dataset:
    stream = torch.Generator().manual_seed(channels * pixels)
    images = torch.randint(peak + 1, (n, channels, pixels, pixels), generator=stream)
    labels = torch.arange(n) % len(names.split())
    images = images.to(torch.uint8)
    return Dataset(tuple(names.split()), images, labels, images.flip(0), labels.flip(0), peak)


CIFAR = dataset("airplane automobile bird frog", 3, 8)


def test_classes_are_mapped_by_name_and_known_synonym() -> None:
    stl = ("car", "monkey", "Bird", "airplane")
    assert other.class_map(stl, CIFAR.class_names).tolist() == [1, -1, 2, 0]


def test_only_shared_classes_are_kept_in_their_order() -> None:
    stl = dataset("car monkey bird", 3, 8)
    images, labels = other.adapted(stl, "test", CIFAR)
    kept = stl.test_labels != 1
    assert torch.equal(images, stl.test_images[kept])
    assert labels.tolist() == [{0: 1, 2: 2}[int(k)] for k in stl.test_labels[kept]]


def test_too_few_shared_classes_are_refused() -> None:
    with pytest.raises(InputError, match="expected at least two classes of the same name"):
        other.adapted(dataset("monkey bird", 3, 8), "test", CIFAR)


def test_grey_becomes_three_equal_colours() -> None:
    grey = dataset("bird frog", 1, 8)
    result = other.converted(grey.test_images, 255, CIFAR)
    assert result.shape == (12, 3, 8, 8)
    assert all(torch.equal(result[:, c], grey.test_images[:, 0]) for c in range(3))


def test_colour_becomes_luma() -> None:
    red = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 200
    grey = other.converted(red, 255, dataset("bird frog", 1, 8))
    assert grey.unique().tolist() == [round(0.299 * 200)]


def test_levels_are_scaled_to_those_of_the_training_set() -> None:
    digits = dataset("bird frog", 1, 8, peak=16)
    full = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    assert other.converted(full, 255, digits).unique().tolist() == [16]
    assert other.converted(full // 2, 255, digits).unique().tolist() == [8]


def test_halving_the_size_averages_a_flat_image_to_itself_and_keeps_the_mean() -> None:
    big = dataset("bird frog", 3, 16)
    small = other.converted(big.test_images, 255, CIFAR)
    assert small.shape[-1] == 8
    flat = torch.full((1, 3, 16, 16), 77, dtype=torch.uint8)
    assert other.converted(flat, 255, CIFAR).unique().tolist() == [77]
    assert float(small.float().mean()) == pytest.approx(
        float(big.test_images.float().mean()), abs=2
    )


def test_an_evaluation_set_of_other_data_is_another_set_with_true_labels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    twice = dataset("0 1 2 3 4 5 6 7 8 9", 3, 16, n=20)
    monkeypatch.setitem(registry.DATASETS, "twice", lambda config, folder: twice)
    plain = EvalConfig(data=DataConfig(name="digits"), split="test")
    config = evaluation.identified(
        EvalConfig(data=plain.data, split="test", other=DataConfig(name="twice")), tmp_path
    )
    assert config.eval_id != plain.eval_id
    assert config.other is not None
    assert config.other.sha256 == twice.sha256
    found = evaluation.load(config, tmp_path)
    assert found.images.shape == (20, 1, 8, 8)
    assert torch.equal(found.labels, twice.test_labels)
    assert EvalConfig.from_json(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    "change",
    [{"corruption": "fog", "severity": 1}, {"other": DataConfig(name="digits", train_size=5)}],
)
def test_other_data_take_no_corruption_and_no_options(change: dict[str, object]) -> None:
    asked = {"other": DataConfig(name="digits"), **change}
    config = EvalConfig(data=DataConfig(name="digits"), split="test", **asked)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected name, folder and title of digits alone"):
        evaluation.load(config, HERE)
