import struct
from pathlib import Path

import pytest
import torch

from featdyn_engine.data import registry
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, Task
from tests.data.tiny import idx, pixels, refused, write_mnist

IMAGES = Path("MNIST") / "raw" / "train-images-idx3-ubyte"
LABELS = Path("MNIST") / "raw" / "train-labels-idx1-ubyte"


def load(folder: Path) -> Dataset:
    return registry.load(DataConfig(name="mnist", folder=str(folder)), folder / "home")


def test_pixels_and_labels_are_those_of_the_idx_files(tmp_path: Path) -> None:
    written = write_mnist(tmp_path)
    dataset = load(tmp_path)
    assert dataset.task == Task(channels=1, pixels=28, classes=10)
    assert (dataset.train_images.numpy() == written["train"][0]).all()
    assert dataset.train_labels.tolist() == written["train"][1]
    assert (dataset.test_images.numpy() == written["test"][0]).all()
    assert dataset.test_labels.tolist() == written["test"][1]
    assert dataset.class_names == tuple("0123456789")


@pytest.mark.parametrize("length", [0, 3, 10, 1000])
@pytest.mark.parametrize("file", [IMAGES, LABELS])
def test_a_file_that_was_cut_short_is_named(file: Path, length: int, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / file
    content = path.read_bytes()[:length]
    path.write_bytes(content if length < len(path.read_bytes()) else path.read_bytes()[:-1])
    with refused(rf"data mnist: expected a whole {path}, got \d+ bytes, which is not what its"):
        load(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / LABELS).unlink()
    with refused(rf"data mnist: expected {tmp_path / LABELS}, got no such file; .*\.gz into"):
        load(tmp_path)


def test_other_numbers_than_bytes_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / IMAGES).write_bytes(struct.pack(">HBB3I", 0, 9, 3, 1, 28, 28) + bytes(784))
    with refused(rf"data mnist: expected a whole {tmp_path / IMAGES}, got 800 bytes"):
        load(tmp_path)


def test_a_label_for_each_image_is_expected(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / LABELS).write_bytes(idx(pixels(11) % 10))
    with refused("data mnist: expected a label for each of 12 images in its train split, got 11"):
        load(tmp_path)


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / LABELS).write_bytes(idx(pixels(12) % 10 + 10))
    with refused("data mnist: expected labels from 0 to 9 in its train split, got 1[0-9]"):
        load(tmp_path)


def test_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / IMAGES).write_bytes(idx(pixels(12, 28, 27)))
    with refused("data mnist: expected square images of at most 96 pixels.*got 28 x 27"):
        load(tmp_path)


def test_the_real_files_have_the_known_counts_and_statistics(shared: Path, tmp_path: Path) -> None:
    if not (shared / "MNIST").is_dir():
        pytest.skip("no MNIST among the real data")
    dataset = registry.load(DataConfig(name="mnist", folder=str(shared)), tmp_path)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(dataset.train_labels).tolist() == counts
    assert torch.bincount(dataset.test_labels).tolist()[:4] == [980, 1135, 1032, 1010]
    mean, std = (float(each) for each in dataset.statistics)
    assert mean == pytest.approx(0.1307, abs=5e-5)
    assert std == pytest.approx(0.3081, abs=5e-5)
