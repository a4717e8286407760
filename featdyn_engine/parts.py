"""Parquet parts: one file a finished unit of work; the store is an index over them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featdyn_engine.domain import Unit
from featdyn_engine.files import replacing

METADATA_KEY = b"featdyn"


def part_path(home: Path, kind: str, unit_id: str) -> Path:
    """Where the part of a unit lies under a home."""
    return home / "parts" / kind / f"{unit_id}.parquet"


def parts_of(home: Path, unit: Unit) -> list[Path]:
    """Where the parts of a unit lie: its own, and its companions'."""
    return [part_path(home, kind, unit.unit_id) for kind in (unit.kind, *unit.companions)]


def write_part(home: Path, kind: str, unit_id: str, table: pa.Table, about: dict[str, Any]) -> None:
    """Write a part atomically, ``about`` (how, when, by which versions) in its metadata.

    Every row carries its ``unit_id``, by which the store replaces a part as a whole.
    """
    table = table.add_column(0, "unit_id", pa.array([unit_id] * len(table), pa.string()))
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(about).encode()})
    with replacing(part_path(home, kind, unit_id)) as temporary:
        pq.write_table(table, temporary, compression="zstd")
