"""Tiny data sets in the raw formats of the real ones, written byte by byte where that is short."""

import gzip
import hashlib
import io
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from featdyn_engine.domain import InputError
from featdyn_engine.vision import torchvision_datasets

Pixels = NDArray[np.uint8]


@contextmanager
def refused(pattern: str) -> Iterator[None]:
    """What the block does is refused with one line that matches."""
    with pytest.raises(InputError, match=pattern) as caught:
        yield
    assert "\n" not in str(caught.value)


def pixels(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def python2_pickle(value: Any) -> bytes:
    """Pickle as Python 2 and the NumPy of 2009 did for CIFAR: protocol 2, bytes as text."""

    def written(value: Any) -> bytes:
        match value:
            case None:
                return b"N"
            case bytes():
                return b"T" + struct.pack("<i", len(value)) + value
            case str():
                return written(value.encode())
            case int():
                return b"J" + struct.pack("<i", value)
            case list():
                return b"](" + b"".join(map(written, value)) + b"e"
            case tuple():
                return b"(" + b"".join(map(written, value)) + b"t"
            case dict():
                items = (written(each) for pair in value.items() for each in pair)
                return b"}(" + b"".join(items) + b"u"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + written((0,))
        kind = b"cnumpy\ndtype\n" + written(("u1", 0, 1)) + b"R"
        kind += written((3, "|", None, None, None, -1, -1, 0)) + b"b"
        state = written(1) + written(value.shape) + kind + b"\x89" + written(value.tobytes())
        return empty + written("b") + b"tR(" + state + b"tb"

    return b"\x80\x02" + written(value) + b"."


def write_cifar10(root: Path, per_batch: int = 4) -> dict[str, Any]:
    """Write five batches and a test batch; return (N, 3, 32, 32) pixels and labels of both."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images = pixels(6 * per_batch, 3, 32, 32)
    labels = [int(k) for k in np.arange(6 * per_batch) * 7 % 10]
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    for k, name in enumerate(names):
        rows = slice(k * per_batch, (k + 1) * per_batch)
        content = {
            "batch_label": name,
            "labels": labels[rows],
            "data": images[rows].reshape(per_batch, 3072),
            "filenames": [f"{i}.png" for i in range(per_batch)],
        }
        (folder / name).write_bytes(python2_pickle(content))
    classes = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    meta = {"num_cases_per_batch": per_batch, "label_names": classes, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    n = 5 * per_batch
    return {"train": (images[:n], labels[:n]), "test": (images[n:], labels[n:]), "names": classes}


def write_cifar100(root: Path) -> dict[str, Any]:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    splits: dict[str, Any] = {}
    for seed, (name, n) in enumerate((("train", 6), ("test", 3))):
        images, fine = pixels(n, 3, 32, 32, seed=seed), [99 - 7 * k for k in range(n)]
        content = {
            "filenames": [f"{i}.png" for i in range(n)],
            "fine_labels": fine,
            "coarse_labels": [k % 20 for k in range(n)],
            "data": images.reshape(n, 3072),
        }
        (folder / name).write_bytes(python2_pickle(content))
        splits[name] = (images, fine)
    splits["names"] = [f"fine {k}" for k in range(100)]
    meta = {"fine_label_names": splits["names"], "coarse_label_names": ["coarse"] * 20}
    (folder / "meta").write_bytes(python2_pickle(meta))
    return splits


def trust_cifar(monkeypatch: pytest.MonkeyPatch, name: str, root: Path) -> None:
    """Let torchvision take the tiny files for the real ones: their sums instead of the real."""
    kind = getattr(torchvision_datasets(), name)
    folder = root / kind.base_folder
    for attribute in ("train_list", "test_list"):
        files = [[file, md5(folder / file)] for file, _ in getattr(kind, attribute)]
        monkeypatch.setattr(kind, attribute, files)
    meta = kind.meta | {"md5": md5(folder / kind.meta["filename"])}
    monkeypatch.setattr(kind, "meta", meta)


def idx(array: Pixels) -> bytes:
    """LeCun's format: two zeros, type 8 (unsigned bytes), the number of dimensions, their sizes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(root: Path, name: str = "MNIST", compressed: bool = False) -> dict[str, Any]:
    folder = root / name / "raw" if not compressed else root
    folder.mkdir(parents=True, exist_ok=True)
    splits: dict[str, Any] = {}
    for seed, (split, prefix, n) in enumerate((("train", "train", 12), ("test", "t10k", 5))):
        images, labels = pixels(n, 28, 28, seed=seed), np.arange(n, dtype=np.uint8) * 3 % 10
        for kind, content in (("images-idx3", idx(images)), ("labels-idx1", idx(labels))):
            file = folder / f"{prefix}-{kind}-ubyte{'.gz' if compressed else ''}"
            file.write_bytes(gzip.compress(content) if compressed else content)
        splits[split] = (images[:, None], labels.tolist())
    return splits


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """MATLAB files: images (32, 32, 3, N), labels 1 to 10 of shape (N, 1), where 10 is a zero."""
    splits: dict[str, Any] = {}
    sums = dict(torchvision_datasets().SVHN.split_list)
    for seed, (split, n) in enumerate((("train", 10), ("test", 4))):
        images, labels = pixels(n, 3, 32, 32, seed=seed), np.arange(1, n + 1, dtype=np.uint8)
        path = root / f"{split}_32x32.mat"
        savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None]})
        splits[split] = (images, (labels % 10).tolist())
        sums[split] = [*sums[split][:2], md5(path)]
    monkeypatch.setattr(torchvision_datasets().SVHN, "split_list", sums)
    return splits


def write_stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Raw bytes: images column by column, labels 1 to 10."""
    kind = torchvision_datasets().STL10
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    splits: dict[str, Any] = {}
    for seed, (split, n) in enumerate((("train", 10), ("test", 3))):
        images, labels = pixels(n, 3, 96, 96, seed=seed), np.arange(1, n + 1, dtype=np.uint8)
        (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{split}_y.bin").write_bytes(labels.tobytes())
        splits[split] = (images, (labels - 1).tolist())
    sums = [[name, md5(folder / name)] for name in ("train_X.bin", "train_y.bin")]
    monkeypatch.setattr(kind, "train_list", [*sums, kind.train_list[2]])
    sums = [[name, md5(folder / name)] for name in ("test_X.bin", "test_y.bin")]
    monkeypatch.setattr(kind, "test_list", sums)
    return splits


def png(levels: NDArray[Any], mode: str | None = None) -> bytes:
    """An image file without loss: (H, W) or (H, W, 3 or 4) uint8, or (H, W) uint16."""
    content = io.BytesIO()
    image = Image.fromarray(levels)
    (image.convert(mode) if mode else image).save(content, "png")
    return content.getvalue()


def write_parquet(
    path: Path,
    images: list[Any],
    labels: list[Any] | NDArray[Any],
    *,
    columns: tuple[str, str] = ("img", "label"),
    names: list[str] | None = None,
) -> None:
    """Write rows as Hugging Face's ``datasets`` does; an image is bytes, or a dict of a cell."""
    cells: Any = images
    if not (images and isinstance(images[0], bytes)):
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = pa.array(images, kind)
    table = pa.table({columns[0]: cells, columns[1]: pa.array(labels)})
    if names is not None:
        label = {"names": names, "_type": "ClassLabel"}
        features = {columns[0]: {"_type": "Image"}, columns[1]: label}
        about = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": about})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def cell(content: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": content, "path": path}
