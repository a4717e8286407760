import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featdyn_engine.parts import METADATA_KEY, part_path, write_part
from store import results

TABLE = pa.table(
    {"step": pa.array([0, 4], pa.int32()), "retention": pa.array([None, 0.5], pa.float64())}
)


def test_a_part_lies_under_its_kind(tmp_path: Path) -> None:
    write_part(tmp_path, "splices", "abc", TABLE, {})
    assert part_path(tmp_path, "splices", "abc") == tmp_path / "parts/splices/abc.parquet"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [
        tmp_path / "parts/splices/abc.parquet"
    ]


def test_rows_come_back_with_their_types_and_their_unit(tmp_path: Path) -> None:
    write_part(tmp_path, "splices", "abc", TABLE, {})
    back = pq.read_table(part_path(tmp_path, "splices", "abc"))
    assert back["unit_id"].to_pylist() == ["abc", "abc"]
    assert back.drop_columns("unit_id").equals(TABLE)


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    write_part(tmp_path, "splices", "abc", TABLE.slice(0, 0), {})
    back = pq.read_table(part_path(tmp_path, "splices", "abc"))
    assert back.column_names == ["unit_id", "step", "retention"]
    assert len(back) == 0


def test_how_and_when_is_in_the_metadata(tmp_path: Path) -> None:
    about = {"seconds": 1.5, "versions": {"torch": "2"}}
    write_part(tmp_path, "splices", "abc", TABLE, about)
    metadata = pq.read_schema(part_path(tmp_path, "splices", "abc")).metadata
    assert json.loads(metadata[METADATA_KEY]) == about


def test_engine_and_store_agree_on_the_metadata_key() -> None:
    assert METADATA_KEY == results.METADATA_KEY


def test_a_part_written_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    write_part(tmp_path, "splices", "abc", TABLE, {})
    write_part(tmp_path, "splices", "abc", TABLE.slice(0, 1), {})
    assert len(pq.read_table(part_path(tmp_path, "splices", "abc"))) == 1


def test_a_failed_write_keeps_the_old_part_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_part(tmp_path, "splices", "abc", TABLE, {})

    def fail(table: pa.Table, where: Path, **options: object) -> None:
        where.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="no space left"):
        write_part(tmp_path, "splices", "abc", TABLE.slice(0, 1), {})
    assert len(pq.read_table(part_path(tmp_path, "splices", "abc"))) == 2
    assert len(list((tmp_path / "parts/splices").iterdir())) == 1
