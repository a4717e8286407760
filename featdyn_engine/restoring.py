"""``featdyn restore``: the results of a snapshot as parts of a home again, to go on from them.

A gallery outlives the machine that computed it: its studies can be grown, under a newer schema too,
without computing them anew. What a snapshot left behind stays behind: weights, and predictions for
each example.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from featdyn_engine import checkpoints
from featdyn_engine import manifest as manifests
from featdyn_engine.domain import Checkpoint, InputError
from featdyn_engine.files import TEMPORARY_SUFFIX, replacing, write_json
from featdyn_engine.parts import part_path, write_part
from featdyn_engine.pipeline import catch_up, engine_lock, open_store
from store import queries
from store.apart import parts
from store.connection import reading_file, writing_file
from store.home import MANIFEST, database_path


@dataclass(frozen=True)
class Restored:
    """How many studies and parts came, and how many parts the home had and kept."""

    studies: int
    parts: int
    kept: int


def restore(snapshot: Path, home: Path, say: Callable[[str], None]) -> Restored:
    """Bring a snapshot's studies, runs and results into a home, which keeps what it has of its own.

    One that is killed goes on where it is called again. Raises InputError for a folder that is no
    sound snapshot, for a run that the home has with other weights, and where another engine holds
    the home; StoreError for a snapshot of a newer schema, and a home that is only read.
    """
    if not (snapshot / MANIFEST).is_file():
        raise InputError(
            f"{snapshot}: expected a snapshot, as `featdyn snapshot` writes it, "
            f"found no {MANIFEST} there"
        )
    for finding in manifests.findings(snapshot):
        raise InputError(finding)
    with engine_lock(home, f"featdyn restore {snapshot}"):
        with _current(database_path(snapshot), home) as database:
            records = _records(database)
            _refuse_other_trainings(home, records)
            _restore_runs(snapshot, home, records)
            restored = _restore_parts(home, database)
        open_store(home, say)
        catch_up(home)
    return restored


@contextmanager
def _current(database: Path, home: Path) -> Iterator[Path]:
    """Yield a copy of a snapshot's database, brought up to this version's schema."""
    copy = home / f"restored.duckdb{TEMPORARY_SUFFIX}"
    log = copy.with_name(f"{copy.name}.wal")
    log.unlink(missing_ok=True)  # of a copy whose migration was killed
    try:
        shutil.copyfile(database, copy)
        with writing_file(copy):
            pass
        yield copy
    finally:
        copy.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def _records(database: Path) -> list[tuple[str, Checkpoint]]:
    """List the run and the record of every checkpoint."""
    with reading_file(database) as connection:
        units = queries.stored_units(connection).iter_rows()
        run_ids = [unit_id for kind, unit_id in units if kind == "metrics"]
        rows = queries.checkpoints(connection, run_ids).drop("path")
    _refuse_paths(run_ids)
    return [(run_id, Checkpoint(*record)) for run_id, *record in rows.iter_rows()]


def _refuse_other_trainings(home: Path, records: Sequence[tuple[str, Checkpoint]]) -> None:
    """Raise InputError where a run of the home was trained a second time, to other last digits.

    Equal configurations give equal weights on one kind of processor alone; rows of two trainings
    must not stand under one run. Weights in float16 are not compared: their files differ in size.
    """
    for run_id, record in records:
        path = _record_path(home, run_id, record.step)
        if not path.exists():
            continue
        own = Checkpoint(**json.loads(path.read_text()))
        if own.bytes == record.bytes and own.sha256 != record.sha256:
            raise InputError(
                f"run {run_id}: expected the weights of step {record.step} that the home has, got "
                "others: the snapshot's run was trained on another machine, to other last digits; "
                "restore it into another home"
            )


def _record_path(home: Path, run_id: str, step: int) -> Path:
    return checkpoints.path_of(checkpoints.run_folder(home, run_id), step).with_suffix(".json")


def _restore_runs(snapshot: Path, home: Path, records: Sequence[tuple[str, Checkpoint]]) -> None:
    """Bring configurations, the records of all checkpoints, and the weights that are there."""
    for source in sorted((snapshot / "runs").rglob("*")):
        if source.is_file():
            _copy(source, home / source.relative_to(snapshot))
    for run_id, record in records:
        path = _record_path(home, run_id, record.step)
        if not path.exists():
            write_json(path, asdict(record))


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def _restore_parts(home: Path, database: Path) -> Restored:
    studies = written = kept = 0
    with reading_file(database) as connection:
        for part in parts(connection):
            _refuse_paths([part.unit_id])
            if part_path(home, part.kind, part.unit_id).exists():
                kept += 1
                continue
            write_part(home, part.kind, part.unit_id, part.rows, {**part.about, "restored": True})
            written += 1
            studies += part.kind == "studies"
    return Restored(studies, written, kept)


def _refuse_paths(names: Iterable[str]) -> None:
    """Raise InputError for a name that would lead out of its folder: it comes from a stranger."""
    for name in names:
        if PurePath(name).name != name:
            raise InputError(f"expected a name without folders in a snapshot, got {name!r}")
