"""Parquet files in the layout of Hugging Face's image data sets."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from featdyn_engine.data import registry
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, Task
from tests.data.conftest import forget
from tests.data.tiny import cell, pixels, png, refused, write_parquet

IMAGES = [pixels(6, 6, 3, seed=seed) for seed in range(5)]
CELLS = [cell(png(image)) for image in IMAGES]
TRAIN, TEST = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"


def load(folder: Path) -> Dataset:
    config = DataConfig(name="parquet", folder=str(folder))
    return registry.load(config, folder.parent / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three training images and two test images of two classes, without names."""
    write_parquet(tmp_path / "set" / TRAIN, CELLS[:3], [0, 1, 0])
    write_parquet(tmp_path / "set" / TEST, CELLS[3:], [1, 0])
    return tmp_path / "set"


def shown(dataset: Dataset) -> list[bytes]:
    images = [*dataset.train_images, *dataset.test_images]
    return [image.permute(1, 2, 0).contiguous().numpy().tobytes() for image in images]


def test_pixels_and_labels_are_those_of_the_rows(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.task == Task(channels=3, pixels=6, classes=2)
    assert shown(dataset) == [image.tobytes() for image in IMAGES]
    assert dataset.train_labels.tolist() == [0, 1, 0]
    assert dataset.test_labels.tolist() == [1, 0]
    assert dataset.class_names == ("0", "1")


@pytest.mark.parametrize("columns", [("image", "label"), ("img", "fine_label"), ("img", "labels")])
def test_other_names_of_the_columns_are_known(columns: tuple[str, str], folder: Path) -> None:
    expected = load(folder).sha256
    write_parquet(folder / TRAIN, CELLS[:3], [0, 1, 0], columns=columns)
    write_parquet(folder / TEST, CELLS[3:], [1, 0], columns=columns)
    forget()
    assert load(folder).sha256 == expected


def test_images_may_be_plain_binary(folder: Path) -> None:
    write_parquet(folder / TRAIN, [each["bytes"] for each in CELLS[:3]], [0, 1, 0])
    assert shown(load(folder)) == [image.tobytes() for image in IMAGES]


def test_class_names_are_those_of_the_schema(folder: Path) -> None:
    write_parquet(folder / TRAIN, CELLS[:3], [0, 1, 0], names=["cat", "dog", "emu"])
    dataset = load(folder)
    assert dataset.class_names == ("cat", "dog", "emu")
    assert dataset.task.classes == 3


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
        ("train/a.parquet", "valid/a.parquet"),
        ("train.parquet", "val.parquet"),
    ],
)
def test_other_places_of_the_splits_are_known(train: str, test: str, folder: Path) -> None:
    for old, new in ((TRAIN, train), (TEST, test)):
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)
    assert shown(load(folder)) == [image.tobytes() for image in IMAGES]


def test_shards_come_in_their_order(folder: Path) -> None:
    (folder / TRAIN).unlink()
    # Written in no order that a file system might give back.
    for k in (4, 0, 6, 2, 7, 1, 5, 3):
        write_parquet(folder / f"train-0000{k}-of-00008.parquet", [CELLS[k % 5]], [k])
    dataset = load(folder)
    assert shown(dataset)[:8] == [IMAGES[k % 5].tobytes() for k in range(8)]
    assert dataset.train_labels.tolist() == list(range(8))


def test_more_rows_than_are_read_at_once_keep_their_order(folder: Path) -> None:
    labels = [k * 7 % 10 for k in range(2300)]
    images = [cell(png(pixels(1, 1, seed=k))) for k in range(2300)]
    for split in (TRAIN, TEST):
        write_parquet(folder / split, images, labels)
    dataset = load(folder)
    assert dataset.train_labels.tolist() == labels
    expected = [int(pixels(1, 1, seed=k)[0, 0]) for k in range(2300)]
    assert dataset.train_images.flatten().tolist() == expected


def test_an_image_beside_the_parquet_is_read_and_not_kept(folder: Path) -> None:
    (folder / "one.png").write_bytes(png(IMAGES[0]))
    write_parquet(folder / TRAIN, [cell(None, "one.png"), *CELLS[1:3]], [0, 1, 0])
    assert shown(load(folder)) == [image.tobytes() for image in IMAGES]
    (folder / "one.png").write_bytes(png(IMAGES[4]))
    forget()
    assert shown(load(folder))[0] == IMAGES[4].tobytes()


def test_a_grey_split_beside_one_in_colour_has_three_channels(folder: Path) -> None:
    write_parquet(folder / TEST, [cell(png(pixels(6, 6)))] * 2, [1, 0])
    assert load(folder).test_images.shape == (2, 3, 6, 6)


def test_both_splits_are_decoded_once(folder: Path) -> None:
    first = load(folder)
    assert len(list((folder.parent / "home" / "data" / "decoded").iterdir())) == 1
    forget()
    assert load(folder).sha256 == first.sha256


# Refusals


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with refused(
        r"data parquet: expected a folder \(train-\*.parquet and test-\*.parquet\), got none; set "
        "data.folder"
    ):
        registry.load(DataConfig(name="parquet"), tmp_path)


@pytest.mark.parametrize(("file", "name"), [(TRAIN, "train"), (TEST, "test")])
def test_a_missing_split_is_refused(file: str, name: str, folder: Path) -> None:
    (folder / file).unlink()
    with refused(rf"data parquet: expected .* in {folder}, got no {name}-\*.parquet there"):
        load(folder)


def test_a_missing_shard_is_refused(folder: Path) -> None:
    (folder / TRAIN).rename(folder / "train-00000-of-00002.parquet")
    with refused(
        r"data parquet: expected 2 files like .*train-00000-of-00002.parquet, got none with the "
        "number 00001; get it too"
    ):
        load(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_file_that_was_cut_short_is_named(keep: int, folder: Path) -> None:
    content = (folder / TRAIN).read_bytes()
    (folder / TRAIN).write_bytes(content[:keep])
    with refused(
        f"data parquet: expected a whole Parquet file at {folder / TRAIN}, got .*; get it again"
    ):
        load(folder)


def test_damaged_pages_are_refused(folder: Path) -> None:
    content = bytearray((folder / TRAIN).read_bytes())
    content[4:200] = bytes(196)
    (folder / TRAIN).write_bytes(content)
    with refused(f"data parquet: expected a whole .* {folder / TRAIN}"):
        load(folder)


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        (("picture", "label"), "img or image in .*, got picture, label"),
        (("img", "target"), "label or fine_label or labels in .*, got img, target"),
    ],
)
def test_a_missing_column_is_refused(columns: tuple[str, str], wanted: str, folder: Path) -> None:
    write_parquet(folder / TRAIN, CELLS[:3], [0, 1, 0], columns=columns)
    with refused(f"data parquet: expected a column {wanted}"):
        load(folder)


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        ([0, None, 1], "got rows without one"),
        (["cat", "dog", "cat"], "got string"),
        ([0.0, 1.0, 0.0], "got double"),
    ],
)
def test_labels_that_are_no_whole_numbers_are_refused(
    labels: list[Any], got: str, folder: Path
) -> None:
    write_parquet(folder / TRAIN, CELLS[:3], labels)
    with refused(f"data parquet: expected whole numbers as labels in {folder / TRAIN}, {got}"):
        load(folder)


def test_labels_out_of_range_are_refused(folder: Path) -> None:
    write_parquet(folder / TEST, CELLS[3:], [-1, -1])  # how some say that labels are secret
    with refused("data parquet: expected labels from 0 to 1 in its test split, got -1"):
        load(folder)
    write_parquet(folder / TRAIN, CELLS[:3], [0, 1, 2], names=["cat", "dog"])
    with refused("data parquet: expected labels from 0 to 1 in its train split, got 2"):
        load(folder)


@pytest.mark.parametrize("label", [100_000, 2**63])
def test_identifiers_are_not_taken_for_classes(label: int, folder: Path) -> None:
    write_parquet(folder / TRAIN, CELLS[:3], np.array([0, 1, label], dtype=np.uint64))
    with refused(f"data parquet: expected labels below 100000 in {folder}, got {label}; number"):
        load(folder)


@pytest.mark.parametrize("empty", [TRAIN, TEST])
def test_a_split_without_rows_is_refused(empty: str, folder: Path) -> None:
    write_parquet(folder / empty, [], np.empty(0, dtype=np.int64))
    with refused(f"data parquet: expected images in {folder / empty}, got none"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (cell(None), "an image in row 1 of .*, got neither bytes nor path"),
        (None, "an image in row 1 of .*, got neither bytes nor path"),
        (cell(b"not an image"), "an image file in row 1 of .*, got something that is none"),
        (cell(png(IMAGES[0])[:60]), "a whole image file in row 1 of .*, got "),
        (cell(png(pixels(5, 5))), "6 x 6 as the first image in row 1 of .*, got 5 x 5"),
        (cell(None, "no.png"), r"a whole image .* in .*no.png \(named in row 1 .*, got no file "),
    ],
)
def test_a_row_without_its_image_is_named(content: Any, pattern: str, folder: Path) -> None:
    write_parquet(folder / TRAIN, [CELLS[0], content, CELLS[2]], [0, 1, 0])
    with refused(f"data parquet: expected {pattern}"):
        load(folder)


def test_images_in_another_shape_than_hugging_face_s_are_refused(folder: Path) -> None:
    pq.write_table(pa.table({"img": ["a", "b"], "label": [0, 1]}), folder / TRAIN)
    with refused(r"data parquet: expected images as struct<bytes, path> or binary in .*, got str"):
        load(folder)


# The real files


@pytest.mark.minutes
def test_the_copy_of_cifar10_is_whole(shared: Path, tmp_path: Path) -> None:
    if not (shared / "cifar10").is_dir():
        pytest.skip("no copy of CIFAR-10 among the real data")
    dataset = registry.load(DataConfig(name="parquet", folder=str(shared / "cifar10")), tmp_path)
    assert dataset.task == Task(channels=3, pixels=32, classes=10)
    assert torch.bincount(dataset.train_labels).tolist() == [5000] * 10
    assert torch.bincount(dataset.test_labels).tolist() == [1000] * 10
    assert dataset.class_names[:3] == ("airplane", "automobile", "bird")
    # Those of the originals, which JPEG hardly moves.
    mean, std = (each.flatten().tolist() for each in dataset.statistics)
    assert mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.003)
    assert std == pytest.approx([0.2470, 0.2435, 0.2616], abs=0.005)
