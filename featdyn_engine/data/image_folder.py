"""A folder of image files: ``train/<class>/*`` and ``test/<class>/*``.

The test split may also be called ``val``, ``valid`` or ``validation``. Classes are numbered in
the order of their folders' names. As in torchvision's ImageFolder, files may lie deeper inside a
class, and only those count whose names end as images' do. Hidden files and folders don't.
"""

from pathlib import Path

import torch

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.decoded import kept
from featdyn_engine.data.pictures import Decoder, alike
from featdyn_engine.data.problems import named
from featdyn_engine.domain import DataConfig, InputError

TEST_NAMES = ("test", "val", "valid", "validation")
ENDINGS = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png"),
    *(".ppm", ".tif", ".tiff", ".webp"),
)
LAYOUT = "train/<class>/ and test/<class>/ with image files"


def load(config: DataConfig, folder: Path) -> Dataset:
    """Read both splits of ``config.folder``; decoded images are kept in ``folder``.

    How images are decoded is said in ``pictures``. Raises InputError for a folder without this
    layout, splits that don't have the same classes, images that can't be read or differ in size.
    """
    if config.folder is None:
        raise InputError(f"data images: expected a folder ({LAYOUT}), got none; set data.folder")
    root = named(config.folder)
    train_folder, test_folder = _split_folder(root, ("train",)), _split_folder(root, TEST_NAMES)
    train, test = _files_by_class(train_folder), _files_by_class(test_folder)
    if train.keys() != test.keys():
        odd = sorted(train.keys() ^ test.keys())[0]
        raise InputError(
            f"data images: expected the same classes in {train_folder} and {test_folder}, got "
            f"{odd!r} in one of them only"
        )
    paths = [[path for each in split.values() for path in each] for split in (train, test)]

    def decode() -> tuple[Dataset, bool]:
        decoder = Decoder("images")
        images = [decoder.decode(((str(path), path) for path in each), len(each)) for each in paths]
        train_images, test_images = alike(*images)
        labels = [
            torch.tensor([k for k, each in enumerate(split.values()) for _ in each])
            for split in (train, test)
        ]
        return Dataset(tuple(train), train_images, labels[0], test_images, labels[1]), True

    return kept([path for each in paths for path in each], folder, decode)


def _split_folder(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise InputError(f"data images: expected {LAYOUT} in {root}, got no folder {names[0]} there")


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    """Image files of each class, both in the order of their names."""
    try:
        names = sorted(
            path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."
        )
        found = {name: _image_files(folder / name) for name in names}
    except OSError as problem:
        raise InputError(f"data images: expected to read {folder}, got {problem}") from problem
    if not found:
        raise InputError(f"data images: expected one folder a class in {folder}, got none")
    for name, paths in found.items():
        if not paths:
            raise InputError(
                f"data images: expected image files ({' '.join(ENDINGS)}) in {folder / name}, "
                "got none"
            )
    return found


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS
        and not any(part[0] == "." for part in path.relative_to(folder).parts)
        and path.is_file()
    )
