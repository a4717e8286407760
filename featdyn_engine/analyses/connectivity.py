"""Connectivity: the loss along straight paths between a run's checkpoints."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import pyarrow as pa
import torch
from annotated_types import MinLen

from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Cuts,
    Evaluations,
    called,
    evaluation_sets,
    wanted_cuts,
)
from featdyn_engine.analyses.networks import RECALIBRATION_COST, stored_networks, training_batches
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    STRICT,
    Count,
    Cut,
    EvalConfig,
    InputError,
    RunConfig,
    Share,
    Step,
    Unit,
)
from featdyn_engine.identity import identity
from featdyn_engine.models import registry as model_registry
from featdyn_engine.science.connectivity import point_scores
from featdyn_engine.science.recalibration import batch_norms

TABLE = pa.schema(
    [
        ("run_id", pa.string()),
        ("eval_id", pa.string()),
        ("split", pa.string()),
        ("path", pa.string()),
        ("cut", pa.string()),
        ("depth", pa.int32()),
        ("shallow_step", pa.int64()),
        ("deep_step", pa.int64()),
        ("alpha", pa.float64()),
        ("norm", pa.string()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
    ]
)
# A path of the whole network has no cut.
WHOLE = Cut("none", 0)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: cuts, evaluation sets, and the points of the paths.

    ``alphas``: shares of theta_s, 0 and 1 among them. ``deep_steps``: the checkpoints t that paths
    start from; None: the last. ``shallow_steps``: the checkpoints s that they lead to; None: all
    (but t itself, where there is no path).
    """

    __pydantic_config__: ClassVar = STRICT
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    alphas: Annotated[tuple[Share, ...], MinLen(1)] = (0.0, 0.25, 0.5, 0.75, 1.0)
    deep_steps: Annotated[tuple[Step, ...], MinLen(1)] | None = None
    shallow_steps: Annotated[tuple[Step, ...], MinLen(1)] | None = None
    batch_size: Count = 250


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one run on one evaluation set, at all cuts asked for."""

    run: RunConfig
    evaluation: EvalConfig
    cuts: tuple[Cut, ...]
    alphas: tuple[float, ...]
    batch_size: int
    deep_steps: tuple[int, ...] | None = None
    shallow_steps: tuple[int, ...] | None = None


def _chosen(wanted: Sequence[int] | None, default: Sequence[int], name: str, run: RunConfig) -> int:
    """Count the steps asked for. Raises InputError for one that the run doesn't store."""
    for step in wanted or ():
        if step not in run.stored_steps:
            known = ", ".join(map(str, run.stored_steps))
            raise InputError(f"{name}: expected checkpoints among {known}, got {step}")
    return len(set(default if wanted is None else wanted))


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit an evaluation set.

    Raises InputError for a cut the network doesn't have, for steps that the run doesn't store,
    and for alphas without 0 or 1, from which a barrier is counted.
    """
    alphas = tuple(sorted(set(settings.alphas)))
    if not {0, 1} <= set(alphas):
        got = ", ".join(f"{alpha:g}" for alpha in alphas)
        raise InputError(f"alphas: expected 0 and 1 among them, the ends of a path, got {got}")
    deep = _chosen(settings.deep_steps, run.stored_steps[-1:], "deep_steps", run)
    shallow = _chosen(settings.shallow_steps, run.stored_steps, "shallow_steps", run)
    cuts = tuple(wanted_cuts(settings.cuts, run, home))
    task = data_registry.load(run.data, home).task
    blocks = len(model_registry.cuts(run.network, task)) + 1
    # One pass of the interpolated network, and one of the deep part behind each cut.
    passes = 1 + sum(1 - cut.depth / blocks for cut in cuts)
    planned = []
    for examples in evaluation_sets(settings, run, home):
        spec = Spec(
            run=run,
            evaluation=examples,
            cuts=cuts,
            alphas=alphas,
            batch_size=settings.batch_size,
            deep_steps=settings.deep_steps,
            shallow_steps=settings.shallow_steps,
        )
        points = deep * (1 + shallow * (len(alphas) - 1))
        size = evaluation.size(examples, home)
        planned.append(
            Unit(
                kind="connectivity",
                unit_id=identity(("connectivity", spec)),
                label=f"connectivity {called(examples)}",
                spec=spec,
                run_id=run.run_id,
                needs=(run.run_id, examples.eval_id),
                cost=points * passes * (size + RECALIBRATION_COST),
            )
        )
    return planned


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> pa.Table:
    """Score every point of every path: one row of TABLE each.

    A run that ended early has none for checkpoints that it never reached. At alpha 0 every path
    from t is at network t itself, which is scored once.
    """
    examples = evaluation.load(spec.evaluation, home)
    device = torch.device(spec.run.device)
    steps, networks = stored_networks(spec.run, home)
    by_step = dict(zip(steps, networks, strict=True))
    norm = "recalibrate" if batch_norms(networks[0]) else "none"
    training = training_batches(spec.run, home) if norm == "recalibrate" else []
    scored = (examples.images.to(device), examples.labels, training, spec.batch_size)
    depths = [cut.depth for cut in spec.cuts]
    pairs = [
        (s, t)
        for t in (steps[-1:] if spec.deep_steps is None else spec.deep_steps)
        for s in (steps if spec.shallow_steps is None else spec.shallow_steps)
        if s != t and s in by_step and t in by_step
    ]
    starts = {}
    for t in {t for _, t in pairs}:
        starts[t], _ = point_scores(by_step[t], by_step[t], 0.0, [], *scored)
    rows = []
    for done, (s, t) in enumerate(pairs, start=1):
        for alpha in spec.alphas:
            if alpha == 0:
                found = dict.fromkeys([WHOLE.depth, *depths], starts[t])
            else:
                whole, spliced = point_scores(by_step[s], by_step[t], alpha, depths, *scored)
                found = {WHOLE.depth: whole, **spliced}
            for cut in (WHOLE, *spec.cuts):
                measured = found[cut.depth]
                rows.append(
                    {
                        "run_id": spec.run.run_id,
                        "eval_id": spec.evaluation.eval_id,
                        "split": spec.evaluation.split,
                        "path": "parameters" if cut == WHOLE else "shallow_parameters",
                        "cut": cut.name,
                        "depth": cut.depth,
                        "shallow_step": s,
                        "deep_step": t,
                        "alpha": alpha,
                        "norm": norm,
                        "accuracy": measured.correct / measured.n,
                        **asdict(measured),
                    }
                )
        progress(done / len(pairs))
    return pa.Table.from_pylist(rows, TABLE)
