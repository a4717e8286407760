"""Nothing is written where nothing may be, and a store that is read reaches nothing else."""

from pathlib import Path

import duckdb
import pytest

from featdyn_engine import files
from store import home as homes
from store.connection import migrate, reading, reading_file, writing
from store.home import StoreError, database_path, is_read_only, refuse_to_write
from store.results import ingest
from tests.store.rows import listing


@pytest.mark.parametrize(("value", "expected"), [("", False), ("0", False), ("1", True)])
def test_the_variable_is_1_or_not(
    value: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", value)
    assert is_read_only() is expected


def test_any_other_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", "yes")
    with pytest.raises(StoreError, match=r"expected 1 .*got 'yes'"):
        is_read_only()


def test_store_and_engine_read_one_variable_and_one_manifest() -> None:
    from featdyn_engine import manifest

    assert files.READ_ONLY == homes.READ_ONLY
    assert manifest.NAME == homes.MANIFEST


def test_no_connection_to_write_opens(own_cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    before = listing(own_cube_home)
    with pytest.raises(StoreError, match="nothing is written"), writing(own_cube_home):
        pass
    with pytest.raises(StoreError, match="nothing is written"):
        ingest(own_cube_home, sorted(own_cube_home.glob("parts/*/*.parquet")))
    assert listing(own_cube_home) == before


def test_no_file_is_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    with pytest.raises(OSError, match="nothing is written"):
        files.write_json(tmp_path / "deep" / "file.json", {})
    assert list(tmp_path.iterdir()) == []


def test_another_store_and_a_snapshot_are_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_write(tmp_path, "featdyn demo")
    monkeypatch.setenv("FEATDYN_STORE", "/elsewhere")
    with pytest.raises(StoreError, match=r"FEATDYN_STORE is set.*`featdyn demo` writes"):
        refuse_to_write(tmp_path, "featdyn demo")
    monkeypatch.delenv("FEATDYN_STORE")
    (tmp_path / "snapshot.json").write_text("{}")
    with pytest.raises(StoreError, match="got a snapshot"):
        refuse_to_write(tmp_path, "featdyn demo")


def planted(folder: Path, view: str) -> Path:
    """A store whose view ``runs`` asks for what lies outside of it."""
    path = database_path(folder)
    with duckdb.connect(str(path)) as connection:
        migrate(connection)
        connection.execute(f"CREATE OR REPLACE VIEW runs AS {view}")
    return path


@pytest.mark.parametrize(
    "view",
    [
        "SELECT content FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}', header=false)",
        "SELECT * FROM glob('{folder}/*')",
    ],
)
def test_a_planted_view_reads_no_file(view: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nb\n")
    # Made where it may look; then opened as a store.
    path = planted(tmp_path, view.format(secret=secret, folder=tmp_path))
    with (
        reading_file(path) as connection,
        pytest.raises(duckdb.Error, match=r"disabled|not allowed|Permission"),
    ):
        connection.execute("SELECT * FROM runs").fetchall()


def test_a_reader_may_not_allow_itself_more(cube_home: Path, tmp_path: Path) -> None:
    with reading(cube_home) as connection:
        with pytest.raises(duckdb.Error):
            connection.execute("SET enable_external_access = true")
        with pytest.raises(duckdb.Error):
            connection.execute(f"COPY (SELECT 1) TO '{tmp_path / 'file.csv'}'")
        with pytest.raises(duckdb.Error):
            connection.execute(f"ATTACH '{tmp_path / 'other.duckdb'}'")
    assert list(tmp_path.iterdir()) == []


def read_all(home: Path) -> None:
    with reading(home) as connection:
        for view in ("splices", "runs", "metrics"):
            connection.execute(f"SELECT max(hash(t)) FROM {view} AS t").fetchall()


@pytest.mark.parametrize("damage", ["text", "cut", "altered", "empty"])
def test_a_damaged_store_is_one_line(damage: str, own_cube_home: Path) -> None:
    path = database_path(own_cube_home)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "text": b"no database at all " * 1000,
            "cut": whole[: len(whole) // 2],
            "altered": whole[:4096] + bytes(200_000) + whole[204_096:],
            "empty": b"",
        }[damage]
    )
    with pytest.raises(StoreError, match="expected") as caught:
        read_all(own_cube_home)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_into_memory_goes_to_a_bounded_place_of_its_own(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = listing(cube_home)
    with reading(cube_home) as connection:
        settings = dict(
            connection.execute(
                "SELECT name, value FROM duckdb_settings() "
                "WHERE name IN ('temp_directory', 'max_temp_directory_size')"
            ).fetchall()
        )
    assert settings["temp_directory"].startswith(str(tmp_path))
    assert settings["max_temp_directory_size"] != "90% of available disk space"
    assert listing(cube_home) == before
