"""What ``featdyn verify`` finds: files and rows that are not what they should be."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from featdyn_engine import checkpoints, manifest, restored
from featdyn_engine.domain import RunConfig
from featdyn_engine.parts import METADATA_KEY, part_path
from store import queries, results
from store.connection import reading

REBUILD = "; run `featdyn rebuild`"


@dataclass(frozen=True)
class Verdict:
    """How much was looked at, and one line for each thing that is wrong."""

    runs: int
    checkpoints: int
    parts: int
    findings: tuple[str, ...]


def verify(home: Path) -> Verdict:
    """Check every checkpoint, part and row of a home; reads all, changes nothing.

    A snapshot is held to its manifest. Raises StoreMissingError where the home has no store.
    """
    if (home / manifest.NAME).exists():
        return _of_snapshot(home)
    begun = {path.parent for path in (home / "runs").glob("*/config.json")}
    finished = {home / "runs" / part.stem for part in (home / "parts").glob("metrics/*.parquet")}
    runs = sorted(begun | finished)
    parts = sorted((home / "parts").glob("*/*.parquet"))
    findings = [line for folder in runs for line in _of_run(home, folder)]
    findings += [line for part in parts for line in _of_part(part)]
    findings += _of_rows(home, parts)
    count = sum(len(list(folder.glob("checkpoints/step-*.json"))) for folder in runs)
    return Verdict(len(runs), count, len(parts), tuple(findings))


def _of_snapshot(home: Path) -> Verdict:
    found = [*manifest.findings(home)]
    runs, parts = list((home / "runs").glob("*")), list((home / "parts").glob("*/*.parquet"))
    count = len(list((home / "runs").glob("*/checkpoints/step-*.json")))
    return Verdict(len(runs), count, len(parts), tuple(found))


def _of_run(home: Path, folder: Path) -> Iterator[str]:
    try:
        config = RunConfig.from_json(json.loads((folder / "config.json").read_text()))
    except OSError as problem:
        yield f"{folder / 'config.json'}: expected a run's configuration, got: {problem.strerror}"
        return
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration) as problem:
        yield f"{folder / 'config.json'}: expected a run's configuration, got: {problem!r}"
        return
    if config.run_id != folder.name:
        yield (
            f"{folder / 'config.json'}: expected the configuration of run {folder.name}, got "
            f"that of {config.run_id}"
        )
    expected: tuple[int, ...] = ()
    if part_path(home, "metrics", folder.name).is_file():
        expected = config.stored_steps
        if config.recipe.stop_at is not None:
            # It may have ended at any epoch: then its last checkpoint says when.
            stored = [each.step for each in checkpoints.listing(folder)]
            expected = tuple(step for step in expected if step <= max(stored, default=0))
    remedy = "; restore its snapshot anew, in another home"
    if restored.of(folder) is None:
        part = f"parts/metrics/{folder.name}.parquet"
        remedy = f"; remove {folder} and {part}, then run its study again"
    for line in checkpoints.problems(folder, expected):
        yield line + remedy


def _of_part(part: Path) -> Iterator[str]:
    try:
        # Every row group is read: a file can be cut off behind its beginning.
        metadata = pq.read_table(part).schema.metadata or {}
        about = json.loads(metadata[METADATA_KEY])
        if about["unit_id"] != part.stem:
            yield f"{part}: expected the part of unit {part.stem}, got that of {about['unit_id']}"
    except (pa.ArrowException, OSError, KeyError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        yield f"{part}: expected a whole part, got: {reason}; delete it and run its study again"


def _units_of(parts: list[Path]) -> set[tuple[str, str]]:
    return {(part.parent.name, part.stem) for part in parts}


def _of_rows(home: Path, parts: list[Path]) -> Iterator[str]:
    with reading(home) as connection:
        stored = set(queries.stored_units(connection).iter_rows())
        orphans = queries.orphan_rows(connection)
    for table, unit_id, rows in orphans.iter_rows():
        yield f"{table}: expected rows of known units, got {rows} of {unit_id}{REBUILD}"
    for kind, unit_id in sorted(stored - _units_of(parts)):
        yield f"unit {kind} {unit_id}: expected its part in parts/, found none{REBUILD}"
    for kind, unit_id in sorted(_units_of(results.finished_parts(home)) - stored):
        yield f"part {kind}/{unit_id}: expected its rows in the store, found none{REBUILD}"
