from pathlib import Path

import pytest

from featdyn_engine.data import registry
from featdyn_engine.domain import DataConfig, Task
from tests.data.tiny import refused, trust_cifar, write_cifar100


def test_fine_labels_and_pixels_are_those_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_cifar100(tmp_path)
    trust_cifar(monkeypatch, "CIFAR100", tmp_path)
    dataset = registry.load(DataConfig(name="cifar100", folder=str(tmp_path)), tmp_path)
    assert dataset.task == Task(channels=3, pixels=32, classes=100)
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert dataset.train_labels.tolist() == written["train"][1]
    assert (dataset.test_images.numpy() == written["test"][0]).all()
    assert dataset.test_labels.tolist() == written["test"][1]
    assert list(dataset.class_names) == written["names"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    with refused("data cifar100: expected .*train with the MD5 sum 16019d7e.*got"):
        registry.load(DataConfig(name="cifar100", folder=str(tmp_path)), tmp_path)
