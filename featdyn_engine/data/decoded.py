"""Decoded images, kept: decoding 60,000 JPEGs takes seconds, in every worker process anew."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

from featdyn_engine import files
from featdyn_engine.data import pictures
from featdyn_engine.data.dataset import Dataset

TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


def kept(
    sources: Sequence[Path], home: Path, decode: Callable[[], tuple[Dataset, bool]]
) -> Dataset:
    """Return the data set of ``decode``, from ``home``/decoded where an earlier call left it.

    The second value of ``decode`` says whether it may be kept: whether all that it read lies in
    ``sources``. It is decoded anew when one of these gets another path, size or date, with
    another Pillow, and when what was kept is damaged. Where ``home`` can't be written nothing
    is kept.
    """
    path = home / "decoded" / f"{_key(sources)}.safetensors"
    dataset = _read(path)
    if dataset is not None:
        return dataset
    dataset, may_be_kept = decode()
    if may_be_kept:
        tensors = {name: getattr(dataset, name) for name in TENSORS}
        names = json.dumps(dataset.class_names)
        # Read-only, or full: decoding again next time is only slower.
        with suppress(OSError, SafetensorError):
            files.write_tensors(path, tensors, {"class_names": names, "sha256": dataset.sha256})
    return dataset


def _key(sources: Sequence[Path]) -> str:
    digest = hashlib.sha256(pictures.VERSION.encode())
    for path in sources:
        found = path.stat()
        digest.update(repr((str(path.resolve()), found.st_size, found.st_mtime_ns)).encode())
    return digest.hexdigest()[:24]


def _read(path: Path) -> Dataset | None:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = tuple(json.loads(metadata["class_names"]))
            dataset = Dataset(names, **{name: file.get_tensor(name) for name in TENSORS})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    # The registry asks for this hash anyway, and it is computed once.
    return dataset if dataset.sha256 == metadata.get("sha256") else None
