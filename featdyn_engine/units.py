"""What a worker does: one unit of work, from its specification to its Parquet part.

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
from featdyn_engine.analyses.registry import ANALYSES
from featdyn_engine.data import evaluation
from featdyn_engine.domain import EvalConfig, InputError, RunConfig, RunFailedError, Unit
from featdyn_engine.parts import write_part
from featdyn_engine.training import cpu_threads, train

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
    label = f"evaluation set {config.data.title or config.data.name} {config.split}"
    return Unit(kind="evaluations", unit_id=config.eval_id, label=label, spec=config)


def describe_evaluation(config: EvalConfig, home: Path) -> pa.Table:
    """One row that says what an evaluation set is, with the hash of its pixels and labels."""
    examples = evaluation.load(config, home)
    row = {
        "eval_id": config.eval_id,
        "dataset": config.data.title or config.data.name,
        "split": config.split,
        "n": len(examples.labels),
        "classes": len(examples.class_names),
        "subset_sha256": examples.sha256,
        "labels": config.labels,
        "corruption": config.corruption,
        "severity": config.severity,
        "config": dumps(asdict(config), sort_keys=True),
    }
    return pa.Table.from_pylist([row], EVALUATIONS)


def perform(unit: Unit, home: Path, threads: int, progress: Callable[[float], None]) -> None:
    """Do a unit of work and write its part, with how and when in the part's metadata."""
    started = time.monotonic()
    with cpu_threads(threads):
        if unit.kind == "metrics":
            table = train(unit.spec, home, progress)
        elif unit.kind == "evaluations":
            table = describe_evaluation(unit.spec, home)
        else:
            table = ANALYSES[unit.kind].compute(unit.spec, home, progress)
    about = {
        "kind": unit.kind,
        "unit_id": unit.unit_id,
        "run_id": unit.run_id,
        "label": unit.label,
        "seconds": round(time.monotonic() - started, 3),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "featdyn": __version__,
            "torch": version("torch"),
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }
    write_part(home, unit.kind, unit.unit_id, table, about)


def attempt(
    unit: Unit, home: Path, threads: int, progress: Callable[[float], None]
) -> Failure | None:
    """Perform a unit; return why it failed, if it did."""
    try:
        perform(unit, home, threads, progress)
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
        last = traceback.format_exception_only(problem)[-1].strip()
        return Failure(last, traceback=traceback.format_exc())
    return None
