"""Parquet files in the layout of Hugging Face's image data sets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.decoded import decode, kept
from featdyn_engine.domain import DataConfig, InputError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")
SPLITS = {"train": ("train",), "test": ("test", "validation", "valid", "val")}


def load(config: DataConfig, folder: Path) -> Dataset:
    """Read ``train-*.parquet`` and ``test-*.parquet`` (or ``validation-*``) of ``config.folder``.

    They may lie in it, in its ``data/``, or as any ``*.parquet`` in ``train/`` and ``test/``.
    Images: a column ``img`` or ``image`` of encoded bytes, or a struct of ``bytes`` and ``path``.
    Labels: ``label``, ``fine_label`` or ``labels``, whole numbers from 0. Class names come from the
    files' ``huggingface`` metadata, if they have it. What was decoded is kept in ``folder``.
    Raises InputError for files, columns or images that are missing or damaged.
    """
    if config.folder is None:
        raise InputError("data.folder: expected the folder of the Parquet files, got none; add it")
    root = Path(config.folder)
    train, test = _files(root, "train"), _files(root, "test")

    def make() -> Dataset:
        train_images, train_labels, names = _split(root, train)
        test_images, test_labels, _ = _split(root, test)
        classes = int(torch.cat([train_labels, test_labels]).max()) + 1
        return Dataset(
            class_names=names or tuple(str(k) for k in range(classes)),
            train_images=train_images,
            train_labels=train_labels,
            test_images=test_images,
            test_labels=test_labels,
        )

    return kept(folder, [*train, *test], make)


def _files(root: Path, split: str) -> list[Path]:
    for name in SPLITS[split]:
        found = [
            *root.glob(f"{name}/*.parquet"),
            *root.glob(f"{name}[-_.]*parquet"),
            *root.glob(f"data/{name}[-_.]*parquet"),
        ]
        if found:
            return sorted(found)
    raise InputError(
        f"data parquet: expected {split}-*.parquet in {root}, found none; name the folder that "
        "holds them in data.folder"
    )


def _split(root: Path, files: list[Path]) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images uint8 (N, C, H, H), labels int64 (N,), class names (empty where there are none)."""
    named: list[tuple[str, bytes]] = []
    labels: list[int] = []
    names: tuple[str, ...] = ()
    for path in files:
        table = _table(path)
        image, label = _column(path, table, IMAGE_COLUMNS), _column(path, table, LABEL_COLUMNS)
        named += _contents(root, path, table[image].to_pylist())
        labels += _labels(path, table[label])
        names = names or _class_names(table.schema, label)
    if not labels:
        raise InputError(f"{files[0]}: expected images, got none")
    return decode(named), torch.tensor(labels, dtype=torch.int64), names


def _table(path: Path) -> pa.Table:
    try:
        known = {*IMAGE_COLUMNS, *LABEL_COLUMNS}
        columns = [name for name in pq.read_schema(path).names if name in known]
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as problem:
        reason = str(problem).splitlines()[0]
        raise InputError(
            f"{path}: expected a whole Parquet file, got: {reason}; get it again"
        ) from None


def _column(path: Path, table: pa.Table, candidates: tuple[str, ...]) -> str:
    for name in candidates:
        if name in table.column_names:
            return name
    raise InputError(f"{path}: expected a column {' or '.join(candidates)}, got neither")


def _contents(root: Path, path: Path, cells: list[Any]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every image: from the cell, or from the file that it names."""
    for row, cell in enumerate(cells):
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        name = f"{path}, row {row}"
        if content is None and isinstance(cell, dict) and cell.get("path"):
            try:
                content = (root / cell["path"]).read_bytes()
            except OSError as problem:
                raise InputError(
                    f"{name}: expected the image {cell['path']} in {root}, got: {problem.strerror}"
                ) from None
        if not isinstance(content, bytes):
            raise InputError(f"{name}: expected an encoded image, got {type(content).__name__}")
        yield name, content


def _labels(path: Path, column: pa.ChunkedArray) -> list[int]:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise InputError(
            f"{path}: expected whole numbers as labels, got {column.type} with "
            f"{column.null_count} missing"
        )
    values: list[int] = column.to_pylist()
    return values


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    try:
        about = json.loads(schema.metadata[b"huggingface"])
        return tuple(about["info"]["features"][label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
