"""A folder of image files, one folder a class."""

import shutil
from pathlib import Path

import pytest
import torch

from featdyn_engine.data import registry
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, Task
from tests.data.conftest import forget
from tests.data.tiny import pixels, png, refused

CAT, DOG, NEW = (pixels(6, 6, 3, seed=seed) for seed in range(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes; ``dog`` has files deeper inside, and things that aren't images."""
    root = tmp_path / "pets"
    for name, content in {
        "train/dog/2.PNG": png(DOG),
        "train/dog/deep/er/1.png": png(NEW),
        "train/dog/notes.txt": b"not an image",
        "train/dog/.hidden.png": b"not an image",
        "train/dog/.cache/1.png": b"not an image",
        "train/.cache/1.png": b"not an image",
        "train/readme.md": b"not an image",
        "train/cat/1.png": png(CAT),
        "test/cat/9.png": png(NEW),
        "test/dog/9.png": png(CAT),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def load(folder: Path) -> Dataset:
    return registry.load(DataConfig(name="images", folder=str(folder)), folder.parent / "home")


def test_classes_are_numbered_by_their_names_and_files_come_in_order(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.task == Task(channels=3, pixels=6, classes=2)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train_labels.tolist() == [0, 1, 1]
    for image, expected in zip(dataset.train_images, (CAT, DOG, NEW), strict=True):
        assert (image.permute(1, 2, 0).numpy() == expected).all()
    assert dataset.test_labels.tolist() == [0, 1]
    assert (dataset.test_images[1].permute(1, 2, 0).numpy() == CAT).all()


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_the_test_split_may_have_another_name(name: str, folder: Path) -> None:
    (folder / "test").rename(folder / name)
    assert load(folder).test_labels.tolist() == [0, 1]


def test_a_grey_split_beside_one_in_colour_has_three_channels(folder: Path) -> None:
    for path in (folder / "test").rglob("*.png"):
        path.write_bytes(png(pixels(6, 6)))
    dataset = load(folder)
    assert dataset.test_images.shape == (2, 3, 6, 6)
    assert torch.equal(dataset.test_images[:, 0], dataset.test_images[:, 2])


def test_images_are_decoded_once_and_anew_when_one_is_added(folder: Path) -> None:
    first = load(folder)
    assert len(list((folder.parent / "home" / "data" / "decoded").iterdir())) == 1
    forget()
    assert load(folder).sha256 == first.sha256
    (folder / "train" / "cat" / "2.png").write_bytes(png(DOG))
    forget()
    assert load(folder).train_labels.tolist() == [0, 0, 1, 1]


# Refusals


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with refused(
        r"data images: expected a folder \(train/<class>/ and test/<class>/ with image files\), "
        "got none; set data.folder"
    ):
        registry.load(DataConfig(name="images"), tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_refused(split: str, folder: Path) -> None:
    shutil.rmtree(folder / split)
    with refused(f"data images: expected .* in {folder}, got no folder {split} there"):
        load(folder)


def test_a_split_without_classes_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()
    with refused(f"data images: expected one folder a class in {folder / 'train'}, got none"):
        load(folder)


def test_a_class_without_images_is_refused(folder: Path) -> None:
    (folder / "train" / "emu").mkdir()
    with refused(
        rf"data images: expected image files \(\.bmp .*\) in {folder}/train/emu, got none"
    ):
        load(folder)


def test_a_class_of_one_split_alone_is_refused(folder: Path) -> None:
    (folder / "train" / "emu").mkdir()
    (folder / "train" / "emu" / "1.png").write_bytes(png(NEW))
    with refused(
        f"data images: expected the same classes in {folder / 'train'} and {folder / 'test'}, got "
        "'emu' in one of them only"
    ):
        load(folder)


def test_an_image_that_was_cut_short_is_named(folder: Path) -> None:
    path = folder / "test" / "dog" / "9.png"
    path.write_bytes(path.read_bytes()[:60])
    with refused(f"data images: expected a whole image file in {path}, got "):
        load(folder)


def test_an_image_of_another_size_is_named(folder: Path) -> None:
    path = folder / "test" / "dog" / "9.png"
    path.write_bytes(png(pixels(7, 7)))
    with refused(f"data images: expected 6 x 6 as the first image in {path}, got 7 x 7"):
        load(folder)


def test_a_file_that_is_no_image_is_named(folder: Path) -> None:
    path = folder / "train" / "cat" / "1.png"
    path.write_bytes(b"not an image")
    with refused(f"data images: expected an image file in {path}, got something that is none"):
        load(folder)
