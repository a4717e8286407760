"""Ingesting parts: as often as one likes, all or nothing, and rebuilt from files to the same."""

import multiprocessing
import shutil
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from store.connection import reading
from store.home import StoreError, database_path, revision
from store.results import COMPANIONS, NO_UNITS, TABLES, ingest, ingested_units, rebuild, set_aside
from tests.store.rows import listing, rows


def parts_of(home: Path) -> list[Path]:
    return sorted((home / "parts").glob("*/*.parquet"))


def splice_parts_of(home: Path) -> list[Path]:
    return sorted((home / "parts" / "splices").glob("*.parquet"))


FAILURES = (StoreError, pa.ArrowException, OSError, duckdb.Error)


def test_parts_alone_give_the_rows_of_the_engine(unindexed_home: Path, tiny_home: Path) -> None:
    ingest(unindexed_home, parts_of(unindexed_home))
    assert rows(unindexed_home, but_times=False) == rows(tiny_home, but_times=False)


def test_ingesting_one_by_one_gives_the_rows_of_ingesting_at_once(
    unindexed_home: Path, tiny_home: Path
) -> None:
    for part in reversed(parts_of(unindexed_home)):
        ingest(unindexed_home, [part])
    assert rows(unindexed_home, but_times=False) == rows(tiny_home, but_times=False)


def test_ingesting_twice_gives_the_same_rows(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    ingest(own_home, parts_of(own_home))
    assert rows(own_home, but_times=False) == before


def test_a_part_named_twice_in_one_ingest_counts_once(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    part = parts_of(own_home)[-1]
    ingest(own_home, [part, part])
    assert rows(own_home, but_times=False) == before


def damage(part: Path, how: str) -> None:
    """``rows``: the footer stays whole, so that the damage shows only when rows are read."""
    content = bytearray(part.read_bytes())
    if how == "rows":
        content[4 : len(content) // 3] = bytes(len(content) // 3 - 4)
    part.write_bytes(content[: {"empty": 0, "start": 4, "half": len(content) // 2}.get(how)])


DAMAGES = ("rows", "empty", "start", "half")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_corrupt_part_rolls_back_the_parts_before_it(how: str, unindexed_home: Path) -> None:
    first, second, last = splice_parts_of(unindexed_home)[:3]
    ingest(unindexed_home, [*sorted((unindexed_home / "parts" / "studies").iterdir()), first])
    before = rows(unindexed_home, but_times=False)
    assert before["splices"]
    counted = revision(unindexed_home)
    damage(last, how)
    with pytest.raises(FAILURES):
        ingest(unindexed_home, [second, last])
    assert rows(unindexed_home, but_times=False) == before
    assert revision(unindexed_home) == counted


@pytest.mark.parametrize("how", DAMAGES)
def test_a_corrupt_part_is_named_in_one_line(how: str, unindexed_home: Path) -> None:
    part = splice_parts_of(unindexed_home)[0]
    damage(part, how)
    with pytest.raises(FAILURES, match=part.name) as caught:
        ingest(unindexed_home, [part])
    assert "\n" not in str(caught.value)


def test_a_store_still_takes_parts_after_a_failed_ingest(
    unindexed_home: Path, tiny_home: Path
) -> None:
    last = splice_parts_of(unindexed_home)[-1]
    whole = last.read_bytes()
    last.write_bytes(whole[:1000])
    with pytest.raises(FAILURES):
        ingest(unindexed_home, parts_of(unindexed_home))
    last.write_bytes(whole)
    ingest(unindexed_home, parts_of(unindexed_home))
    assert rows(unindexed_home, but_times=False) == rows(tiny_home, but_times=False)


def test_each_ingest_counts_the_revision_up_once(own_home: Path) -> None:
    before = revision(own_home)
    ingest(own_home, parts_of(own_home)[:3])
    assert revision(own_home) == before + 1


def test_no_log_is_left_behind_by_an_ingest(own_home: Path) -> None:
    ingest(own_home, parts_of(own_home))
    assert [path.name for path in own_home.glob("featdyn.duckdb*")] == ["featdyn.duckdb"]


def test_ingested_units_are_the_parts_without_studies(own_home: Path) -> None:
    parts = {(part.parent.name, part.stem) for part in parts_of(own_home)}
    assert ingested_units(own_home) == {unit for unit in parts if unit[0] != "studies"}


def test_a_rebuild_gives_equal_rows_in_every_view(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    assert rebuild(own_home) == len(parts_of(own_home))
    assert rows(own_home, but_times=False) == before


def test_a_rebuild_needs_no_database(unindexed_home: Path, tiny_home: Path) -> None:
    rebuild(unindexed_home)
    assert rows(unindexed_home, but_times=False) == rows(tiny_home, but_times=False)


def test_a_rebuild_leaves_files_other_than_database_and_revision(own_home: Path) -> None:
    before = listing(own_home)
    rebuild(own_home)
    after = listing(own_home)
    assert after.keys() == before.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"featdyn.duckdb", "revision"}


def test_a_rebuild_forgets_a_part_that_is_gone(own_home: Path) -> None:
    part = splice_parts_of(own_home)[0]
    before = ingested_units(own_home)
    part.unlink()
    rebuild(own_home)
    # Its companion without it counts for nothing.
    gone = {("splices", part.stem), ("predictions", part.stem)}
    assert before - ingested_units(own_home) == gone


def test_a_failed_rebuild_leaves_the_old_database(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    part = next((own_home / "parts" / "splices").iterdir())
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(FAILURES):
        rebuild(own_home)
    assert rows(own_home, but_times=False) == before


def test_leftovers_of_a_killed_rebuild_are_no_obstacle(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    (own_home / "featdyn.duckdb.rebuild").write_bytes(b"half a database")
    (own_home / "featdyn.duckdb.rebuild.wal").write_bytes(b"half a log")
    rebuild(own_home)
    assert rows(own_home, but_times=False) == before
    assert [path.name for path in own_home.glob("featdyn.duckdb*")] == ["featdyn.duckdb"]


def _read_in_a_loop(home: Path, stop: object, answers: object) -> None:
    from tests.store.rows import rows as read

    expected = None
    count = 0
    try:
        while not stop.is_set():  # type: ignore[attr-defined]
            found = read(home, but_times=False)
            expected = expected or found
            if found != expected:
                raise AssertionError("a reader saw other rows")
            count += 1
        answers.put(count)  # type: ignore[attr-defined]
    except BaseException as problem:
        answers.put(repr(problem))  # type: ignore[attr-defined]


def test_readers_see_the_same_rows_while_the_store_is_rebuilt(own_home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.Queue()
    reader = context.Process(target=_read_in_a_loop, args=(own_home, stop, answers), daemon=True)
    reader.start()
    rebuilt = 0
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        rebuild(own_home)
        rebuilt += 1
    stop.set()
    answer = answers.get(timeout=20)
    reader.join(20)
    assert isinstance(answer, int), answer
    assert answer >= 5
    assert rebuilt >= 3


def test_a_database_set_aside_keeps_its_bytes_and_its_log(own_home: Path) -> None:
    database = database_path(own_home)
    log = database.with_name(database.name + ".wal")
    log.write_bytes(b"log")
    content = database.read_bytes()
    aside = set_aside(own_home)
    assert aside.read_bytes() == content
    assert aside.with_name(aside.name + ".wal").read_bytes() == b"log"
    assert not database.exists()
    assert not log.exists()


def test_two_databases_set_aside_in_one_second_are_both_kept(own_home: Path) -> None:
    copy = own_home.with_name("copy")
    shutil.copy(database_path(own_home), copy)
    first = set_aside(own_home)
    shutil.copy(copy, database_path(own_home))
    second = set_aside(own_home)
    assert first != second
    assert first.exists()
    assert second.exists()


UNIT_KINDS = [kind for kind in TABLES if kind not in (*NO_UNITS, *COMPANIONS)]
ORPHANS = {
    "splices of no run": "SELECT run_id FROM splices WHERE run_id NOT IN (SELECT run_id FROM runs)",
    "splices whose shallow part is of no run": (
        "SELECT shallow_run_id FROM splices WHERE shallow_run_id NOT IN (SELECT run_id FROM runs)"
    ),
    "splices on no evaluation set": (
        "SELECT eval_id FROM splices WHERE eval_id NOT IN (SELECT eval_id FROM evaluations)"
    ),
    "splices of no deep checkpoint": (
        "SELECT run_id FROM splices WHERE (run_id, deep_step) NOT IN "
        "(SELECT (run_id, step) FROM checkpoints)"
    ),
    "splices of no shallow checkpoint": (
        "SELECT run_id FROM splices WHERE (shallow_run_id, shallow_step) NOT IN "
        "(SELECT (run_id, step) FROM checkpoints)"
    ),
    "metrics of no run": "SELECT run_id FROM metrics WHERE run_id NOT IN (SELECT run_id FROM runs)",
    "checkpoints of no run": (
        "SELECT run_id FROM checkpoints WHERE run_id NOT IN (SELECT run_id FROM runs)"
    ),
    "runs of no study": (
        "SELECT run_id FROM runs WHERE run_id NOT IN (SELECT run_id FROM study_runs)"
    ),
    "units that count other rows than the store": (
        "SELECT kind, unit_id, row_count FROM units EXCEPT ("
        + " UNION ALL ".join(
            f"SELECT '{kind}', unit_id, count(*) FROM base.{TABLES[kind]} GROUP BY unit_id"
            for kind in UNIT_KINDS
        )
        + ")"
    ),
}


@pytest.mark.parametrize("question", ORPHANS)
def test_there_are_no_orphans(question: str, full_home: Path) -> None:
    with reading(full_home) as connection:
        assert connection.execute(ORPHANS[question]).fetchall() == []


def test_a_splice_names_the_split_and_corruption_of_its_evaluation_set(tiny_home: Path) -> None:
    with reading(tiny_home) as connection:
        different = connection.execute(
            "SELECT * FROM splices AS s JOIN evaluations AS e USING (eval_id) "
            "WHERE (s.split, s.corruption, s.severity) <> (e.split, e.corruption, e.severity)"
        ).fetchall()
    assert different == []


def test_a_checkpoint_row_leads_to_a_file_of_its_size_and_hash(tiny_home: Path) -> None:
    from featdyn_engine.checkpoints import sha256_of

    with reading(tiny_home) as connection:
        found = connection.execute("SELECT path, bytes, sha256 FROM checkpoints").fetchall()
    assert found
    for path, size, digest in found:
        assert (tiny_home / path).stat().st_size == size
        assert sha256_of(tiny_home / path) == digest
