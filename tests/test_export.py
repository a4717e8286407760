"""Export of a run: its rows, readable elsewhere, with everything that tells where they are from."""

import json
import zipfile
from pathlib import Path

import polars as pl
import pytest

from featdyn_engine.domain import InputError
from featdyn_engine.export import export
from featdyn_engine.files import sha256_of
from store.connection import reading
from tests.store import cube
from tests.store.rows import listing


def counts(home: Path, views: list[str]) -> dict[str, int]:
    where = f"WHERE run_id = '{cube.TRUE}'"
    with reading(home) as connection:
        return {
            view: connection.execute(f"SELECT count(*) FROM {view} {where}").fetchall()[0][0]
            for view in views
        }


@pytest.fixture(scope="module")
def folder(cube_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in every form: csv/, parquet/ and csv.zip. Tests must not write."""
    folder = tmp_path_factory.mktemp("exports")
    before = listing(cube_home)
    for name, file_format in (("csv", "csv"), ("parquet", "parquet"), ("csv.zip", "csv")):
        export(cube_home, cube.TRUE, folder / name, file_format)
    assert listing(cube_home) == before
    assert sorted(path.name for path in folder.iterdir()) == ["csv", "csv.zip", "parquet"]
    return folder


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, infer_schema_length=0)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_tables_hold_the_rows_of_the_run(file_format: str, folder: Path, cube_home: Path) -> None:
    paths = sorted((folder / file_format).glob(f"*.{file_format}"))
    frames = {path.stem: read(path) for path in paths}
    assert not frames.pop("evaluations").is_empty()
    assert {each for frame in frames.values() for each in frame["run_id"]} == {cube.TRUE}
    found = {view: len(frame) for view, frame in frames.items()}
    assert found == counts(cube_home, list(found))
    expected = {"runs", "splices", "predictions", "consistency", "evaluations"}
    assert expected <= {path.stem for path in paths}


def test_lists_are_words_in_csv(folder: Path) -> None:
    first = read(folder / "csv" / "predictions.csv")["predicted"][0]
    assert len(first.split()) == cube.N
    assert set(first.split()) <= {"0", "1", "2"}


def test_provenance_tells_where_the_numbers_are_from(folder: Path, cube_home: Path) -> None:
    about = json.loads((folder / "parquet" / "provenance.json").read_text())
    assert (about["run_id"], about["study"]) == (cube.TRUE, cube.STUDY)
    assert about["store"]["revision"] == int((cube_home / "revision").read_text())
    for name, table in about["tables"].items():
        assert sha256_of(folder / "parquet" / name) == table["sha256"]
    tables = {path.name for path in (folder / "parquet").glob("*.parquet")}
    assert set(about["tables"]) == tables


def test_a_zip_holds_the_same_files(folder: Path) -> None:
    with zipfile.ZipFile(folder / "csv.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert names == {path.name for path in (folder / "csv").iterdir()}


@pytest.mark.parametrize(
    ("run_id", "file_format", "expected"),
    [
        ("0" * 12, "csv", r"expected a run of .*got '000000000000'"),
        ("../../etc", "csv", r"expected a run of .*got '../../etc'"),
        (cube.TRUE, "xlsx", "--format: expected one of csv, parquet, got 'xlsx'"),
    ],
)
def test_what_there_is_not_leaves_nothing(
    run_id: str, file_format: str, expected: str, cube_home: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=expected):
        export(cube_home, run_id, tmp_path / "out", file_format)
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_never_replaced(cube_home: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="expected a new path"):
        export(cube_home, cube.TRUE, tmp_path / "out", "csv")
