"""A folder of parts alone answers as the store made of them does."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from app import cached
from store import lake
from store.connection import StoreMissingError, reading
from store.home import StoreError
from store.lake import is_lake, reading_lake
from store.results import rebuild
from tests.store.rows import listing, rows, rows_of


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    lake._open.clear()
    yield
    lake._open.clear()


@pytest.fixture
def own_home(cube_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cube_home, tmp_path / "home"))


@pytest.mark.parametrize("most_read", [lake.MOST_BYTES_READ, 0], ids=["read", "in place"])
def test_a_folder_of_parts_has_the_rows_of_its_store(
    most_read: int, cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "MOST_BYTES_READ", most_read)
    before = listing(cube_home)
    with reading_lake(f"{cube_home}/parts/") as connection:
        assert rows_of(connection, but_times=False) == rows(cube_home, but_times=False)
    assert listing(cube_home) == before


def test_a_bucket_has_them_too(cube_home: Path) -> None:
    files, name = fsspec.filesystem("memory"), uuid.uuid4().hex
    files.put(str(cube_home / "parts"), f"/{name}/parts", recursive=True)
    files.put(str(cube_home / "runs"), f"/{name}/runs", recursive=True)
    try:
        with reading_lake(f"memory://{name}/parts") as connection:
            assert rows_of(connection, but_times=False) == rows(cube_home, but_times=False)
    finally:
        files.rm(f"/{name}", recursive=True)


def test_an_older_part_gets_the_default_of_a_column_that_it_lacks(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(lake, "MOST_BYTES_READ", 0)
    for part in (own_home / "parts" / "splices").iterdir():
        table = pq.read_table(part)
        pq.write_table(table.drop_columns(["target_half_width", "dtype_agreement"]), part)
    rebuild(own_home)
    with reading_lake(f"{own_home}/parts") as connection:
        assert rows_of(connection)["splices"] == rows(own_home)["splices"]


def test_an_older_part_of_double_precision_is_read_in_the_type_of_today(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(lake, "MOST_BYTES_READ", 0)
    for part in (own_home / "parts" / "noise").iterdir():
        table = pq.read_table(part)
        at = table.column_names.index("eigenvalue")
        doubles = pa.array([1 / (3 + row) for row in range(len(table))], pa.float64())
        assert doubles.cast(pa.float32(), safe=False).cast(pa.float64()) != doubles
        pq.write_table(table.set_column(at, "eigenvalue", doubles), part)
    rebuild(own_home)
    with reading_lake(f"{own_home}/parts") as connection:
        assert rows_of(connection)["noise_spectra"] == rows(own_home)["noise_spectra"]


def test_a_companion_alone_is_left_out(own_home: Path) -> None:
    part = next((own_home / "parts" / "splices").iterdir())
    shutil.copy(own_home / "parts" / "predictions" / part.name, own_home / "left.parquet")
    part.unlink()
    rebuild(own_home)
    with reading_lake(f"{own_home}/parts") as connection:
        assert rows_of(connection) == rows(own_home)


def test_parts_that_come_later_are_seen_after_a_while(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = next((own_home / "parts" / "metrics").iterdir())
    address = f"{own_home}/parts"
    shutil.move(part, tmp_path / part.name)
    with reading_lake(address) as connection:
        fewer = connection.execute("SELECT count(*) FROM metrics").fetchall()
    before = lake.state(address)
    shutil.move(tmp_path / part.name, part)
    assert lake.state(address) == before
    monkeypatch.setattr(lake, "LOOK_AGAIN_SECONDS", 0.0)
    assert lake.state(address) != before
    with reading_lake(address) as connection:
        assert connection.execute("SELECT count(*) FROM metrics").fetchall() > fewer


def test_the_app_reads_from_where_featdyn_store_says(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_HOME", str(tmp_path))
    monkeypatch.setenv("FEATDYN_STORE", f"{cube_home}/parts")
    with reading(cube_home) as connection:
        from store import queries

        expected = queries.studies(connection)
    assert cached.ask("studies").equals(expected)
    monkeypatch.delenv("FEATDYN_STORE")
    with pytest.raises(StoreMissingError):
        cached.ask("studies")


def test_no_parts_and_no_readable_ones_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match=r"FEATDYN_STORE: expected parts at .*, found none"):
        lake.state(f"{tmp_path}/parts")
    (tmp_path / "parts" / "metrics").mkdir(parents=True)
    (tmp_path / "parts" / "metrics" / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="expected readable parts at") as caught:
        lake.state(f"{tmp_path}/parts")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("s3://b/study/parts/", True), ("/var/parts", True), ("/var", False), ("x.duckdb", False)],
)
def test_only_a_folder_named_parts_is_one(address: str, expected: bool) -> None:
    assert is_lake(address) is expected
