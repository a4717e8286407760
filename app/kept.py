"""What values are kept by, and what they take: for caches that are bounded in bytes."""

import hashlib
from collections.abc import Hashable, Mapping, Set
from functools import partial

import polars as pl
import pyarrow as pa


def bytes_of(frame: pl.DataFrame) -> int:
    """Bytes that a frame takes in memory, about: its rows, and what each column is beside them."""
    return int(frame.estimated_size()) + 4096 + 512 * frame.width


def content(value: object) -> Hashable:
    """Return what tells values apart: of a frame a digest of every row; 1 is not True.

    Raises TypeError for what may change, or is the same only by its place in memory.
    """
    if isinstance(value, pl.DataFrame):
        table = value.to_arrow().combine_chunks()
        written = pa.BufferOutputStream()
        with pa.ipc.new_stream(written, table.schema) as stream:
            stream.write_table(table)
        return hashlib.blake2b(written.getvalue()).digest()
    if isinstance(value, partial):
        return value.func, content(value.args), content(value.keywords)
    if isinstance(value, Mapping):
        return dict, tuple((content(key), content(each)) for key, each in value.items())
    if isinstance(value, Set):
        return set, frozenset(content(each) for each in value)
    if isinstance(value, list | tuple):
        return type(value), tuple(content(each) for each in value)
    by_place = type(value).__hash__ is object.__hash__ and value is not None and not callable(value)
    if by_place or not isinstance(value, Hashable):
        raise TypeError(f"kept: expected values that can be told apart, got {type(value).__name__}")
    return type(value), value
