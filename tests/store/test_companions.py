"""Parts that a unit writes beside its main one, and parts older than a column."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store import queries
from store.connection import MIGRATIONS, migrate, reading, writing
from store.home import database_path
from store.results import COMPANIONS, finished_parts, ingest, ingested_units, rebuild
from tests.store import cube
from tests.store.rows import rows

CELL = (cube.TRUE, cube.TRUE, "none", cube.TEST, "stem", 0, 10)


def count(home: Path, view: str) -> int:
    with reading(home) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {view}").fetchall()[0][0])


def test_parts_of_companions_count_as_ingested(cube_home: Path) -> None:
    parts = {(part.parent.name, part.stem) for part in (cube_home / "parts").glob("*/*.parquet")}
    assert {kind for kind, _ in parts} >= set(COMPANIONS)
    assert ingested_units(cube_home) == {unit for unit in parts if unit[0] != "studies"}
    with reading(cube_home) as connection:
        assert set(queries.stored_units(connection).iter_rows()) == parts


@pytest.mark.parametrize("kind", COMPANIONS)
def test_a_companion_has_no_line_among_the_units(kind: str, cube_home: Path) -> None:
    with reading(cube_home) as connection:
        assert connection.execute("FROM units WHERE kind = ?", [kind]).fetchall() == []
        assert queries.orphan_rows(connection).is_empty()


def test_a_companion_replaces_its_own_rows_and_no_others(own_cube_home: Path) -> None:
    before = rows(own_cube_home, but_times=False)
    part = cube.write(
        own_cube_home, "predictions", cube.unit_of(CELL), [cube.prediction_row(CELL)], cube.TRUE
    )
    ingest(own_cube_home, [part])
    after = rows(own_cube_home, but_times=False)
    assert len(before["predictions"]) - len(after["predictions"]) == len(cube.STEPS) ** 2 - 1
    del before["predictions"], after["predictions"]
    assert after == before


def test_an_empty_companion_counts_as_ingested(own_cube_home: Path) -> None:
    unit_id = cube.unit_of(CELL)
    empty = cube.table([cube.prediction_row(CELL)]).slice(0, 0)
    part = cube.write(own_cube_home, "predictions", unit_id, empty, cube.TRUE)
    ingest(own_cube_home, [part])
    assert ("predictions", unit_id) in ingested_units(own_cube_home)
    with reading(own_cube_home) as connection:
        assert ("predictions", unit_id) in set(queries.stored_units(connection).iter_rows())


def test_a_companion_without_its_unit_is_an_orphan(tmp_path: Path) -> None:
    row = cube.prediction_row(CELL)
    ingest(tmp_path, [cube.write(tmp_path, "predictions", "alone", [row, row], cube.TRUE)])
    with reading(tmp_path) as connection:
        orphans = set(queries.orphan_rows(connection).iter_rows())
    assert orphans == {("companions", "alone", 1), ("predictions", "alone", 2)}


@pytest.mark.parametrize("kind", COMPANIONS)
def test_a_companion_that_a_kill_left_alone_is_no_part_of_the_store(
    kind: str, own_cube_home: Path
) -> None:
    whole = finished_parts(own_cube_home)
    assert whole == sorted((own_cube_home / "parts").glob("*/*.parquet"))
    row = cube.prediction_row(CELL)
    # A failure has the unit_id of its unit as well, and is no main part.
    for each in (kind, "failures"):
        cube.write(own_cube_home, each, "alone", [row], cube.TRUE)
    found = set(finished_parts(own_cube_home)) - set(whole)
    assert {part.parent.name for part in found} == {"failures"}
    (own_cube_home / "parts" / "failures" / "alone.parquet").unlink()
    assert rebuild(own_cube_home) == len(whole)
    with reading(own_cube_home) as connection:
        assert queries.orphan_rows(connection).is_empty()


def test_a_rebuild_gives_equal_rows_of_every_kind(own_cube_home: Path) -> None:
    before = rows(own_cube_home, but_times=False)
    assert all(before.values())
    rebuild(own_cube_home)
    assert rows(own_cube_home, but_times=False) == before


def test_a_rebuild_forgets_a_companion_that_is_gone(own_cube_home: Path) -> None:
    (own_cube_home / "parts" / "predictions" / f"{cube.unit_of(CELL)}.parquet").unlink()
    before = ingested_units(own_cube_home)
    rebuild(own_cube_home)
    assert before - ingested_units(own_cube_home) == {("predictions", cube.unit_of(CELL))}


@pytest.mark.parametrize("view", ["splices", "predictions"])
def test_rows_of_a_control_show_only_while_a_study_asks_for_its_run(
    view: str, own_cube_home: Path
) -> None:
    before = count(own_cube_home, view)
    ingest(own_cube_home, [cube.write_study(own_cube_home, controls=False)])
    assert before - count(own_cube_home, view) == len(cube.CUTS) * len(cube.STEPS) ** 2
    with reading(own_cube_home) as connection:
        found = connection.execute(f"SELECT DISTINCT control FROM {view}").fetchall()
    assert found == [("none",)]


VIEWS_OF_RUNS = (
    "displacement",
    "consistency",
    "horizons",
    "comparators",
    "connectivity",
    "probes",
    "corruptions",
    "trajectories",
    "trajectory_quality",
    "trajectory_contours",
    "divergences",
    "noise_spectra",
    "noise_tests",
    "noise_alignment",
    "memory",
    "memory_examples",
)
# The unit's own kind, where a view has another name than it.
MAIN = {**cube.MAIN, "noise_spectra": "noise"}


@pytest.mark.parametrize("view", VIEWS_OF_RUNS)
def test_rows_of_a_run_show_only_while_a_study_asks_for_it(view: str, own_cube_home: Path) -> None:
    row = next(row for row in cube.study_rows() if row["run_id"] == cube.SECOND)
    part = cube.write(own_cube_home, "studies", cube.STUDY, [row], None)
    ingest(own_cube_home, [part])
    with reading(own_cube_home) as connection:
        found = connection.execute(f"SELECT DISTINCT run_id FROM {view}").fetchall()
    assert found == [(cube.SECOND,)]


@pytest.mark.parametrize("later", ["2025-01-02", "2024-12-31"])
@pytest.mark.parametrize("view", VIEWS_OF_RUNS)
def test_of_rows_with_one_key_those_of_the_unit_that_ended_last_show(
    view: str, later: str, own_cube_home: Path
) -> None:
    """An edited study makes another unit; the rows of the older one stay in the base tables."""
    before = count(own_cube_home, view)
    main = MAIN.get(view, view)
    part = "noise" if view == "noise_spectra" else view
    parts = [
        own_cube_home / "parts" / kind / f"{main}-{cube.TRUE}.parquet" for kind in {part, main}
    ]
    copies = []
    for part in parts:
        old = pq.read_table(part).drop(["unit_id"])
        changed = old.set_column(
            old.schema.get_field_index("n"), "n", pa.array([7] * len(old), pa.int64())
        )
        copies.append(cube.write(own_cube_home, part.parent.name, "edited", changed, cube.TRUE))
    ingest(own_cube_home, copies)
    with writing(own_cube_home) as connection:
        connection.execute(
            "UPDATE base.units SET finished_at = ?::TIMESTAMP WHERE unit_id = 'edited'", [later]
        )
    assert count(own_cube_home, view) == before
    with reading(own_cube_home) as connection:
        shown = connection.execute(
            f"SELECT DISTINCT n = 7 FROM {view} WHERE run_id = ?", [cube.TRUE]
        ).fetchall()
    assert shown == [(later == "2025-01-02",)]


def without(part: Path, *columns: str) -> None:
    """Rewrite a part as one of before these columns."""
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(list(columns)), part)


def test_a_part_older_than_a_column_gets_the_default(own_cube_home: Path) -> None:
    folder = own_cube_home / "parts"
    splices = folder / "splices" / f"{cube.unit_of(CELL)}.parquet"
    study = folder / "studies" / f"{cube.STUDY}.parquet"
    evaluation = folder / "evaluations" / f"{cube.TEST}.parquet"
    without(splices, "target_half_width", "dtype_agreement")
    without(study, "role")
    without(evaluation, "class_names", "targets")
    ingest(own_cube_home, [splices, study, evaluation])
    with reading(own_cube_home) as connection:
        defaults = connection.execute(
            "SELECT DISTINCT target_half_width, dtype_agreement FROM splices"
        ).fetchall()
        roles = connection.execute("SELECT DISTINCT role FROM study_runs").fetchall()
        unknown = connection.execute(
            "SELECT class_names, targets FROM evaluations WHERE eval_id = ?", [cube.TEST]
        ).fetchall()
    assert defaults == [(0.0, 1.0)]
    assert roles == [("arm",)]
    assert unknown == [(None, None)]


def test_rows_of_a_store_before_the_cube_get_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for name in pa.Table.from_pylist([cube.splice_row(CELL)]).column_names]
    old = [name for name in names if name not in ("target_half_width", "dtype_agreement")]
    row = cube.splice_row(CELL)
    with duckdb.connect(str(database_path(tmp_path))) as connection:
        with monkeypatch.context() as patch:
            patch.setattr("store.connection.MIGRATIONS", MIGRATIONS[:2])
            migrate(connection)
        connection.execute(
            "INSERT INTO base.study_runs (study, position, run_id) VALUES ('old', 0, ?)",
            [cube.TRUE],
        )
        connection.execute(
            f"INSERT INTO base.splices ({', '.join(old)}) VALUES ({', '.join('?' * len(old))})",
            [row[name] for name in old],
        )
    with writing(tmp_path) as connection:
        found = connection.execute(f"SELECT {', '.join(names)} FROM splices").fetchall()
        assert connection.execute("SELECT role FROM runs").fetchall() == [("arm",)]
    assert found == [tuple(row[name] for name in names)]
