"""The pipeline: the same rows however it is run, and only the work that is missing."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from featdyn_engine import pipeline, planning, study
from featdyn_engine.checkpoints import run_folder
from featdyn_engine.data import evaluation
from featdyn_engine.domain import InputError, Job
from featdyn_engine.executors import local
from featdyn_engine.parts import part_path
from featdyn_engine.verification import verify
from store import connection as connections
from store.connection import StoreMissingError, reading
from store.home import database_path
from tests.cases import ONE_ARM, QUICK_STUDY, TINY_STUDY
from tests.conftest import Silent
from tests.store.rows import listing, rows

SMALL_STUDY = f"""{ONE_ARM}
[[arms]]
name = "random labels"
label_noise = 1.0
"""


class Recorder(Silent):
    """A watcher that remembers, and calls back when a job gets on or ends."""

    def __init__(
        self,
        on_advance: Callable[[Job], None] = lambda job: None,
        on_end: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.on_advance, self.on_end = on_advance, on_end
        self.ended: list[tuple[Job, str | None]] = []
        self.finished_before = -1

    def start(self, waiting: Sequence[object], finished: int) -> None:  # noqa: ARG002
        self.finished_before = finished

    def advance(self, job: Job, share: float) -> None:  # type: ignore[override]  # noqa: ARG002
        self.on_advance(job)

    def end(self, job: Job, error: str | None) -> None:  # type: ignore[override]
        self.ended.append((job, error))
        self.on_end(job)


def run(
    home: Path,
    text: str = TINY_STUDY,
    workers: int = 1,
    watcher: Silent | None = None,
    said: list[str] | None = None,
) -> pipeline.Outcome:
    say = (said if said is not None else []).append
    with pipeline.engine_lock(home, "tests"):
        plan = planning.plan(study.parse(text, "tiny.toml", home), home)
        return pipeline.run(plan, home, workers, watcher or Silent(), say)


def splice_parts(home: Path, run_id: str) -> list[Path]:
    units = planning.plan(study.parse(TINY_STUDY, "tiny.toml", home), home).units
    chosen = [unit for unit in units if unit.kind == "splices" and unit.run_id == run_id]
    return [part_path(home, unit.kind, unit.unit_id) for unit in chosen]


def run_ids(home: Path) -> list[str]:
    return sorted(folder.name for folder in (home / "runs").iterdir())


@pytest.fixture
def own_home(tiny_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_home, tmp_path / "home"))


@pytest.fixture(scope="module")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study, run by one worker. Tests must not write to it."""
    home = tmp_path_factory.mktemp("small")
    outcome = run(home, SMALL_STUDY, workers=1)
    assert (outcome.done, outcome.failures, outcome.findings) == (7, (), ())
    return home


def test_two_workers_give_the_rows_of_one(small_home: Path, tmp_path: Path) -> None:
    run(tmp_path, SMALL_STUDY, workers=2)
    assert rows(tmp_path) == rows(small_home)


def test_running_again_does_nothing_and_is_quick(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    written = {path: path.stat().st_mtime_ns for path in own_home.rglob("*.safetensors")}
    started = time.monotonic()
    watcher = Recorder()
    outcome = run(own_home, watcher=watcher)
    assert time.monotonic() - started < 5
    assert (outcome.done, outcome.failures, watcher.ended) == (0, (), [])
    assert watcher.finished_before == 45
    assert rows(own_home, but_times=False) == before
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_deleted_part_is_made_again_alone_with_equal_rows(own_home: Path) -> None:
    before = rows(own_home)
    part = splice_parts(own_home, run_ids(own_home)[0])[0]
    part.unlink()
    watcher = Recorder()
    outcome = run(own_home, watcher=watcher)
    assert outcome.done == 1
    assert [unit.unit_id for job, _ in watcher.ended for unit in job.units] == [part.stem]
    assert part.exists()
    assert rows(own_home) == before


def test_a_part_that_a_killed_engine_did_not_ingest_is_ingested(own_home: Path) -> None:
    before = rows(own_home)
    database_path(own_home).unlink()
    outcome = run(own_home)
    assert outcome.done == 0
    assert rows(own_home) == before


def test_a_companion_that_a_kill_left_alone_is_no_finding(small_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(small_home, tmp_path / "home"))
    cut_off = sorted((home / "parts" / "splices").iterdir())[0]
    assert part_path(home, "predictions", cut_off.stem).is_file()
    cut_off.unlink()
    database_path(home).unlink()
    # What the next command does first, before it is killed as well.
    pipeline.open_store(home, print)
    pipeline._catch_up(home)
    assert verify(home).findings == ()
    assert run(home, SMALL_STUDY).done == 1
    assert verify(home).findings == ()
    assert rows(home) == rows(small_home)


def test_two_studies_share_a_run(own_home: Path) -> None:
    alone = rows(own_home)
    other = TINY_STUDY.replace('name = "tiny"', 'name = "another"')
    one_arm = other.replace('[[arms]]\nname = "random labels"\nlabel_noise = 1.0\n', "")
    outcome = run(own_home, one_arm)
    shared = rows(own_home)
    assert outcome.done == 0
    for view in ("checkpoints", "evaluations", "metrics", "splices", "units"):
        assert shared[view] == alone[view], view
    assert len(shared["runs"]) == len(alone["runs"])
    assert len(shared["study_runs"]) == len(alone["study_runs"]) + 1


def test_an_edited_study_leaves_no_rows_of_a_run_that_no_view_describes(own_home: Path) -> None:
    edited = TINY_STUDY.replace('[[arms]]\nname = "random labels"\nlabel_noise = 1.0\n', "")
    run(own_home, edited)
    with reading(own_home) as connection:
        orphans = connection.execute(
            "SELECT DISTINCT run_id FROM splices WHERE run_id NOT IN (SELECT run_id FROM runs)"
        ).fetchall()
    assert orphans == []


def damage_a_checkpoint(home: Path, run_id: str, how: str) -> Callable[[], None]:
    path = run_folder(home, run_id) / "checkpoints" / "step-00000010.safetensors"
    whole = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "half":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        # Bytes of weights, exponents included, far behind the header: the file still loads.
        path.write_bytes(whole[:-4000] + bytes(4000))
    return lambda: path.write_bytes(whole) and None


@pytest.mark.parametrize("how", ["gone", "half", "changed"])
def test_a_failing_unit_is_named_and_the_others_finish(how: str, own_home: Path) -> None:
    before = rows(own_home)
    broken, sound = run_ids(own_home)
    bad, good = splice_parts(own_home, broken)[0], splice_parts(own_home, sound)[0]
    repair = damage_a_checkpoint(own_home, broken, how)
    bad.unlink()
    good.unlink()

    outcome = run(own_home)
    assert [unit.unit_id for unit, _ in outcome.failures] == [bad.stem]
    assert outcome.failures[0][1].reason.strip()
    assert outcome.done == 1
    assert good.exists()
    assert not bad.exists()

    repair()
    again = run(own_home)
    assert (again.done, again.failures) == (1, ())
    assert rows(own_home) == before


def test_units_whose_need_failed_are_not_started(small_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(small_home, tmp_path / "home"))
    run_id = run_ids(home)[0]
    shutil.rmtree(home / "parts" / "splices")
    part_path(home, "metrics", run_id).unlink()
    shutil.rmtree(run_folder(home, run_id))
    run_folder(home, run_id).write_text("a file where a folder has to be")

    outcome = run(home, SMALL_STUDY)
    reasons = {unit.kind: failure.reason for unit, failure in outcome.failures}
    assert {unit.run_id for unit, _ in outcome.failures} == {run_id}
    assert len(outcome.failures) == 3
    assert reasons["splices"] == "not started: a unit that it needs has failed"
    assert outcome.done == 2

    run_folder(home, run_id).unlink()
    assert run(home, SMALL_STUDY).failures == ()
    assert rows(home) == rows(small_home)


def kill_a_worker() -> None:
    pid = multiprocessing.active_children()[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_worker_is_reported_and_the_rest_is_finished(workers: int, own_home: Path) -> None:
    before = rows(own_home)
    for run_id in run_ids(own_home):
        for part in splice_parts(own_home, run_id)[:3]:
            part.unlink()
    jobs = planning.plan(study.parse(TINY_STUDY, "tiny.toml", own_home), own_home).jobs
    killed: list[Job] = []

    def kill_once(job: Job) -> None:
        if not killed:
            killed.append(job)
            kill_a_worker()

    outcome = run(own_home, workers=workers, watcher=Recorder(on_advance=kill_once))
    assert killed
    # Whole jobs are lost, one a worker at most.
    failed = {unit.unit_id for unit, _ in outcome.failures}
    lost = [job for job in jobs if failed & {unit.unit_id for unit in job.units}]
    assert 1 <= len(lost) <= workers
    assert failed == {unit.unit_id for job in lost for unit in job.units}
    assert all("worker process died" in failure.reason for _, failure in outcome.failures)
    assert outcome.done == 6 - len(outcome.failures)
    assert run(own_home, workers=workers).failures == ()
    assert rows(own_home) == before


def test_workers_killed_while_an_ingest_goes_on_are_reported(own_home: Path) -> None:
    # The caller works between two units that end; the pool may break behind its back.
    for part in splice_parts(own_home, run_ids(own_home)[0])[:5]:
        part.unlink()
    plan = planning.plan(study.parse(TINY_STUDY, "tiny.toml", own_home), own_home)
    ends = []
    running = local.run_jobs(plan.jobs, set(plan.finished), own_home, 2, 1, lambda job, share: None)
    for ended in running:
        if not ends:
            for process in multiprocessing.active_children():
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(1)
        ends.append(ended)
    found = [unit.unit_id for ended in ends for unit in ended.job.units]
    assert sorted(found) == sorted(unit.unit_id for unit in plan.waiting)
    assert len(found) == 5


def test_no_worker_outlives_a_run(own_home: Path) -> None:
    splice_parts(own_home, run_ids(own_home)[0])[0].unlink()
    run(own_home, workers=2)
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert multiprocessing.active_children() == []


def final_accuracies(home: Path) -> dict[str, float]:
    with reading(home) as connection:
        found = connection.execute(
            "SELECT run_id, accuracy FROM metrics "
            "WHERE split = 'train' AND mode = 'eval' AND step = 20"
        ).fetchall()
    return dict(found)


def test_must_fit_missed_is_a_finding_that_names_the_run(own_home: Path) -> None:
    final = final_accuracies(own_home)
    worst, best = sorted(final, key=lambda run_id: final[run_id])
    assert final[worst] < final[best]
    outcome = run(own_home, TINY_STUDY.replace("[data]", f"must_fit = {final[best]}\n[data]", 1))
    assert outcome.failures == ()
    assert len(outcome.findings) == 1
    finding = outcome.findings[0]
    assert f"(run {worst}): expected at least {final[best]:.1%} on its training set" in finding
    assert f"after 20 steps, got {final[worst]:.1%}" in finding
    assert "\n" not in finding


def test_must_fit_reached_is_no_finding(own_home: Path) -> None:
    asked = min(final_accuracies(own_home).values())
    outcome = run(own_home, TINY_STUDY.replace("[data]", f"must_fit = {asked}\n[data]", 1))
    assert outcome.findings == ()


@pytest.mark.parametrize("how", ["run", "rebuild"])
def test_the_engine_brings_an_older_store_up_to_date(
    how: str, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(own_home)
    extra = tmp_path / "9999_extra.sql"
    extra.write_text("CREATE TABLE base.extra (x INTEGER);")
    monkeypatch.setattr(connections, "MIGRATIONS", [*connections.MIGRATIONS, extra])
    if how == "run":
        run(own_home)
    else:
        pipeline.rebuild(own_home)
    assert rows(own_home) == before


def test_leftovers_of_a_killed_engine_are_removed(own_home: Path) -> None:
    before = listing(own_home).keys()
    run_id = run_ids(own_home)[0]
    for folder in ("parts/splices", f"runs/{run_id}", f"runs/{run_id}/checkpoints"):
        (own_home / folder / "step-00000001.safetensors.0f.partial").write_bytes(b"half")
    run(own_home)
    assert listing(own_home).keys() == before


def overwrite(database: Path) -> None:
    database.write_bytes(b"this is no database\n" * 1000)


def truncate(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


def truncate_to_the_header(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:100])


def overwrite_the_middle(database: Path) -> None:
    content = bytearray(database.read_bytes())
    middle = slice(len(content) // 4, 3 * len(content) // 4)
    content[middle] = bytes(byte ^ 0x5A for byte in content[middle])
    database.write_bytes(content)


DAMAGES = (overwrite, truncate, truncate_to_the_header, overwrite_the_middle)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_database_is_set_aside_made_anew_and_said(
    damage: Callable[[Path], None], own_home: Path
) -> None:
    before = rows(own_home, but_times=False)
    damage(database_path(own_home))
    damaged = database_path(own_home).read_bytes()
    said: list[str] = []
    outcome = run(own_home, said=said)
    assert (outcome.done, outcome.failures) == (0, ())
    assert rows(own_home, but_times=False) == before
    aside = list(own_home.glob("featdyn.duckdb.damaged-*"))
    assert len(aside) == 1
    assert aside[0].read_bytes() == damaged
    assert any(aside[0].name in line for line in said)
    assert any("anew from 86 parts" in line for line in said)


def test_an_empty_database_file_is_filled(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    database_path(own_home).write_bytes(b"")
    run(own_home)
    assert rows(own_home, but_times=False) == before


def test_a_log_that_cannot_be_replayed_is_set_aside_with_its_database(own_home: Path) -> None:
    before = rows(own_home, but_times=False)
    log = own_home / "featdyn.duckdb.wal"
    log.write_bytes(b"\xff" * 5000)
    run(own_home)
    assert rows(own_home, but_times=False) == before


def test_a_plan_counts_every_unit_once(tmp_path: Path) -> None:
    plan = planning.plan(study.parse(TINY_STUDY, "tiny.toml", tmp_path), tmp_path)
    kinds = [unit.kind for unit in plan.units]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "metrics": 2,
        "evaluations": 3,
        "splices": 40,
    }
    assert len({unit.unit_id for unit in plan.units}) == len(plan.units) == len(plan.waiting)


def test_every_need_of_a_unit_comes_before_it(tmp_path: Path) -> None:
    seen: set[str] = set()
    for unit in planning.plan(study.parse(TINY_STUDY, "tiny.toml", tmp_path), tmp_path).units:
        assert seen.issuperset(unit.needs), unit.label
        seen.add(unit.unit_id)


def test_a_plan_of_a_finished_study_waits_for_nothing(tiny_home: Path) -> None:
    plan = planning.plan(study.parse(TINY_STUDY, "tiny.toml", tiny_home), tiny_home)
    assert plan.waiting == ()
    assert len(plan.finished) == 45


def test_planning_writes_nothing(tmp_path: Path) -> None:
    plan = planning.plan(study.parse(SMALL_STUDY, "small.toml", tmp_path), tmp_path)
    planning.forecast(plan, tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_forecast_of_waiting_work_is_positive(small_home: Path, tmp_path: Path) -> None:
    plan = planning.plan(study.parse(SMALL_STUDY, "small.toml", tmp_path), tmp_path)
    expected = planning.forecast(plan, tmp_path, 1)
    written = sum(path.stat().st_size for path in small_home.rglob("*.safetensors"))
    # A unit of splices writes its cells, and what was predicted for each example.
    parts = sum(
        len(unit.spec.run.stored_steps) ** 2
        * (60 + evaluation.size(unit.spec.evaluation, tmp_path))
        for unit in plan.units
        if unit.kind == "splices"
    )
    assert expected.checkpoints == 6
    assert expected.seconds > 0
    # Beside its checkpoints each of the two runs has a resume point, and the one that replaces it:
    # weights and up to two moments, twice.
    states = written / expected.checkpoints * (expected.checkpoints + 2 * 6)
    assert expected.bytes == pytest.approx(states + parts, rel=0.3)


def test_a_forecast_of_a_finished_study_is_no_work(tiny_home: Path) -> None:
    expected = planning.forecast(
        planning.plan(study.parse(TINY_STUDY, "tiny.toml", tiny_home), tiny_home),
        tiny_home,
        workers=1,
    )
    assert (expected.checkpoints, expected.bytes, expected.seconds) == (20, 0, 0)


def test_a_second_engine_hears_who_holds_the_home(tmp_path: Path) -> None:
    with (
        pipeline.engine_lock(tmp_path, "featdyn run first.toml"),
        pytest.raises(InputError, match=r"`featdyn run first\.toml`") as caught,
        pipeline.engine_lock(tmp_path, "featdyn run second.toml"),
    ):
        raise AssertionError("two engines on one home")
    assert f"process {os.getpid()}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), pipeline.engine_lock(tmp_path, "first"):
        raise ZeroDivisionError
    with pipeline.engine_lock(tmp_path, "second"):
        assert json.loads((tmp_path / "engine.json").read_text())["command"] == "second"
    assert not (tmp_path / "engine.json").exists()


def test_status_names_the_engine_at_work(own_home: Path) -> None:
    with pipeline.engine_lock(own_home, "featdyn run it.toml"):
        lines = list(pipeline.status(own_home))
    assert any("at work: featdyn run it.toml" in line for line in lines)
    assert any("2 of 2 runs finished" in line for line in lines)


def test_status_does_not_name_an_engine_that_was_killed(own_home: Path) -> None:
    about = {"pid": 2**22 + 1, "command": "featdyn run it.toml", "since": "00:00:00"}
    (own_home / "engine.json").write_text(json.dumps(about))
    assert not any("at work" in line for line in pipeline.status(own_home))


def test_status_of_an_empty_home_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="run `featdyn demo`"):
        list(pipeline.status(tmp_path))


def test_rebuilding_an_empty_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a home with parts/, found none"):
        pipeline.rebuild(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rebuilding_is_refused_while_an_engine_works(own_home: Path) -> None:
    before = rows(own_home)
    with (
        pipeline.engine_lock(own_home, "featdyn run it.toml"),
        pytest.raises(InputError, match="no other engine"),
    ):
        pipeline.rebuild(own_home)
    assert rows(own_home) == before


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(InputError, match=r"--device: expected one of auto, .*cpu.*, got abacus"):
        planning.resolve_device("abacus")


def test_a_loss_that_is_not_finite_ends_its_run_alone(tmp_path: Path) -> None:
    exploding = QUICK_STUDY.replace(
        '[[arms]]\nname = "random labels"\nlabel_noise = 1.0',
        '[[arms]]\nname = "exploding"\ntraining = { lr = 1e30 }',
    )
    outcome = run(tmp_path, exploding)
    assert (outcome.done, len(outcome.failures)) == (1, 1)
    unit, failure = outcome.failures[0]
    assert "exploding" in unit.label
    assert failure.step is not None
    assert failure.step < 10
    assert "expected" in failure.reason
    assert "finite" in failure.reason
    assert failure.traceback == ""
    with reading(tmp_path) as connection:
        found = connection.execute(
            "SELECT arm, status, failed_step, failure FROM runs ORDER BY arm"
        ).fetchall()
    assert found[0] == ("exploding", "failed", failure.step, failure.reason)
    assert found[1] == ("true labels", "finished", None, None)
    # Asked again it fails again, at the same step; what the store says survives a rebuild.
    again = run(tmp_path, exploding)
    assert [each for _, each in again.failures] == [failure]
    before = rows(tmp_path)
    pipeline.rebuild(tmp_path)
    assert rows(tmp_path) == before
