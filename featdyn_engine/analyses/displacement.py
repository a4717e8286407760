"""Displacement: how far a run's features move between its checkpoints, at each cut."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import pyarrow as pa
import torch
from annotated_types import Ge
from torch import Tensor

from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Cuts,
    Evaluations,
    called,
    evaluation_sets,
    wanted_cuts,
)
from featdyn_engine.analyses.networks import own_norm, stored_networks
from featdyn_engine.analyses.rows import null
from featdyn_engine.data import evaluation
from featdyn_engine.domain import (
    STRICT,
    Count,
    Cut,
    EvalConfig,
    RunConfig,
    Unit,
)
from featdyn_engine.identity import NOT_IDENTITY, identity
from featdyn_engine.randomness import subset
from featdyn_engine.science.displacement import cka_distances, displacements

TABLE = pa.schema(
    [
        ("run_id", pa.string()),
        ("eval_id", pa.string()),
        ("split", pa.string()),
        ("cut", pa.string()),
        ("depth", pa.int32()),
        ("shallow_step", pa.int64()),
        ("deep_step", pa.int64()),
        ("norm", pa.string()),
        ("n", pa.int64()),
        ("displacement", pa.float64()),
        ("one_minus_cka", pa.float64()),
    ]
)
# Two passes over the images, and Gram matrices that take about as long as one more.
PASSES = 3.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: cuts by name or all interior ones, and evaluation sets.

    At most ``n`` examples of a set are used, the same for every run: time grows with its square.
    ``memory`` bounds the features and Gram matrices held, in MiB.
    """

    __pydantic_config__: ClassVar = STRICT
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    n: Annotated[int, Ge(2)] = 500
    batch_size: Count = 25
    memory: Annotated[int, Ge(16)] = 2048


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one run on one evaluation set, at all cuts asked for."""

    run: RunConfig
    evaluation: EvalConfig
    cuts: tuple[Cut, ...]
    n: int
    batch_size: int
    memory: int = field(default=2048, metadata=NOT_IDENTITY)


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit an evaluation set. Raises InputError for a cut the network doesn't have."""
    cuts = tuple(wanted_cuts(settings.cuts, run, home))
    planned = []
    for examples in evaluation_sets(settings, run, home):
        spec = Spec(
            run=run,
            evaluation=examples,
            cuts=cuts,
            n=settings.n,
            batch_size=settings.batch_size,
            memory=settings.memory,
        )
        n = min(settings.n, evaluation.size(examples, home))
        planned.append(
            Unit(
                kind="displacement",
                unit_id=identity(("displacement", spec)),
                label=f"displacement {called(examples)}",
                spec=spec,
                run_id=run.run_id,
                needs=(run.run_id, examples.eval_id),
                cost=PASSES * n * len(run.stored_steps),
            )
        )
    return planned


def chosen(images: Tensor, n: int) -> Tensor:
    """Return ``n`` of the images, always the same, in their order; all where there are fewer."""
    if n >= len(images):
        return images
    return images[subset("displacement examples", len(images), n)]


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> pa.Table:
    """Measure every ordered pair of the run's checkpoints at every cut: D T^2 rows of TABLE.

    A measure is null where the features of the later network are the same for every example.
    """
    examples = evaluation.load(spec.evaluation, home)
    steps, networks = stored_networks(spec.run, home)
    images = chosen(examples.images, spec.n).to(torch.device(spec.run.device))
    depths = [cut.depth for cut in spec.cuts]
    asked = (networks, depths, images, spec.batch_size, spec.memory * 2**20)
    moved = displacements(*asked, lambda share: progress(share / 2))
    turned = cka_distances(*asked, lambda share: progress((1 + share) / 2))
    norm = own_norm(networks[0])
    rows = [
        {
            "run_id": spec.run.run_id,
            "eval_id": spec.evaluation.eval_id,
            "split": spec.evaluation.split,
            "cut": cut.name,
            "depth": cut.depth,
            "shallow_step": shallow_step,
            "deep_step": deep_step,
            "norm": norm,
            "n": len(images),
            "displacement": null(float(moved[d, s, t])),
            "one_minus_cka": null(float(turned[d, s, t])),
        }
        for d, cut in enumerate(spec.cuts)
        for s, shallow_step in enumerate(steps)
        for t, deep_step in enumerate(steps)
    ]
    return pa.Table.from_pylist(rows, TABLE)
