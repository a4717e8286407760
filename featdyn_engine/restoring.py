"""``featdyn restore``: a home made of a snapshot's results, to go on from them.

A gallery outlives the machine that computed it: its studies can be grown, under a newer schema too,
without computing them anew. What a snapshot left behind stays behind: weights, and predictions for
each example.
"""

import json
import shutil
import struct
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from featdyn_engine import checkpoints, learning_rates, restored
from featdyn_engine import manifest as manifests
from featdyn_engine.domain import Checkpoint, InputError
from featdyn_engine.files import TEMPORARY_SUFFIX, write_json
from featdyn_engine.parts import write_part
from store import queries, results
from store.apart import parts
from store.connection import reading_file, refuse_newer_store, writing_file
from store.home import MANIFEST, database_path, refuse_to_write

BESIDE = ("config.json", learning_rates.FILE)


@dataclass(frozen=True)
class Restored:
    """How much came: studies, runs and parts."""

    studies: int
    runs: int
    parts: int


def restore(snapshot: Path, home: Path) -> Restored:
    """Make a home of a snapshot's studies, runs and results, whole or not at all.

    The home is a new one: rows of a run that was trained here too, to other last digits, would
    stand beside those of its twin. Raises InputError for a folder that is no sound snapshot, and a
    home that isn't new; StoreError for a snapshot of a newer schema, and where nothing is written.
    """
    refuse_to_write(home, f"featdyn restore {snapshot}")
    _refuse_unsound(snapshot)
    _refuse_old(home, snapshot)
    fresh = home.with_name(f".{home.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with _refusing(home):
            fresh.mkdir(parents=True)
        with _current(database_path(snapshot), fresh) as database:
            runs = _restore_runs(snapshot, fresh, database)
            kinds = list(_restore_parts(fresh, database))
        if (snapshot / "data").is_dir():
            shutil.copytree(snapshot / "data", fresh / "data")
        results.rebuild(fresh)
        with _refusing(home):
            if home.exists():
                home.rmdir()
            fresh.rename(home)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Restored(kinds.count("studies"), runs, len(kinds))


@contextmanager
def _refusing(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        reason = problem.strerror
        raise InputError(f"{home}: expected a place for a home, got: {reason}") from problem


def _refuse_unsound(snapshot: Path) -> None:
    for name in (MANIFEST, database_path(snapshot).name):
        if not (snapshot / name).is_file():
            raise InputError(
                f"{snapshot}: expected a snapshot, as `featdyn snapshot` writes it, found no "
                f"{name} there"
            )
    for finding in manifests.findings(snapshot):
        raise InputError(finding)
    refuse_newer_store(database_path(snapshot))


def _refuse_old(home: Path, snapshot: Path) -> None:
    if snapshot.absolute() in (home.absolute(), *home.absolute().parents):
        raise InputError(f"{home}: expected a home outside the snapshot; name another folder")
    if home.exists() and any(home.iterdir()):
        raise InputError(
            f"{home}: expected a new home, got one that holds something; set FEATDYN_HOME to "
            "another folder"
        )


@contextmanager
def _current(database: Path, home: Path) -> Iterator[Path]:
    """Yield a copy of a snapshot's database, brought up to this version's schema."""
    copy = home / f"restored.duckdb{TEMPORARY_SUFFIX}"
    shutil.copyfile(database, copy)
    with writing_file(copy):
        pass
    yield copy
    copy.unlink()


def _restore_runs(snapshot: Path, home: Path, database: Path) -> int:
    """Bring finished runs: configuration, records of all checkpoints, weights that are there."""
    with reading_file(database) as connection:
        units = queries.stored_units(connection).iter_rows()
        run_ids = [unit_id for kind, unit_id in units if kind == "metrics"]
        rows = queries.checkpoints(connection, run_ids).drop("path")
    _refuse_paths(run_ids)
    records: dict[str, list[Checkpoint]] = {run_id: [] for run_id in run_ids}
    for run_id, *record in rows.iter_rows():
        records[run_id].append(Checkpoint(*record))
    for run_id, found in records.items():
        source, target = (checkpoints.run_folder(each, run_id) for each in (snapshot, home))
        target.mkdir(parents=True)
        for name in BESIDE:
            if (source / name).is_file():
                shutil.copyfile(source / name, target / name)
        restored.save(target, _restore_weights(source, target, found))
    return len(run_ids)


def _restore_weights(source: Path, target: Path, found: list[Checkpoint]) -> restored.Note:
    left, rounded = [], []
    for each in found:
        path = checkpoints.path_of(target, each.step)
        weights = checkpoints.path_of(source, each.step)
        write_json(path.with_suffix(".json"), asdict(each))
        if not weights.is_file():
            left.append(each.step)
            continue
        shutil.copyfile(weights, path)
        if _has_halves(path):
            rounded.append(each.step)
    return restored.Note(tuple(left), tuple(rounded))


def _has_halves(path: Path) -> bool:
    """Whether any tensor of a safetensors file is float16, by its header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return any(about.get("dtype") == "F16" for about in header.values())


def _restore_parts(home: Path, database: Path) -> Iterator[str]:
    """Write every part; yield the kind of each."""
    with reading_file(database) as connection:
        for part in parts(connection):
            _refuse_paths([part.unit_id])
            write_part(home, part.kind, part.unit_id, part.rows, part.about)
            yield part.kind


def _refuse_paths(names: Iterable[str]) -> None:
    """Raise InputError for a name that would lead out of its folder: it comes from a stranger."""
    for name in names:
        if name in ("", "..") or PurePath(name).name != name:
            raise InputError(f"expected a name without folders in a snapshot, got {name!r}")
