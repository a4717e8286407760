from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from featdyn_engine.data import registry
from featdyn_engine.domain import DataConfig, Task
from featdyn_engine.vision import torchvision_datasets
from tests.data.tiny import md5, pixels, refused, write_svhn


def test_pixels_and_labels_are_those_of_the_matlab_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_svhn(tmp_path, monkeypatch)
    dataset = registry.load(DataConfig(name="svhn", folder=str(tmp_path)), tmp_path)
    assert dataset.task == Task(channels=3, pixels=32, classes=10)
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    # MATLAB counts from 1: the digit 0 is its class 10.
    assert dataset.train_labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert (dataset.test_images.numpy() == written["test"][0]).all()
    assert dataset.test_labels.tolist() == [1, 2, 3, 4]
    assert dataset.class_names == tuple("0123456789")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        write_svhn(tmp_path, patched)
    with refused("data svhn: expected .*train_32x32.mat with the MD5 sum e26dedcc.*, got"):
        registry.load(DataConfig(name="svhn", folder=str(tmp_path)), tmp_path)


def test_a_file_that_scipy_cannot_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_svhn(tmp_path, monkeypatch)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:-5000])
    sums = torchvision_datasets().SVHN.split_list
    sums["train"] = [*sums["train"][:2], md5(path)]
    with refused(f"data svhn: expected files in {tmp_path} that torchvision reads, got "):
        registry.load(DataConfig(name="svhn", folder=str(tmp_path)), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(tmp_path, monkeypatch)
    (tmp_path / "test_32x32.mat").unlink()
    with refused(f"data svhn: expected {tmp_path / 'test_32x32.mat'}, got no such file; put the"):
        registry.load(DataConfig(name="svhn", folder=str(tmp_path)), tmp_path)


def test_labels_out_of_range_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(tmp_path, monkeypatch)
    path = tmp_path / "train_32x32.mat"
    labels = np.array([[1], [11]], dtype=np.uint8)
    savemat(path, {"X": pixels(32, 32, 3, 2), "y": labels})
    sums = torchvision_datasets().SVHN.split_list
    sums["train"] = [*sums["train"][:2], md5(path)]
    with refused("data svhn: expected labels from 0 to 9 in its train split, got 11"):
        registry.load(DataConfig(name="svhn", folder=str(tmp_path)), tmp_path)
