"""What a worker does: a job, from the specifications of its units to their Parquet parts.

Needs no store: workers run where neither duckdb nor polars is installed.
"""

import errno
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from json import dumps
from pathlib import Path

import pyarrow as pa

from featdyn_engine import __version__
from featdyn_engine.analyses.registry import ANALYSES, TOGETHER, Tables
from featdyn_engine.data import evaluation
from featdyn_engine.domain import EvalConfig, InputError, Job, RunConfig, RunFailedError, Unit
from featdyn_engine.parts import write_part
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.scoring import score_recorded
from featdyn_engine.training import train

EVALUATIONS = pa.schema(
    [
        ("eval_id", pa.string()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("n", pa.int64()),
        ("classes", pa.int32()),
        ("subset_sha256", pa.string()),
        ("labels", pa.string()),
        ("corruption", pa.string()),
        ("severity", pa.int32()),
        ("class_names", pa.list_(pa.string())),
        ("targets", pa.list_(pa.uint8())),
        ("config", pa.string()),
    ]
)


@dataclass(frozen=True)
class Failure:
    """Why a unit has no part: one line, the step where a training failed, the traceback if any."""

    reason: str
    step: int | None = None
    traceback: str = ""


def training_unit(run: RunConfig, label: str, train_size: int) -> Unit:
    """Plan a training; a forward-backward pass costs about three forward passes."""
    trained = 3.0 * run.recipe.steps * min(run.recipe.batch_size, train_size)
    if run.recorded is not None:
        trained = 0.0
    scored = 2.0 * len(run.stored_steps) * min(run.recipe.monitor, train_size)
    return Unit(
        kind="metrics",
        unit_id=run.run_id,
        label=label,
        spec=run,
        run_id=run.run_id,
        needs=(run.parent.run_id,) if run.parent else (),
        cost=trained + scored,
    )


def evaluation_unit(config: EvalConfig) -> Unit:
    """Plan the record of an evaluation set."""
    label = f"evaluation set {config.source.title or config.source.name} {config.split}"
    return Unit(kind="evaluations", unit_id=config.eval_id, label=label, spec=config)


def describe_evaluation(config: EvalConfig, home: Path) -> pa.Table:
    """One row that says what an evaluation set is, with the hash of its pixels and labels."""
    examples = evaluation.load(config, home)
    row = {
        "eval_id": config.eval_id,
        "dataset": config.source.title or config.source.name,
        "split": config.split,
        "n": len(examples.labels),
        "classes": len(examples.class_names),
        "subset_sha256": examples.sha256,
        "labels": config.labels,
        "corruption": config.corruption,
        "severity": config.severity,
        "class_names": examples.class_names,
        # The label that each example is scored against, in the order of predictions.
        "targets": examples.labels.tolist() if len(examples.class_names) <= 256 else None,
        "config": dumps(asdict(config), sort_keys=True),
    }
    return pa.Table.from_pylist([row], EVALUATIONS)


def _results(job: Job, home: Path, progress: Callable[[float], None]) -> list[Tables]:
    """Do the work of a job: the tables of each of its units."""
    specs = [unit.spec for unit in job.units]
    if job.kind == "metrics":
        return [
            {job.kind: (train if spec.recorded is None else score_recorded)(spec, home, progress)}
            for spec in specs
        ]
    if job.kind == "evaluations":
        return [{job.kind: describe_evaluation(spec, home)} for spec in specs]
    if job.kind in TOGETHER:
        return TOGETHER[job.kind](specs, home, progress)
    tables = [ANALYSES[job.kind].compute(spec, home, progress) for spec in specs]
    return [table if isinstance(table, dict) else {job.kind: table} for table in tables]


def threads_of(job: Job, of_study: int) -> int:
    """Return the CPU threads of a job: those of its run, where it is about one.

    Not those of the study that asks: sums in another order have other last digits.
    """
    spec = job.units[0].spec
    if job.kind == "metrics":
        return int(spec.threads)
    return int(spec.run.threads) if job.kind in ANALYSES else of_study


def perform(job: Job, home: Path, threads: int, progress: Callable[[float], None]) -> None:
    """Do a job and write the parts of its units, with how and when in their metadata."""
    started = time.monotonic()
    with cpu_threads(threads_of(job, threads)):
        results = _results(job, home, progress)
    seconds = time.monotonic() - started
    for unit, tables in zip(job.units, results, strict=True):
        _write(unit, tables, home, seconds * unit.cost / job.cost)


def _write(unit: Unit, tables: Tables, home: Path, seconds: float) -> None:
    """Write the parts of a unit; that of its own kind, which says that it is done, comes last."""
    about = {
        "unit_id": unit.unit_id,
        "run_id": unit.run_id,
        "label": unit.label,
        "seconds": round(seconds, 3),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "featdyn": __version__,
            "torch": version("torch"),
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }
    for kind in sorted(tables, key=lambda kind: kind == unit.kind):
        write_part(home, kind, unit.unit_id, tables[kind], {"kind": kind, **about})


def attempt(
    job: Job, home: Path, threads: int, progress: Callable[[float], None]
) -> Failure | None:
    """Perform a job; return why it failed, if it did."""
    try:
        perform(job, home, threads, progress)
    except RunFailedError as problem:
        return Failure(str(problem), problem.step)
    except InputError as problem:
        return Failure(str(problem))
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return Failure(
                f"expected room on the disk of {home}, got none left; make room, then the same "
                "command goes on from here"
            )
        return failure_of(problem)
    return None


def failure_of(problem: Exception) -> Failure:
    """Describe an exception that nobody foresaw; call it where the exception is handled."""
    last = traceback.format_exception_only(problem)[-1].strip()
    return Failure(last, traceback=traceback.format_exc())
