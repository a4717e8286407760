"""Restoring: a snapshot's results are parts of a home again, every row as it was."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from featdyn_engine import (
    checkpoints,
    learning_rates,
    manifest,
    pipeline,
    planning,
    restored,
    restoring,
    snapshot,
    study,
)
from featdyn_engine.analyses import networks, predicted
from featdyn_engine.api import load_network, load_run
from featdyn_engine.domain import InputError
from featdyn_engine.files import write_json
from featdyn_engine.parts import METADATA_KEY, part_path
from featdyn_engine.snapshot import Choice
from featdyn_engine.training import train
from featdyn_engine.verification import verify
from store import connection as connections
from store.connection import reading, writing_file
from store.home import MANIFEST, database_path
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


def parts(home: Path) -> set[str]:
    return {path.relative_to(home).as_posix() for path in home.glob("parts/*/*.parquet")}


def test_every_row_and_every_part_comes_back(home: Path, whole: Path, tmp_path: Path) -> None:
    before = listing(whole)
    came = restoring.restore(whole, tmp_path / "new")
    assert listing(whole) == before
    assert rows(tmp_path / "new", but_times=False) == rows(whole, but_times=False)
    assert parts(tmp_path / "new") == parts(home)
    runs = len(list(home.glob("parts/metrics/*")))
    assert came == restoring.Restored(2, runs, len(parts(home)))
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    for config in home.glob("runs/*/config.json"):
        assert (tmp_path / "new" / config.relative_to(home)).is_file()


def test_the_database_can_be_made_anew_from_what_came_back(whole: Path, tmp_path: Path) -> None:
    restoring.restore(whole, tmp_path / "new")
    rebuild(tmp_path / "new")
    assert rows(tmp_path / "new", but_times=False) == rows(whole, but_times=False)


def test_a_snapshot_of_what_came_back_has_the_same_rows(
    home: Path, whole: Path, tmp_path: Path
) -> None:
    bare = take(home, tmp_path / "bare", studies=("quick",), bare=(cube.STUDY,), steps=(4,))
    restoring.restore(bare, tmp_path / "new")
    again = take(tmp_path / "new", tmp_path / "again", studies=("quick",), bare=(cube.STUDY,))
    assert rows(again, but_times=False) == rows(bare, but_times=False)
    assert checkpoints_of(again) == checkpoints_of(bare) != checkpoints_of(whole)


def checkpoints_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("runs/*/checkpoints/*.safetensors"))


def test_weights_that_stayed_behind_are_no_finding_but_lost_and_damaged_ones_are(
    home: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    restoring.restore(take(home, tmp_path / "out", studies=("quick",), steps=(4, 6)), new)
    verdict = verify(new)
    assert verdict.findings == ()
    damaged, lost, *others = sorted(new.glob("runs/*/checkpoints/*.safetensors"))
    assert len(others) == 2
    assert verdict.checkpoints == 12
    damaged.write_bytes(b"")
    lost.unlink()
    found = verify(new).findings
    assert [line.split(": ")[0] for line in found] == [str(damaged), str(lost)]
    assert all(line.endswith("restore its snapshot anew, in another home") for line in found)


def test_a_bare_study_is_finished_but_grows_by_what_is_asked_of_new_arms(
    small: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    restoring.restore(take(small, tmp_path / "out", bare=("small",), steps=()), new)
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


def test_what_needs_predictions_that_stayed_behind_says_so(small: Path, tmp_path: Path) -> None:
    restoring.restore(take(small, tmp_path / "out", bare=("small",)), tmp_path / "new")
    unit_id = next((tmp_path / "new" / "parts" / "splices").iterdir()).stem
    with pytest.raises(InputError, match="restored from a bare snapshot"):
        predicted.by_cut([unit_id], tmp_path / "new")


def test_with_all_weights_predictions_that_nobody_kept_can_be_asked_for(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    fill(old, ONE_ARM)
    restoring.restore(take(old, tmp_path / "out"), new)
    fill(new, SMALL)
    with reading(new) as connection:
        found = connection.execute("SELECT count(*) FROM predictions").fetchall()
    assert found == [(2 * 3**2,)]
    assert rows(new)["splices"] == rows(old)["splices"]


def test_weights_that_stayed_behind_are_asked_for_in_one_line(small: Path, tmp_path: Path) -> None:
    restoring.restore(take(small, tmp_path / "out", steps=()), tmp_path / "new")
    folder = next((tmp_path / "new" / "runs").iterdir())
    with pytest.raises(InputError, match=r"left behind by .* run its study in another"):
        checkpoints.load(folder, 0)


def test_no_result_is_made_of_rounded_weights(small: Path, tmp_path: Path) -> None:
    out, new = take(small, tmp_path / "out", half=True), tmp_path / "new"
    rounded = json.loads((out / MANIFEST).read_text())["checkpoints_in_float16"]
    assert rounded > 0
    restoring.restore(out, new)
    folder = next((new / "runs").iterdir())
    note = restored.of(folder)
    assert note is not None
    assert len(note.rounded) == rounded
    with pytest.raises(InputError, match="rounded to float16 by the snapshot"):
        networks.network_of(load_run(new, folder.name), note.rounded[0], new)
    load_network(new, folder.name, note.rounded[0])
    for half in (True, False):
        again = take(new, tmp_path / f"again-{half}", half=half)
        assert checkpoints_of(again) == checkpoints_of(out)
        assert rows(again, but_times=False) == rows(out, but_times=False)
        assert json.loads((again / MANIFEST).read_text())["checkpoints_in_float16"] == rounded


def test_a_restored_run_is_not_trained_a_second_time(small: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    restoring.restore(take(small, tmp_path / "out", steps=()), new)
    run_id = next((new / "runs").iterdir()).name
    part_path(new, "metrics", run_id).unlink()
    with pytest.raises(InputError, match="would stand beside those of another training"):
        train(load_run(new, run_id), new)


def test_a_control_whose_other_run_was_left_out_is_not_finished(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    asked = '\n[[analyses]]\nkind = "controls"\ncontrols = ["other_seed"]\ncuts = ["layer1"]\n'
    asked += 'evaluations = [{ split = "test", n = 40 }]\n'
    other = ONE_ARM.replace('"small"', '"other"') + asked
    fill(old, ONE_ARM)
    fill(old, other)
    restoring.restore(take(old, tmp_path / "out", studies=("small",)), new)
    assert not list(new.glob("parts/controls/*"))
    assert verify(new).findings == ()
    planned = planning.plan(study.parse(other, "other.toml", new), new)
    assert {unit.kind for unit in planned.waiting} == {"metrics", "controls"}


def test_a_home_that_holds_something_is_refused(home: Path, whole: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(home, tmp_path / "home"))
    before = listing(own)
    with pytest.raises(InputError, match="expected a new home, got one that holds something"):
        restoring.restore(whole, own)
    assert listing(own) == before
    (tmp_path / "empty").mkdir()
    assert restoring.restore(whole, tmp_path / "empty").studies == 2


def test_a_restore_that_fails_leaves_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(restoring, "write_part", full)
    with pytest.raises(OSError, match="No space left"):
        restoring.restore(whole, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_images_and_told_rates_come_back(small: Path, tmp_path: Path) -> None:
    own, new = Path(shutil.copytree(small, tmp_path / "home")), tmp_path / "new"
    run_id = next((own / "runs").iterdir()).name
    learning_rates.save(own / "runs" / run_id, [(0, 0.25)])
    out = take(own, tmp_path / "out")
    restoring.restore(out, new)
    assert learning_rates.load(new / "runs" / run_id) == [(0, 0.25)]
    assert listing(new / "data") == listing(out / "data") != {}


def test_a_snapshot_of_an_older_schema_is_brought_up_to_date(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = tmp_path / f"{len(connections.MIGRATIONS) + 1:04d}_extra.sql"
    extra.write_text("ALTER TABLE base.metrics ADD COLUMN extra INTEGER DEFAULT 7;")
    monkeypatch.setattr(connections, "MIGRATIONS", [*connections.MIGRATIONS, extra])
    before = listing(whole)
    restoring.restore(whole, tmp_path / "new")
    assert listing(whole) == before
    with reading(tmp_path / "new") as connection:
        found = connection.execute("SELECT DISTINCT extra FROM base.metrics").fetchall()
    assert found == [(7,)]


def test_what_is_no_snapshot_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a snapshot.*found no snapshot\.json"):
        restoring.restore(home, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_altered_snapshot_is_refused(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    with database_path(out).open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="expected the bytes of the manifest"):
        restoring.restore(out, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_home_inside_the_snapshot_is_refused(whole: Path) -> None:
    before = listing(whole)
    with pytest.raises(InputError, match="expected a home outside the snapshot"):
        restoring.restore(whole, whole / "home")
    assert listing(whole) == before


def test_a_place_that_cannot_be_written_is_one_line(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a place for a home, got: Not a directory"):
        restoring.restore(whole, tmp_path / "file" / "new")


@pytest.mark.parametrize("name", ["../../../outside", "..", ""])
@pytest.mark.parametrize("kind", ["metrics", "splices"])
def test_a_name_that_leads_out_of_the_home_is_refused(
    whole: Path, tmp_path: Path, kind: str, name: str
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    with writing_file(database_path(out)) as connection:
        chosen = f"(SELECT min(unit_id) FROM base.units WHERE kind = '{kind}')"
        for table in (kind, "units"):
            connection.execute(
                f"UPDATE base.{table} SET unit_id = '{name}' WHERE unit_id = {chosen}"
            )
    (out / MANIFEST).unlink()
    write_json(out / MANIFEST, {"files": manifest.listing(out)})
    with pytest.raises(InputError, match="expected a name without folders"):
        restoring.restore(out, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_metadata_of_a_part_is_what_it_was(small: Path, tmp_path: Path) -> None:
    restoring.restore(take(small, tmp_path / "out"), tmp_path / "new")
    for name in sorted(parts(small)):
        if name.startswith(("parts/studies/", "parts/failures/")):
            continue
        was, now = (pq.read_schema(each / name).metadata for each in (small, tmp_path / "new"))
        assert json.loads(now[METADATA_KEY]) == json.loads(was[METADATA_KEY]), name


def test_the_command_says_what_came(whole: Path, home: Path, tmp_path: Path) -> None:
    done = featdyn(tmp_path / "new", "restore", str(whole))
    assert done.returncode == 0, done.stderr
    count = f"{len(parts(home)):,} parts"
    assert count in done.stdout.replace("\n", " ")
    assert_refused(featdyn(tmp_path / "new", "restore", str(whole)), "expected a new home")
    assert_refused(featdyn(tmp_path / "other", "restore", str(home)), str(home), "a snapshot")
