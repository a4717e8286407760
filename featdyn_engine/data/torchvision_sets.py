"""The benchmark sets that torchvision.datasets reads and downloads.

CIFAR-10 and CIFAR-100 (Krizhevsky 2009), MNIST (LeCun et al. 1998), Fashion-MNIST (Xiao et al.
2017), KMNIST (Clanuwat et al. 2018), SVHN (Netzer et al. 2011), STL-10 (Coates et al. 2011).
"""

import hashlib
import socket
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import torch
from filelock import FileLock
from torch import Tensor

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.problems import named, reason
from featdyn_engine.domain import DataConfig, InputError
from featdyn_engine.vision import torchvision_datasets

# torchvision's are "0 - zero", and none for SVHN. STL-10's lie in a file that may be missing.
DIGITS = tuple("0123456789")
STL10_NAMES = (
    *("airplane", "bird", "car", "cat", "deer"),
    *("dog", "horse", "monkey", "ship", "truck"),
)
# Of silence on the line: longer than slow mirrors need, shorter than a user's patience.
SECONDS = 60.0


@dataclass(frozen=True)
class RawFile:
    """A file of a set, below torchvision's root; where it comes from; its MD5 sum, if known."""

    place: str
    address: str
    md5: str | None


@dataclass(frozen=True)
class TorchvisionSet:
    """How torchvision's class is asked for one split, and what its files are."""

    open: Callable[[Path, bool, bool], Any]
    raw_files: Callable[[], list[RawFile]]
    class_names: tuple[str, ...] | None = None


def _flagged(name: str, root: Path, train: bool, download: bool) -> Any:
    return getattr(torchvision_datasets(), name)(root, train=train, download=download)


def _cifar_files(name: str) -> list[RawFile]:
    kind = getattr(torchvision_datasets(), name)
    sums = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    return [RawFile(f"{kind.base_folder}/{file}", kind.url, md5) for file, md5 in sums]


def _mnist_files(name: str) -> list[RawFile]:
    kind = getattr(torchvision_datasets(), name)
    # The sums are those of the compressed files: none is known of what lies in the folder.
    return [
        RawFile(f"{name}/raw/{file.removesuffix('.gz')}", f"{kind.mirrors[0]}{file}", None)
        for file, _ in kind.resources
    ]


def _svhn(root: Path, train: bool, download: bool) -> Any:
    return torchvision_datasets().SVHN(root, split="train" if train else "test", download=download)


def _svhn_files() -> list[RawFile]:
    splits = torchvision_datasets().SVHN.split_list
    return [
        RawFile(file, address, md5)
        for address, file, md5 in (splits[split] for split in ("train", "test"))
    ]


def _stl10(root: Path, train: bool, download: bool) -> Any:
    # Without the 2.6 GB of unlabelled images, which torchvision wants there and hashes each time.
    whole = torchvision_datasets().STL10
    labelled = type("STL10", (whole,), {"train_list": whole.train_list[:2]})
    return labelled(root, split="train" if train else "test", download=download)


def _stl10_files() -> list[RawFile]:
    kind = torchvision_datasets().STL10
    sums = [*kind.train_list[:2], *kind.test_list]
    return [RawFile(f"{kind.base_folder}/{file}", kind.url, md5) for file, md5 in sums]


def _cifar(name: str) -> TorchvisionSet:
    return TorchvisionSet(partial(_flagged, name), partial(_cifar_files, name))


def _mnist(name: str, class_names: tuple[str, ...] | None = None) -> TorchvisionSet:
    return TorchvisionSet(partial(_flagged, name), partial(_mnist_files, name), class_names)


SETS = {
    "cifar10": _cifar("CIFAR10"),
    "cifar100": _cifar("CIFAR100"),
    "mnist": _mnist("MNIST", DIGITS),
    "fashion_mnist": _mnist("FashionMNIST"),
    "kmnist": _mnist("KMNIST"),
    "svhn": TorchvisionSet(_svhn, _svhn_files, DIGITS),
    "stl10": TorchvisionSet(_stl10, _stl10_files, STL10_NAMES),
}


def load(config: DataConfig, folder: Path) -> Dataset:
    """Read a set from ``config.folder``, else from ``folder``, downloaded there if need be.

    Files lie as below torchvision's ``root``. Raises InputError for files that are missing,
    damaged or not those of the set, and for a download that can't be made.
    """
    if config.folder is None:
        return _found_or_downloaded(config.name, folder)
    root = named(config.folder)
    try:
        return _read(config.name, root)
    except Exception as problem:  # whatever a damaged file makes pickle, scipy, ... raise
        expected, got, address = _fault(config.name, root) or _unexplained(problem, root)
        raise InputError(
            f"data {config.name}: expected {expected}, got {got}; put the files of {address} "
            f"into {root} as torchvision does, or leave data.folder out to download them"
        ) from problem


def _found_or_downloaded(name: str, root: Path) -> Dataset:
    try:
        return _read(name, root)
    except Exception as problem:  # as above
        fault = _fault(name, root)
        if fault is None:
            expected, got, _ = _unexplained(problem, root)
            raise InputError(f"data {name}: expected {expected}, got {got}") from problem
    expected, _, address = fault
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Two processes would write into one file.
        with FileLock(root / f"{name}.lock"):
            return _downloaded(name, root, address)
    except Exception as problem:  # of the network, the disk, an archive
        if isinstance(problem, HTTPError):
            problem.close()  # an answer is a connection too, open as long as anyone knows it
        raise InputError(
            f"data {name}: expected {expected}, or a download from {address}, got "
            f"{reason(problem)}; put the files into a folder, as torchvision does, and name it in "
            "data.folder"
        ) from problem


def _downloaded(name: str, root: Path, address: str) -> Dataset:
    if _fault(name, root) is not None:
        for file in SETS[name].raw_files():
            path = root / file.place
            # What a killed download left: torchvision only looks whether it is there.
            if file.md5 is None and path.is_file() and _cut_short(path):
                path.unlink()
        sys.stderr.write(f"data {name}: downloading {address} and others into {root}\n")
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SECONDS)
        try:
            return _read(name, root, download=True)
        finally:
            socket.setdefaulttimeout(before)
    return _read(name, root)


@contextmanager
def _known_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # CIFAR's pickles are older than NumPy's rule on how a flag is spelt in them.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        # The archives are those of the known sums: who unpacks them, and how, is torchvision's.
        warnings.filterwarnings("ignore", message="Python 3.14 will, by default, filter")
        yield


def _read(name: str, root: Path, download: bool = False) -> Dataset:
    with _known_warnings():
        train = SETS[name].open(root, True, download)
        test = SETS[name].open(root, False, download)
    return Dataset(SETS[name].class_names or tuple(train.classes), *_arrays(train), *_arrays(test))


def _arrays(split: Any) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, C, H, W) and labels int64 (N,) of any of torchvision's classes."""
    # Lists, arrays or tensors, as each class has them: torch takes all three.
    images = torch.as_tensor(split.data)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif images.shape[1] != 3:
        images = images.permute(0, 3, 1, 2)
    labels = split.targets if hasattr(split, "targets") else split.labels
    return images.contiguous(), torch.as_tensor(labels, dtype=torch.int64).reshape(-1)


def _fault(name: str, root: Path) -> tuple[str, str, str] | None:
    """Return the first file that isn't as it should be: what was expected, what came, whence."""
    for file in SETS[name].raw_files():
        path = root / file.place
        if not path.is_file():
            return str(path), "no such file", file.address
        if file.md5 is None:
            if short := _cut_short(path):
                return f"a whole {path}", short, file.address
        elif (found := _md5(path)) != file.md5:
            return f"{path} with the MD5 sum {file.md5}", f"{found} (damaged?)", file.address
    return None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        # No use for security is what lets it run where that is regulated, as in torchvision.
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _cut_short(path: Path) -> str | None:
    """Compare an idx file's length with its header's: what is wrong, None where nothing is."""
    with path.open("rb") as file:
        header = file.read(4)
        dimensions = header[3] if len(header) == 4 else 0
        sizes = file.read(4 * dimensions)
    found = path.stat().st_size
    if header[:3] == b"\0\0\x08" and len(sizes) == 4 * dimensions:
        pixels = prod(struct.unpack(f">{dimensions}I", sizes))
        if found == 4 + len(sizes) + pixels:
            return None
    return f"{found} bytes, which is not what its header says"


def _unexplained(problem: Exception, root: Path) -> tuple[str, str, str]:
    return f"files in {root} that torchvision reads", reason(problem), "the set"
