"""Restoring: a snapshot's results are parts of a home again, every row as it was."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from featdyn_engine import checkpoints, manifest, pipeline, planning, restoring, snapshot, study
from featdyn_engine.analyses import predicted
from featdyn_engine.domain import InputError
from featdyn_engine.files import write_json
from featdyn_engine.parts import METADATA_KEY, is_restored, part_path
from featdyn_engine.snapshot import Choice
from featdyn_engine.verification import verify
from store import connection as connections
from store.connection import reading, writing_file
from store.home import MANIFEST, StoreError, database_path
from store.results import ingest, rebuild
from tests.cases import ONE_ARM, QUICK_STUDY
from tests.conftest import Silent, fill
from tests.store import cube
from tests.store.rows import listing, rows
from tests.test_cli import assert_refused, featdyn

SMALL = f"{ONE_ARM}predictions = true\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies: trainings of a second, and the one made up by hand. Tests must not write."""
    home = tmp_path_factory.mktemp("restoring") / "home"
    fill(home, QUICK_STUDY)
    ingest(home, cube.write_all(home))
    return home


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of all of it. Tests must not write."""
    return take(home, tmp_path_factory.mktemp("out") / "whole")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a cube and its predictions. Tests must not write."""
    home = tmp_path_factory.mktemp("small") / "home"
    fill(home, SMALL)
    return home


def take(home: Path, out: Path, **choice: Any) -> Path:
    snapshot.snapshot(home, out, Choice(**choice), lambda line: None)
    return out


def restore(source: Path, home: Path) -> restoring.Restored:
    return restoring.restore(source, home, lambda line: None)


def parts(home: Path) -> set[str]:
    return {path.relative_to(home).as_posix() for path in home.glob("parts/*/*.parquet")}


def test_every_row_and_every_part_comes_back(home: Path, whole: Path, tmp_path: Path) -> None:
    before = listing(whole)
    restored = restore(whole, tmp_path / "new")
    assert listing(whole) == before
    assert rows(tmp_path / "new", but_times=False) == rows(whole, but_times=False)
    assert parts(tmp_path / "new") == parts(home)
    assert restored == restoring.Restored(2, len(parts(home)), 0)
    for config in home.glob("runs/*/config.json"):
        assert (tmp_path / "new" / config.relative_to(home)).is_file()


def test_the_database_can_be_made_anew_from_what_came_back(whole: Path, tmp_path: Path) -> None:
    restore(whole, tmp_path / "new")
    rebuild(tmp_path / "new")
    assert rows(tmp_path / "new", but_times=False) == rows(whole, but_times=False)


def test_a_snapshot_of_what_came_back_has_the_same_rows(
    home: Path, whole: Path, tmp_path: Path
) -> None:
    bare = take(home, tmp_path / "bare", studies=("quick",), bare=(cube.STUDY,), steps=(4,))
    restore(bare, tmp_path / "new")
    again = take(tmp_path / "new", tmp_path / "again", studies=("quick",), bare=(cube.STUDY,))
    assert rows(again, but_times=False) == rows(bare, but_times=False)
    assert checkpoints_of(again) == checkpoints_of(bare) != checkpoints_of(whole)


def checkpoints_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("runs/*/checkpoints/*.safetensors"))


def test_weights_that_stayed_behind_are_no_finding_but_damaged_ones_are(
    home: Path, tmp_path: Path
) -> None:
    restore(take(home, tmp_path / "out", studies=("quick",), steps=(4,)), tmp_path / "new")
    verdict = verify(tmp_path / "new")
    assert verdict.findings == ()
    weights = sorted((tmp_path / "new").glob("runs/*/checkpoints/*.safetensors"))
    assert verdict.checkpoints > len(weights) > 0
    weights[0].write_bytes(b"")
    assert [line.startswith(f"{weights[0]}: ") for line in verify(tmp_path / "new").findings] == [
        True
    ]


def test_a_bare_study_is_finished_but_grows_by_what_is_asked_of_new_arms(
    small: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    restore(take(small, tmp_path / "out", bare=("small",), steps=()), new)
    with reading(new) as connection:
        assert connection.execute("SELECT count(*) FROM predictions").fetchall() == [(0,)]
    planned = planning.plan(study.parse(SMALL, "small.toml", new), new)
    assert any(unit.companions for unit in planned.units)
    assert planned.waiting == ()
    grown = SMALL + '[[arms]]\nname = "half"\nlabel_noise = 0.5\n'
    asked = planning.plan(study.parse(grown, "small.toml", new), new)
    assert {unit.run_id for unit in asked.waiting} - {None} == {
        run.config.run_id for run in asked.study.runs if run.arm == "half"
    }
    before = rows(new)
    with pipeline.engine_lock(new, "tests"):
        assert not pipeline.run(asked, new, 1, Silent()).failures
    after = rows(new)
    assert set(before["splices"]) < set(after["splices"])
    assert {row[0] for row in before["runs"]} < {row[0] for row in after["runs"]}


def test_what_needs_predictions_that_stayed_behind_says_what_to_delete(
    small: Path, tmp_path: Path
) -> None:
    restore(take(small, tmp_path / "out", bare=("small",)), tmp_path / "new")
    unit_id = next((tmp_path / "new" / "parts" / "splices").iterdir()).stem
    assert is_restored(part_path(tmp_path / "new", "splices", unit_id))
    with pytest.raises(InputError, match=f"delete the other parts of {unit_id}"):
        predicted.by_cut([unit_id], tmp_path / "new")


def test_weights_that_stayed_behind_are_asked_for_in_one_line(small: Path, tmp_path: Path) -> None:
    restore(take(small, tmp_path / "out", steps=()), tmp_path / "new")
    folder = next((tmp_path / "new" / "runs").iterdir())
    with pytest.raises(InputError, match="found none"):
        checkpoints.load(folder, 0)


def test_the_home_keeps_what_it_has(home: Path, whole: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(home, tmp_path / "home"))
    lost = next(path for path in own.glob("parts/splices/*.parquet"))
    lost.unlink()
    mine = listing(own / "runs"), {name: (own / name).read_bytes() for name in parts(own)}
    restored = restore(whole, own)
    assert (restored.parts, restored.kept) == (1, len(parts(home)) - 1)
    assert listing(own / "runs") == mine[0]
    assert {name: (own / name).read_bytes() for name in mine[1]} == mine[1]
    assert rows(own) == rows(home)
    assert is_restored(lost)
    assert not any(is_restored(own / name) for name in mine[1])


def test_a_run_that_was_trained_twice_to_other_weights_is_refused(
    home: Path, whole: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(home, tmp_path / "home"))
    config = next(own.glob("runs/*/config.json"))
    record = config.parent / "checkpoints" / "step-00000004.json"
    write_json(record, {**json.loads(record.read_text()), "sha256": "0" * 64})
    before = listing(own / "runs"), parts(own)
    with pytest.raises(InputError, match=f"run {config.parent.name}: expected the weights of step"):
        restore(whole, own)
    assert (listing(own / "runs"), parts(own)) == before
    assert not list(own.glob("*.partial*"))


def test_weights_in_float16_are_of_the_same_run(home: Path, tmp_path: Path) -> None:
    out = take(home, tmp_path / "out", studies=("quick",), half=True)
    own = Path(shutil.copytree(home, tmp_path / "home"))
    assert json.loads((out / MANIFEST).read_text())["checkpoints_in_float16"] > 0
    before = listing(own / "runs")
    assert restore(out, own).parts == 0
    assert listing(own / "runs") == before


def test_one_that_was_killed_goes_on(whole: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    restore(whole, new)
    # As a kill before the ingest leaves it, and in the middle of the parts.
    database_path(new).unlink()
    for name in sorted(parts(new))[::2]:
        (new / name).unlink()
    restore(whole, new)
    assert rows(new, but_times=False) == rows(whole, but_times=False)


def test_a_snapshot_of_an_older_schema_is_brought_up_to_date(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = tmp_path / f"{len(connections.MIGRATIONS) + 1:04d}_extra.sql"
    extra.write_text("ALTER TABLE base.metrics ADD COLUMN extra INTEGER DEFAULT 7;")
    monkeypatch.setattr(connections, "MIGRATIONS", [*connections.MIGRATIONS, extra])
    before = listing(whole)
    restore(whole, tmp_path / "new")
    assert listing(whole) == before
    with reading(tmp_path / "new") as connection:
        found = connection.execute("SELECT DISTINCT extra FROM base.metrics").fetchall()
    assert found == [(7,)]


def test_what_is_no_snapshot_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a snapshot.*found no snapshot\.json"):
        restore(home, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_altered_snapshot_is_refused(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    with database_path(out).open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="expected the bytes of the manifest"):
        restore(out, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_snapshot_is_restored_into_no_other(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    with pytest.raises(StoreError, match="got a snapshot, which is only read"):
        restore(whole, out)


@pytest.mark.parametrize("kind", ["metrics", "splices"])
def test_a_name_that_leads_out_of_the_home_is_refused(
    whole: Path, tmp_path: Path, kind: str
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    with writing_file(database_path(out)) as connection:
        for table in ("units", kind):
            of_kind = "" if table == kind else f" WHERE kind = '{kind}'"
            connection.execute(f"UPDATE base.{table} SET unit_id = '../../../outside'{of_kind}")
    (out / MANIFEST).unlink()
    write_json(out / MANIFEST, {"files": manifest.listing(out)})
    with pytest.raises(InputError, match="expected a name without folders"):
        restore(out, tmp_path / "new")
    assert not list(tmp_path.rglob("outside*"))


def test_metadata_of_a_part_is_what_it_was(small: Path, tmp_path: Path) -> None:
    restore(take(small, tmp_path / "out"), tmp_path / "new")
    for name in sorted(parts(small)):
        if name.startswith(("parts/studies/", "parts/failures/")):
            continue
        was, now = (pq.read_schema(each / name).metadata for each in (small, tmp_path / "new"))
        told, before = (json.loads(each[METADATA_KEY]) for each in (now, was))
        assert told == {**before, "restored": True}, name


def test_the_command_says_what_came(whole: Path, home: Path, tmp_path: Path) -> None:
    for line in (
        f"{len(parts(home)):,} parts of 2 studies from {whole}; 0 were there",
        f"0 parts of 0 studies from {whole}; {len(parts(home)):,} were there",
    ):
        done = featdyn(tmp_path / "new", "restore", str(whole))
        assert done.returncode == 0, done.stderr
        assert f"{tmp_path / 'new'}: {line}" in done.stdout.replace("\n", "")
    assert_refused(featdyn(tmp_path / "new", "restore", str(home)), str(home), "a snapshot")
