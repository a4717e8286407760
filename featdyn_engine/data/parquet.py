"""Parquet files in the layout of Hugging Face's image data sets.

``train-*.parquet`` and ``test-*.parquet`` (``validation-*``, ``valid-*`` or ``val-*`` where there
is no test), in the folder, in its ``data/``, or any in ``train/`` and ``test/``. An image column
``img`` or ``image``, ``struct<bytes, path>`` or plain binary; a label column ``label``,
``fine_label`` or ``labels``. Class names come from the schema's ``huggingface`` metadata; where it
has none, classes are called by their numbers.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.decoded import kept
from featdyn_engine.data.pictures import Decoder, Picture, alike
from featdyn_engine.data.problems import named, reason
from featdyn_engine.domain import DataConfig, InputError

TEST_NAMES = ("test", "validation", "valid", "val")
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")
LAYOUT = "train-*.parquet and test-*.parquet"
ROWS_AT_ONCE = 1000
# Where no class names say how many there are, the largest label does: these would be identifiers.
MOST_CLASSES = 100_000
SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


def load(config: DataConfig, folder: Path) -> Dataset:
    """Read both splits of ``config.folder``; decoded images are kept in ``folder``.

    How images are decoded is said in ``pictures``. Raises InputError for files that are missing,
    can't be read or lack a column, and for images that can't be read or differ in size.
    """
    if config.folder is None:
        raise InputError(f"data parquet: expected a folder ({LAYOUT}), got none; set data.folder")
    root = named(config.folder)
    train, test = _files(root, ("train",)), _files(root, TEST_NAMES)

    def decode() -> tuple[Dataset, bool]:
        source = _Source(root)
        train_labels, test_labels = _labels(train), _labels(test)
        train_images, test_images = alike(
            source.decoder.decode(source.pictures(train), len(train_labels)),
            source.decoder.decode(source.pictures(test), len(test_labels)),
        )
        classes = 1 + max(0, int(train_labels.max()), int(test_labels.max()))
        names = _class_names(train[0]) or tuple(str(k) for k in range(classes))
        dataset = Dataset(names, train_images, train_labels, test_images, test_labels)
        return dataset, not source.read_others

    return kept([*train, *test], folder, decode)


class _Source:
    """Reads pictures, and remembers whether any lay in a file of its own beside the Parquet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.decoder = Decoder("parquet")
        self.read_others = False

    def pictures(self, paths: list[Path]) -> Iterator[Picture]:
        for path in paths:
            row = 0
            for values in _values(path, IMAGE_COLUMNS):
                for content, place in _contents(path, values):
                    name = f"row {row} of {path}"
                    if content is None and place is None:
                        raise InputError(
                            f"data parquet: expected an image in {name}, got neither bytes nor path"
                        )
                    if content is None:
                        self.read_others = True
                        yield f"{self.root / place} (named in {name})", self.root / place
                    else:
                        yield name, content
                    row += 1


def _contents(path: Path, values: Any) -> Iterator[tuple[Any, Any]]:
    """Yield bytes and path of each image, None for what it lacks."""
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        yield from ((content, None) for content in values.to_pylist())
    elif pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        cells = (cell or {} for cell in values.to_pylist())
        yield from ((cell.get("bytes"), cell.get("path")) for cell in cells)
    else:
        raise InputError(
            f"data parquet: expected images as struct<bytes, path> or binary in {path}, got {kind}"
        )


def _files(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the files of the first of these splits that has any: all its shards, in order."""
    for name in names:
        for pattern in (f"{name}[-_.]*parquet", f"data/{name}[-_.]*parquet", f"{name}/*.parquet"):
            found = sorted(root.glob(pattern))
            if found:
                _check_shards(found)
                return found
    raise InputError(
        f"data parquet: expected {LAYOUT} in {root}, got no {names[0]}-*.parquet there"
    )


def _check_shards(found: list[Path]) -> None:
    numbered = [match for path in found if (match := SHARD.search(path.name))]
    total = max((int(match[2]) for match in numbered), default=0)
    lacking = set(range(total)) - {int(match[1]) for match in numbered}
    if lacking:
        raise InputError(
            f"data parquet: expected {total} files like {found[0]}, got none with the number "
            f"{min(lacking):05d}; get it too"
        )


def _unreadable(path: Path, problem: Exception) -> InputError:
    return InputError(
        f"data parquet: expected a whole Parquet file at {path}, got {reason(problem)}; get it "
        "again"
    )


def _column(path: Path, wanted: tuple[str, ...]) -> tuple[str, Any]:
    """Name of the first of these columns that the file has, and the file's schema."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as problem:
        raise _unreadable(path, problem) from problem
    for name in wanted:
        if name in schema.names:
            return name, schema
    raise InputError(
        f"data parquet: expected a column {' or '.join(wanted)} in {path}, got "
        f"{', '.join(schema.names) or 'none'}"
    )


def _values(path: Path, wanted: tuple[str, ...]) -> Iterator[Any]:
    """Yield the column a thousand rows at a time: all at once would double the peak of memory."""
    column, _ = _column(path, wanted)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=[column]):
                yield batch.column(column)
    except (pa.ArrowException, OSError) as problem:
        raise _unreadable(path, problem) from problem


def _labels(paths: list[Path]) -> Tensor:
    labels: list[int] = []
    for path in paths:
        for values in _values(path, LABEL_COLUMNS):
            if not pa.types.is_integer(values.type) or values.null_count:
                got = "rows without one" if values.null_count else str(values.type)
                raise InputError(
                    f"data parquet: expected whole numbers as labels in {path}, got {got}"
                )
            labels += values.to_pylist()
    if not labels:
        raise InputError(f"data parquet: expected images in {paths[0]}, got none")
    if max(labels) >= MOST_CLASSES:
        raise InputError(
            f"data parquet: expected labels below {MOST_CLASSES} in {paths[0].parent}, got "
            f"{max(labels)}; number the classes from 0"
        )
    return torch.tensor(labels, dtype=torch.int64)


def _class_names(path: Path) -> tuple[str, ...]:
    column, schema = _column(path, LABEL_COLUMNS)
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
