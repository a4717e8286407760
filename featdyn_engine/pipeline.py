"""From a plan to a filled store: lock the home, run what is not finished, write."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa
from filelock import FileLock, Timeout

from featdyn_engine.domain import InputError, Job, Unit
from featdyn_engine.executors import local
from featdyn_engine.executors.schedule import Executor
from featdyn_engine.files import RECORDING_LOCK, TEMPORARY_SUFFIX, lock_is_free, write_json
from featdyn_engine.parts import part_path, parts_of, write_part
from featdyn_engine.planning import Plan
from featdyn_engine.study import Study
from featdyn_engine.units import Failure
from store import queries, results
from store.connection import reading, reading_file, refuse_newer_store
from store.home import database_path, refuse_to_write
from store.source import database_from_environment

STUDIES = pa.schema(
    [
        ("study", pa.string()),
        ("title", pa.string()),
        ("position", pa.int32()),
        ("arm", pa.string()),
        ("name", pa.string()),
        ("role", pa.string()),
        ("run_id", pa.string()),
        ("train_size", pa.int64()),
        ("parent_run_id", pa.string()),
        ("parent_step", pa.int64()),
        ("config", pa.string()),
        ("study_toml", pa.string()),
    ]
)
FAILURES = pa.schema(
    [
        ("kind", pa.string()),
        ("run_id", pa.string()),
        ("label", pa.string()),
        ("step", pa.int64()),
        ("reason", pa.string()),
        ("traceback", pa.string()),
        ("failed_at", pa.timestamp("us")),
    ]
)
INGEST_SECONDS = 2.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: units done now, failures (unit, reason), findings about the results."""

    done: int
    failures: tuple[tuple[Unit, Failure], ...]
    findings: tuple[str, ...]


class Watcher(Protocol):
    """Who shows how far the work is; see ``progress.py``."""

    def start(self, waiting: Sequence[Job], finished: int) -> None:
        """Hear what there is to do, and how many units were finished before."""

    def advance(self, job: Job, share: float) -> None:
        """Hear the share done, 0 to 1, of a running job."""

    def end(self, job: Job, error: str | None) -> None:
        """Hear that a job is over, with the reason if it failed."""


@contextmanager
def engine_lock(home: Path, command: str) -> Iterator[None]:
    """Hold a home for one engine; the lock goes with its process, however that ends.

    Raises InputError that says who holds it, StoreError for a store of a newer schema, a home that
    is only read (``store.home.refuse_to_write``); none leaves a trace in the home.
    """
    refuse_to_write(home, command)
    # A damaged store passes here: ``open_store`` sets it aside and makes it anew.
    with suppress(duckdb.Error):
        refuse_newer_store(database_path(home))
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        reason = problem.strerror
        raise InputError(f"{home}: expected a folder to write to, got: {reason}") from None
    holder = home / "engine.json"
    lock = FileLock(home / "engine.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        about = json.loads(holder.read_text()) if holder.exists() else {}
        raise InputError(
            f"{home}: expected no other engine at work here, but `{about.get('command', '?')}` "
            f"(process {about.get('pid', '?')}, since {about.get('since', '?')}) holds it; wait "
            "for it, stop it, or set FEATDYN_HOME to another folder"
        ) from None
    try:
        since = time.strftime("%H:%M:%S")
        write_json(holder, {"pid": os.getpid(), "command": command, "since": since})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _clear_leftovers(home: Path) -> None:
    """Remove temporary files of a killed engine; only the holder of the lock may.

    A run that is being recorded belongs to its recorder, who holds a lock of its own.
    """
    recording = {
        lock.parent for lock in home.glob(f"runs/*/{RECORDING_LOCK}") if not lock_is_free(lock)
    }
    for leftover in home.rglob(f"*{TEMPORARY_SUFFIX}"):
        if not recording.intersection(leftover.parents):
            leftover.unlink()


def _write_study(study: Study, home: Path) -> None:
    rows = [
        {
            "study": study.name,
            "title": study.title,
            "position": position,
            "arm": run.arm,
            "name": run.name,
            "role": run.role,
            "run_id": run.config.run_id,
            "train_size": run.train_size,
            "parent_run_id": run.config.parent.run_id if run.config.parent else None,
            "parent_step": run.config.branch.step if run.config.branch else None,
            "config": json.dumps(asdict(run.config), sort_keys=True),
            "study_toml": study.text,
        }
        for position, run in enumerate((*study.runs, *study.control_runs()))
    ]
    about = {"kind": "studies", "unit_id": study.name, "run_id": None}
    write_part(home, "studies", study.name, pa.Table.from_pylist(rows, STUDIES), about)


def _write_failure(unit: Unit, failure: Failure, home: Path) -> Path:
    row = {
        "kind": unit.kind,
        "run_id": unit.run_id,
        "label": unit.label,
        "step": failure.step,
        "reason": failure.reason,
        "traceback": failure.traceback or None,
        "failed_at": datetime.now(UTC).replace(tzinfo=None),
    }
    about = {"kind": "failures", "unit_id": unit.unit_id, "run_id": unit.run_id}
    write_part(home, "failures", unit.unit_id, pa.Table.from_pylist([row], FAILURES), about)
    return part_path(home, "failures", unit.unit_id)


def _catch_up(home: Path) -> None:
    """Bring parts into the store that a killed engine wrote but did not ingest."""
    known = results.ingested_units(home)
    parts = results.finished_parts(home)
    missing = [part for part in parts if (part.parent.name, part.stem) not in known]
    if missing:
        results.ingest(home, missing)


def open_store(home: Path, say: Callable[[str], None]) -> None:
    """Make sure that the store opens; a damaged database is set aside and made anew from files."""
    try:
        results.read_through(home)
    except duckdb.Error as problem:
        aside = results.set_aside(home)
        say(f"the database did not open ({str(problem).splitlines()[0]}); kept as {aside.name}")
        say(f"made anew from {results.rebuild(home)} parts")


def run(
    plan: Plan,
    home: Path,
    workers: int,
    watcher: Watcher,
    say: Callable[[str], None] = lambda line: None,
    run_jobs: Executor = local.run_jobs,
) -> Outcome:
    """Do what a plan still needs and bring it into the store. The caller holds ``engine_lock``.

    ``run_jobs`` says where the work is done; the store is filled by this process alone.
    Failed units leave the others alone; findings speak of finished runs that miss ``must_fit``.
    """
    open_store(home, say)
    _clear_leftovers(home)
    _write_study(plan.study, home)
    _catch_up(home)
    jobs = plan.jobs
    watcher.start(jobs, len(plan.units) - len(plan.waiting))
    failures: list[tuple[Unit, Failure]] = []
    fresh: list[Path] = []
    last_ingest = time.monotonic()
    threads = plan.study.threads
    finished = set(plan.finished)
    if jobs:
        for ended in run_jobs(jobs, finished, home, workers, threads, watcher.advance):
            watcher.end(ended.job, ended.failure.reason if ended.failure else None)
            for unit in ended.job.units:
                if ended.failure is None:
                    fresh += parts_of(home, unit)
                else:
                    failures.append((unit, ended.failure))
                    if ended.started:
                        # On a full disk the terminal alone hears of it.
                        with suppress(OSError):
                            fresh.append(_write_failure(unit, ended.failure, home))
            if time.monotonic() - last_ingest > INGEST_SECONDS:
                results.ingest(home, fresh)
                fresh, last_ingest = [], time.monotonic()
        if fresh:
            results.ingest(home, fresh)
    done = len(plan.waiting) - len(failures)
    return Outcome(done, tuple(failures), tuple(_unfitted(plan.study, home)))


def _unfitted(study: Study, home: Path) -> Iterator[str]:
    if study.must_fit is None:
        return
    names = {run.config.run_id: run.name for run in study.runs}
    with reading(home) as connection:
        final = queries.final_training_accuracy(connection, list(names))
    for run_id, step, accuracy in final.iter_rows():
        if accuracy < study.must_fit:
            yield (
                f"{names[run_id]} (run {run_id}): expected at least {study.must_fit:.1%} on its "
                f"training set after {step} steps, got {accuracy:.1%}; train longer"
            )


def rebuild(home: Path) -> int:
    """Make the database anew from files, under the engine's lock; return the number of parts.

    Raises InputError where the home has no parts, or another engine holds it; StoreError where the
    home is only read.
    """
    refuse_to_write(home, "featdyn rebuild")
    if not (home / "parts").is_dir():
        raise InputError(f"{home}: expected a home with parts/, found none; run `featdyn demo`")
    with engine_lock(home, "featdyn rebuild"):
        return results.rebuild(home)


def status(home: Path) -> Iterator[str]:
    """Lines that say what a home, or FEATDYN_STORE, holds.

    Raises StoreMissingError where there is no store.
    """
    database = database_from_environment(home)
    with reading_file(database) as connection:
        studies = queries.studies(connection)
        units = queries.unit_counts(connection)
    yield str(database)
    columns = ("study", "title", "runs", "finished")
    for study, title, runs, finished in studies.select(columns).iter_rows():
        yield f"study {study} ({title}): {finished} of {runs} runs finished"
    for kind, count, seconds in units.iter_rows():
        yield f"{kind:<12} {count:>6} units, {seconds:.0f} s of work"
    holder = home / "engine.json"
    # A killed engine leaves its card behind, but never its lock.
    if holder.exists() and not lock_is_free(home / "engine.lock"):
        about = json.loads(holder.read_text())
        yield f"at work: {about['command']} (process {about['pid']}, since {about['since']})"
