from pathlib import Path

import pytest

from featdyn_engine.data import registry
from featdyn_engine.domain import DataConfig, Task
from featdyn_engine.vision import torchvision_datasets
from tests.data.tiny import md5, refused, write_stl10


def test_pixels_and_labels_are_those_of_the_binary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_stl10(tmp_path, monkeypatch)
    dataset = registry.load(DataConfig(name="stl10", folder=str(tmp_path)), tmp_path)
    assert dataset.task == Task(channels=3, pixels=96, classes=10)
    # In the files an image is written column by column.
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert dataset.train_labels.tolist() == list(range(10))
    assert (dataset.test_images.numpy() == written["test"][0]).all()
    assert dataset.test_labels.tolist() == [0, 1, 2]
    assert dataset.class_names[:3] == ("airplane", "bird", "car")


def test_unlabelled_images_are_not_needed_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stl10(tmp_path, monkeypatch)
    (tmp_path / "stl10_binary" / "unlabeled_X.bin").write_bytes(b"not the real one")
    dataset = registry.load(DataConfig(name="stl10", folder=str(tmp_path)), tmp_path)
    assert len(dataset.train_labels) == 10


def test_a_file_that_was_cut_short_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stl10(tmp_path, monkeypatch)
    path = tmp_path / "stl10_binary" / "test_X.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with refused(f"data stl10: expected {path} with the MD5 sum .*; put the files of http"):
        registry.load(DataConfig(name="stl10", folder=str(tmp_path)), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stl10(tmp_path, monkeypatch)
    path = tmp_path / "stl10_binary" / "train_y.bin"
    path.unlink()
    with refused(f"data stl10: expected {path}, got no such file; put the files of http"):
        registry.load(DataConfig(name="stl10", folder=str(tmp_path)), tmp_path)


def test_labels_out_of_range_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stl10(tmp_path, monkeypatch)
    path = tmp_path / "stl10_binary" / "test_y.bin"
    path.write_bytes(bytes([1, 11, 3]))
    kind = torchvision_datasets().STL10
    monkeypatch.setattr(kind, "test_list", [kind.test_list[0], ["test_y.bin", md5(path)]])
    with refused("data stl10: expected labels from 0 to 9 in its test split, got 10"):
        registry.load(DataConfig(name="stl10", folder=str(tmp_path)), tmp_path)
