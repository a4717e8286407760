"""Comparators of a splice: the last network, SWA of late checkpoints, and their ensemble."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import torch
from torch import Tensor, nn

from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Evaluations,
    called,
    evaluation_sets,
)
from featdyn_engine.analyses.networks import RECALIBRATION_COST, stored_networks, training_batches
from featdyn_engine.data import evaluation
from featdyn_engine.domain import (
    STRICT,
    Count,
    EvalConfig,
    RunConfig,
    Share,
    Unit,
)
from featdyn_engine.identity import identity
from featdyn_engine.recipes.interventions import average
from featdyn_engine.science.comparators import ensemble_logits, past, score
from featdyn_engine.science.execution import exact_arithmetic
from featdyn_engine.science.recalibration import batch_norms, recalibrate

TABLE = pa.schema(
    [
        ("run_id", pa.string()),
        ("eval_id", pa.string()),
        ("split", pa.string()),
        ("comparator", pa.string()),
        ("first_step", pa.int64()),
        ("last_step", pa.int64()),
        ("checkpoints", pa.int32()),
        ("norm", pa.string()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: evaluation sets, and the share of the steps to average from."""

    __pydantic_config__: ClassVar = STRICT
    evaluations: Evaluations = TEST_SPLIT
    from_share: Share = 0.5
    batch_size: Count = 250


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one run on one evaluation set."""

    run: RunConfig
    evaluation: EvalConfig
    from_share: float
    batch_size: int


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit an evaluation set."""
    late = len(past(run.stored_steps, settings.from_share))
    planned = []
    for examples in evaluation_sets(settings, run, home):
        spec = Spec(
            run=run,
            evaluation=examples,
            from_share=settings.from_share,
            batch_size=settings.batch_size,
        )
        planned.append(
            Unit(
                kind="comparators",
                unit_id=identity(("comparators", spec)),
                label=f"comparators {called(examples)}",
                spec=spec,
                run_id=run.run_id,
                needs=(run.run_id, examples.eval_id),
                cost=(late + 2) * evaluation.size(examples, home) + RECALIBRATION_COST,
            )
        )
    return planned


def averaged(networks: Sequence[nn.Sequential], training: Sequence[Tensor]) -> nn.Sequential:
    """Return a network with the mean of the weights, BatchNorm estimated on training images."""
    result = copy.deepcopy(networks[-1])
    result.load_state_dict(average(network.state_dict() for network in networks))
    with exact_arithmetic():
        recalibrate(result, training)
    return result


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> pa.Table:
    """Score the last network, the averaged one and the ensemble: three rows of TABLE."""
    examples = evaluation.load(spec.evaluation, home)
    images = examples.images.to(torch.device(spec.run.device))
    steps, networks = stored_networks(spec.run, home)
    late = past(steps, spec.from_share)
    networks = networks[-len(late) :]
    own, estimated = ("inherit", "recalibrate") if batch_norms(networks[0]) else ("none", "none")
    swa = averaged(networks, training_batches(spec.run, home))
    rows = []
    for name, members, used, norm in (
        ("last", networks[-1:], late[-1:], own),
        ("swa", [swa], late, estimated),
        ("ensemble", networks, late, own),
    ):
        found = score(ensemble_logits(members, images, spec.batch_size), examples.labels)
        rows.append(
            {
                "run_id": spec.run.run_id,
                "eval_id": spec.evaluation.eval_id,
                "split": spec.evaluation.split,
                "comparator": name,
                "first_step": used[0],
                "last_step": used[-1],
                "checkpoints": len(used),
                "norm": norm,
                "n": found.n,
                "correct": found.correct,
                "accuracy": found.correct / found.n,
                "loss": found.loss,
            }
        )
        progress(len(rows) / 3)
    return pa.Table.from_pylist(rows, TABLE)
