import os
from pathlib import Path

import pytest
import torch

from featdyn_engine.data import pictures
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.decoded import kept
from tests.data.tiny import pixels


class Source:
    """A file, and a decoder that counts how often it is asked."""

    def __init__(self, path: Path, may_be_kept: bool = True) -> None:
        self.path, self.may_be_kept = path, may_be_kept
        path.write_bytes(b"content")
        self.asked = 0

    def load(self, home: Path) -> Dataset:
        return kept([self.path], home, self.decode)

    def decode(self) -> tuple[Dataset, bool]:
        self.asked += 1
        images = torch.from_numpy(pixels(3, 1, 4, 4, seed=self.asked))
        labels, test = torch.arange(3), (images.clone(), torch.arange(3))
        return Dataset(("a", "é, b", "c"), images, labels, *test), self.may_be_kept


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "images")


def test_what_was_decoded_is_read_the_second_time(source: Source, tmp_path: Path) -> None:
    first, second = source.load(tmp_path / "home"), source.load(tmp_path / "home")
    assert source.asked == 1
    assert second.sha256 == first.sha256
    assert second.class_names == first.class_names
    assert torch.equal(second.train_images, first.train_images)


@pytest.mark.parametrize("change", ["size", "date", "path"])
def test_a_changed_file_is_decoded_anew(change: str, source: Source, tmp_path: Path) -> None:
    source.load(tmp_path)
    if change == "size":
        date = source.path.stat().st_mtime_ns
        source.path.write_bytes(b"another content")
        os.utime(source.path, ns=(date, date))
    elif change == "date":
        os.utime(source.path, ns=(0, source.path.stat().st_mtime_ns + 1))
    else:
        source.path = source.path.rename(tmp_path / "elsewhere")
    source.load(tmp_path)
    assert source.asked == 2


def test_another_decoder_decodes_anew(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.load(tmp_path)
    monkeypatch.setattr(pictures, "VERSION", "2, pillow 99")
    source.load(tmp_path)
    assert source.asked == 2


@pytest.mark.parametrize("damage", ["cut", "altered", "empty"])
def test_what_was_kept_and_damaged_is_decoded_anew(
    damage: str, source: Source, tmp_path: Path
) -> None:
    source.load(tmp_path)
    (path,) = (tmp_path / "decoded").iterdir()
    content = path.read_bytes()
    last = bytes([content[-1] ^ 1])
    path.write_bytes({"cut": content[:-1], "altered": content[:-1] + last, "empty": b""}[damage])
    source.load(tmp_path)
    assert source.asked == 2
    # And mended: the third time it is read.
    source.load(tmp_path)
    assert source.asked == 2


def test_what_may_not_be_kept_is_not(tmp_path: Path) -> None:
    source = Source(tmp_path / "images", may_be_kept=False)
    source.load(tmp_path / "home")
    source.load(tmp_path / "home")
    assert source.asked == 2
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_only_costs_time(source: Source, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    assert source.load(tmp_path / "home").task.classes == 3
    assert source.load(tmp_path / "home").task.classes == 3
    assert source.asked == 2
