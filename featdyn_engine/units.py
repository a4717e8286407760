"""What a worker does: one unit of work, from its specification to its Parquet part.

Needs no store: workers run where neither duckdb nor polars is installed.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from json import dumps
from pathlib import Path

import pyarrow as pa

from featdyn_engine import __version__
from featdyn_engine.analyses.registry import ANALYSES
from featdyn_engine.data import evaluation
from featdyn_engine.domain import EvalConfig, RunConfig, Unit
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


def training_unit(run: RunConfig, label: str, train_size: int) -> Unit:
    """Plan a training; a forward-backward pass costs about three forward passes."""
    cost = 3.0 * run.recipe.steps * min(run.recipe.batch_size, train_size)
    return Unit(
        kind="metrics", unit_id=run.run_id, label=label, spec=run, run_id=run.run_id, cost=cost
    )


def evaluation_unit(config: EvalConfig) -> Unit:
    """Plan the record of an evaluation set."""
    label = f"evaluation set {config.data.name} {config.split}"
    return Unit(kind="evaluations", unit_id=config.eval_id, label=label, spec=config)


def describe_evaluation(config: EvalConfig) -> pa.Table:
    """One row that says what an evaluation set is, with the hash of its pixels and labels."""
    examples = evaluation.load(config)
    row = {
        "eval_id": config.eval_id,
        "dataset": config.data.name,
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
            table = describe_evaluation(unit.spec)
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
