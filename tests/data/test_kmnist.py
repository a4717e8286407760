from pathlib import Path

from featdyn_engine.data import registry
from featdyn_engine.domain import DataConfig, Task
from tests.data.tiny import refused, write_mnist


def test_pixels_and_labels_are_those_of_the_idx_files(tmp_path: Path) -> None:
    written = write_mnist(tmp_path, "KMNIST")
    dataset = registry.load(DataConfig(name="kmnist", folder=str(tmp_path)), tmp_path)
    assert dataset.task == Task(channels=1, pixels=28, classes=10)
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert dataset.train_labels.tolist() == written["train"][1]
    assert (dataset.test_images.numpy() == written["test"][0]).all()
    assert dataset.test_labels.tolist() == written["test"][1]
    assert "tsu" in dataset.class_names


def test_the_files_of_mnist_are_not_taken_for_it(tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    with refused("data kmnist: expected .*KMNIST/raw/train-images-idx3-ubyte, got no such file"):
        registry.load(DataConfig(name="kmnist", folder=str(tmp_path)), tmp_path)
