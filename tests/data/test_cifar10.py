import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from featdyn_engine.data import registry
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, Task
from tests.data.conftest import forget
from tests.data.tiny import pixels, python2_pickle, refused, trust_cifar, write_cifar10

BATCH = Path("cifar-10-batches-py") / "data_batch_2"


def load(folder: Path, home: Path = Path("unused")) -> Dataset:
    return registry.load(DataConfig(name="cifar10", folder=str(folder)), home)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    content = write_cifar10(tmp_path)
    trust_cifar(monkeypatch, "CIFAR10", tmp_path)
    return content


def test_pixels_and_labels_are_those_of_the_batches(
    tmp_path: Path, written: dict[str, Any]
) -> None:
    dataset = load(tmp_path)
    assert dataset.task == Task(channels=3, pixels=32, classes=10)
    assert dataset.train_images.shape == (20, 3, 32, 32)
    assert dataset.train_images.dtype == torch.uint8
    assert dataset.train_labels.dtype == torch.int64
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert dataset.train_labels.tolist() == written["train"][1]
    assert (dataset.test_images.numpy() == written["test"][0]).all()
    assert dataset.test_labels.tolist() == written["test"][1]
    assert list(dataset.class_names) == written["names"]


def test_nothing_is_written_beside_a_folder_that_the_user_names(
    tmp_path: Path, written: dict[str, Any]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    load(tmp_path, tmp_path / "home")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_may_begin_with_the_home_of_the_user(
    tmp_path: Path, written: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load(Path("~")).train_labels) == 20


def test_files_that_are_not_those_of_the_set_are_refused_with_both_sums(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    with refused(r"data cifar10: expected .*data_batch_1 with the MD5 sum c99cafc1\w+, got \w{32}"):
        load(tmp_path)


def test_a_batch_that_was_cut_short_is_named(tmp_path: Path, written: dict[str, Any]) -> None:
    path = tmp_path / BATCH
    path.write_bytes(path.read_bytes()[:-1000])
    with refused(rf"data cifar10: expected {path} with the MD5 sum .*; put the files of https://"):
        load(tmp_path)


def test_a_missing_batch_is_named(tmp_path: Path, written: dict[str, Any]) -> None:
    (tmp_path / BATCH).unlink()
    with refused(rf"data cifar10: expected {tmp_path / BATCH}, got no such file; put the files of"):
        load(tmp_path)


def test_a_folder_that_is_not_there_is_never_filled(tmp_path: Path) -> None:
    with refused(r"data cifar10: expected .*data_batch_1, got no such file"):
        load(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02}.", b"not a pickle", b"\x80\x02J\x01"])
def test_a_batch_that_is_no_pickle_of_a_batch_is_refused(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path)
    (tmp_path / BATCH).write_bytes(content)
    trust_cifar(monkeypatch, "CIFAR10", tmp_path)
    with refused(f"data cifar10: expected files in {tmp_path} that torchvision reads, got "):
        load(tmp_path)


def test_files_in_the_home_are_read_without_a_download(
    tmp_path: Path, written: dict[str, Any]
) -> None:
    home = tmp_path / "home"
    shutil.move(tmp_path / "cifar-10-batches-py", home / "data" / "cifar-10-batches-py")
    dataset = registry.load(DataConfig(name="cifar10"), home)
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert not list(home.rglob("*.lock"))


def test_the_hash_of_the_study_is_held_against_the_files(
    tmp_path: Path, written: dict[str, Any]
) -> None:
    config = registry.identified(DataConfig(name="cifar10", folder=str(tmp_path)), tmp_path)
    assert config.sha256 == load(tmp_path).sha256
    forget()
    assert registry.load(config, tmp_path).sha256 == config.sha256


@pytest.mark.parametrize(
    ("labels", "pattern"),
    [
        ([0, 1, 2, 10], "expected labels from 0 to 9 in its train split, got 10"),
        ([0, 1, 2], "expected a label for each of 20 images in its train split, got 19"),
    ],
)
def test_labels_that_are_not_those_of_the_images_are_refused(
    labels: list[int], pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path)
    content = {"labels": labels, "data": pixels(4, 3072)}
    (tmp_path / BATCH).write_bytes(python2_pickle(content))
    trust_cifar(monkeypatch, "CIFAR10", tmp_path)
    with refused(f"data cifar10: {pattern}"):
        load(tmp_path)
