"""CIFAR-10-C's layout: a .npy a corruption, five severities one after the other, labels.npy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featdyn_engine.data import evaluation, registry
from featdyn_engine.data.corruptions import official
from featdyn_engine.domain import DataConfig, EvalConfig, Task
from tests.cases import HERE
from tests.data.conftest import forget
from tests.data.tiny import pixels, refused

N = 4
TASK = Task(channels=3, pixels=32, classes=10)
IMAGES = pixels(5 * N, 32, 32, 3)
LABELS = np.tile(np.array([3, 8, 0, 9]), 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "fog.npy", IMAGES)
    np.save(tmp_path / "labels.npy", LABELS)
    return tmp_path


def asked(folder: Path | None, kind: str = "fog", severity: int = 1, **more: Any) -> EvalConfig:
    return EvalConfig(
        data=DataConfig(name="cifar10"),
        split=more.pop("split", "test"),
        corruption=kind,
        severity=severity,
        corruption_folder=str(folder) if folder else None,
        **more,
    )


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_a_severity_is_its_fifth_of_the_file(severity: int, folder: Path) -> None:
    images, labels = official.load(asked(folder, severity=severity), TASK)
    rows = slice((severity - 1) * N, severity * N)
    assert (images.permute(0, 2, 3, 1).numpy() == IMAGES[rows]).all()
    assert images.is_contiguous()
    assert labels.tolist() == [3, 8, 0, 9]


def test_grey_images_of_another_size_are_read_where_the_data_have_them(tmp_path: Path) -> None:
    grey = pixels(5, 8, 8, 1) % 17
    np.save(tmp_path / "fog.npy", grey)
    np.save(tmp_path / "labels.npy", np.arange(5, dtype=np.uint8))
    images, labels = official.load(asked(tmp_path, severity=2), Task(1, 8, 10))
    assert (images[0, 0].numpy() == grey[1, :, :, 0]).all()
    assert labels.tolist() == [1]


def test_the_benchmark_s_kinds_are_known() -> None:
    assert len(set(official.KINDS)) == 15 + 4


# Refusals


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"kind": "none"}, "severity: expected 0 without a corruption, got 1; name one"),
        ({"kind": "rain"}, "corruption: expected none or one of gaussian_noise, .*, got 'rain'"),
        ({"severity": 0}, "severity: expected 1 to 5 for fog, got 0"),
        ({"severity": 6}, "severity: expected 1 to 5 for fog, got 6"),
        ({"split": "train"}, "corruption: expected split = 'test' for fog, got 'train'"),
    ],
)
def test_what_the_benchmark_does_not_have_is_refused(
    options: dict[str, Any], pattern: str, folder: Path
) -> None:
    with refused(pattern):
        official.load(asked(folder, **options), TASK)


@pytest.mark.parametrize(
    ("kind", "task", "pattern"),
    [
        ("snow", Task(1, 8, 10), "one of gaussian_noise, .* for grey images of 8 pixels, got snow"),
        ("saturate", Task(1, 28, 10), ".* for grey images of 28 pixels, got saturate"),
    ],
)
def test_kinds_that_images_made_here_cannot_have_are_refused(
    kind: str, task: Task, pattern: str
) -> None:
    with refused(f"corruption: expected {pattern}"):
        official.check(asked(None, kind=kind), task)


@pytest.mark.parametrize("name", ["fog.npy", "labels.npy"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with refused(f"corruption: expected {folder / name}, got no such file; get it"):
        official.load(asked(folder), TASK)


@pytest.mark.parametrize("keep", [0, 5, 70, 200, -1])
@pytest.mark.parametrize("name", ["fog.npy", "labels.npy"])
def test_a_file_that_was_cut_short_is_named(name: str, keep: int, folder: Path) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:keep])
    with refused(f"corruption: expected a whole .npy file at {folder / name}, got .*; get it"):
        official.load(asked(folder), TASK)


def test_pickled_objects_are_never_loaded(folder: Path) -> None:
    np.save(folder / "fog.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with refused(f"corruption: expected a whole .npy file at {folder / 'fog.npy'}, got .*bject"):
        official.load(asked(folder), TASK)


@pytest.mark.parametrize(
    ("images", "pattern"),
    [
        (IMAGES[:, :16], r"uint8 images of \(32, 32, 3\) in .*, got uint8 of \(16, 32, 3\)"),
        (IMAGES / 255.0, r"uint8 images of \(32, 32, 3\) .*, got float64 of \(32, 32, 3\)"),
        (IMAGES[:19], r"20 whole numbers|19 whole numbers in .*labels.npy, .* got int64 of \(20,"),
    ],
)
def test_images_that_are_not_those_of_the_data_are_refused(
    images: NDArray[Any], pattern: str, folder: Path
) -> None:
    np.save(folder / "fog.npy", images)
    with refused(f"corruption: expected ({pattern})"):
        official.load(asked(folder), TASK)


def test_severities_of_unequal_size_are_refused(folder: Path) -> None:
    np.save(folder / "fog.npy", IMAGES[:19])
    np.save(folder / "labels.npy", LABELS[:19])
    with refused("expected as many images of each of 5 severities in .*fog.npy, got 19 in all"):
        official.load(asked(folder), TASK)


@pytest.mark.parametrize("bad", [-1, 10])
def test_labels_out_of_range_are_refused(bad: int, folder: Path) -> None:
    labels = LABELS.copy()
    labels[2] = bad
    np.save(folder / "labels.npy", labels)
    with refused(f"corruption: expected labels from 0 to 9 in .*labels.npy, .*, got {bad}"):
        official.load(asked(folder), TASK)


def test_labels_that_are_no_whole_numbers_are_refused(folder: Path) -> None:
    np.save(folder / "labels.npy", LABELS.astype(float))
    with refused(r"corruption: expected 20 whole numbers in .*, got float64 of \(20,\)"):
        official.load(asked(folder), TASK)


# As an evaluation set, of digits because they are at hand

DIGITS = DataConfig(name="digits", train_size=100)


@pytest.fixture
def digits_c(tmp_path: Path) -> EvalConfig:
    np.save(tmp_path / "fog.npy", pixels(5 * N, 8, 8, 1) % 17)
    np.save(tmp_path / "labels.npy", LABELS)
    return replace(asked(tmp_path, severity=3), data=DIGITS)


def test_corrupted_images_are_scaled_by_the_training_set(digits_c: EvalConfig) -> None:
    raw, labels = official.load(digits_c, Task(1, 8, 10))
    found = evaluation.load(digits_c, HERE)
    expected = registry.load(DIGITS, HERE).normalise(raw)
    assert (found.images == expected).all()
    assert found.labels.tolist() == labels.tolist()
    assert evaluation.size(replace(digits_c, n=2), HERE) == 2


def test_corrupted_images_are_permuted_as_the_training_set_is(digits_c: EvalConfig) -> None:
    permuted = replace(digits_c, data=replace(DIGITS, permute_pixels=True))
    plain = evaluation.load(digits_c, HERE).images
    assert (evaluation.load(permuted, HERE).images == registry.permuted(plain)).all()


def test_their_hash_is_part_of_a_plan_and_their_folder_absolute(
    digits_c: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert digits_c.corruption_folder is not None
    folder = Path(digits_c.corruption_folder)
    monkeypatch.chdir(folder.parent)
    found = evaluation.identified(replace(digits_c, corruption_folder=folder.name), HERE)
    assert found.corruption_folder == str(folder)
    assert found.corruption_sha256 == evaluation.load(digits_c, HERE).sha256
    assert evaluation.identified(found, HERE) == found
    assert evaluation.load(found, HERE).sha256 == found.corruption_sha256


def test_other_images_than_those_of_the_plan_are_refused(digits_c: EvalConfig) -> None:
    found = evaluation.identified(digits_c, HERE)
    assert found.corruption_folder is not None
    np.save(Path(found.corruption_folder) / "labels.npy", 9 - LABELS)
    forget()
    with refused(
        "corruption: expected the images of fog 3 that this study was planned with in .*, got "
        "others; put the old files back, or plan a new study with the new ones"
    ):
        evaluation.load(found, HERE)


def test_brighter_levels_than_the_data_have_are_refused(digits_c: EvalConfig) -> None:
    assert digits_c.corruption_folder is not None
    np.save(Path(digits_c.corruption_folder) / "fog.npy", pixels(5 * N, 8, 8, 1))
    with refused("corruption: expected levels from 0 to 16 in .*, as digits has, got 2.."):
        evaluation.load(digits_c, HERE)


def test_an_uncorrupted_set_needs_no_hash() -> None:
    config = EvalConfig(data=DIGITS, split="test")
    assert evaluation.identified(config, HERE) == config
