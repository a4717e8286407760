"""Divergences: distances between the laws of a run's features, each beside its permutation null."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Cuts,
    Evaluation,
    Evaluations,
    asked_set,
    called,
    evaluation_sets,
    spread_out,
    wanted_cuts,
    wanted_steps,
)
from featdyn_engine.analyses.networks import own_norm, stored_networks
from featdyn_engine.data import evaluation
from featdyn_engine.domain import (
    STRICT,
    Count,
    Cut,
    EvalConfig,
    InputError,
    RunConfig,
    Seed,
    Step,
    Unit,
)
from featdyn_engine.identity import identity
from featdyn_engine.randomness import generator, subset
from featdyn_engine.science.distances import Laws, Measured, distances
from featdyn_engine.science.features import pooled_features
from featdyn_engine.science.within_example import (
    Floats,
    Integers,
    paired_examples,
    regroupings,
    swaps,
)

TABLE = pa.schema(
    [
        ("run_id", pa.string()),
        ("eval_id", pa.string()),
        ("other_eval_id", pa.string()),
        ("split", pa.string()),
        ("cut", pa.string()),
        ("depth", pa.int32()),
        ("shallow_step", pa.int64()),
        ("deep_step", pa.int64()),
        ("norm", pa.string()),
        ("measure", pa.string()),
        ("q", pa.int32()),
        ("labelled", pa.bool_()),
        ("n", pa.int64()),
        ("other_n", pa.int64()),
        ("features", pa.int32()),
        ("permutations", pa.int32()),
        ("value", pa.float64()),
        ("null_mean", pa.float64()),
        ("null_high", pa.float64()),
        ("p", pa.float64()),
        ("excess", pa.float64()),
    ]
)
# Without steps in the study: as many checkpoints, evenly spread over the run's list of them.
CHECKPOINTS = 8
# Of one pair at one cut, in forward passes of an image: about 3 seconds at the default settings and
# 64 features, in which a ResNet-20 takes some 2,000 images of 32 pixels.
PAIR_COST = 2000.0
# Seeds of the folds and the directions are plain numbers to scikit-learn and POT.
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: cuts, evaluation sets, and the checkpoints to compare.

    Each pair of neighbours among the ``steps`` is compared, and each with the last; None: eight
    stored ones. ``other``: a second set, held against each at every one of them. At most ``n``
    examples of a set are used. Classifiers are refitted for every permutation, so they have fewer.
    """

    __pydantic_config__: ClassVar = STRICT
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    other: Evaluation | None = None
    steps: Annotated[tuple[Step, ...], MinLen(2)] | None = None
    n: Annotated[int, Ge(20)] = 300
    permutations: Annotated[int, Ge(19)] = 200
    classifier_permutations: Annotated[int, Ge(19)] = 39
    projections: Count = 50
    seed: Seed = 0
    batch_size: Count = 250


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one run on one evaluation set, at all cuts asked for."""

    run: RunConfig
    evaluation: EvalConfig
    other: EvalConfig | None
    cuts: tuple[Cut, ...]
    steps: tuple[int, ...]
    n: int
    permutations: int
    classifier_permutations: int
    projections: int
    seed: int
    batch_size: int


def pairs_of(steps: Sequence[int]) -> list[tuple[int, int]]:
    """Each pair (s, t) of neighbours and each of an earlier step with the last, once, in order."""
    neighbours = set(itertools.pairwise(steps))
    return sorted(neighbours | {(step, steps[-1]) for step in steps[:-1]})


def _wanted_steps(settings: Settings, run: RunConfig) -> tuple[int, ...]:
    if settings.steps is None:
        return spread_out(run.stored_steps, CHECKPOINTS)
    steps = wanted_steps(settings.steps, run, "divergences")
    if len(steps) < 2:
        raise InputError(f"steps: expected two different checkpoints, got {steps[0]} alone")
    return steps


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit an evaluation set; of it and ``other`` as many examples as the smaller has.

    Raises InputError for a cut the network doesn't have, steps that the run doesn't store, fewer
    than two of them, a set of fewer than 20 examples, and an ``other`` that is one of the sets.
    """
    cuts = tuple(wanted_cuts(settings.cuts, run, home))
    steps = _wanted_steps(settings, run)
    other = None if settings.other is None else asked_set(settings.other, run, home)
    planned = []
    for examples in evaluation_sets(settings, run, home):
        if other is not None and other.eval_id == examples.eval_id:
            raise InputError(
                "other: expected another set than those of evaluations, got the same; name another "
                "split or subset"
            )
        sets = [examples] if other is None else [examples, other]
        sizes = [min(settings.n, evaluation.size(each, home)) for each in sets]
        if min(sizes) < 20:
            raise InputError(
                f"evaluations: expected sets of 20 examples or more, got {min(sizes)}; take a "
                "larger n"
            )
        # Of two sets as many examples each: by the sizes alone a classifier could tell them apart.
        n = settings.n if other is None else min(sizes)
        spec = Spec(
            run=run,
            evaluation=examples,
            other=other,
            cuts=cuts,
            steps=steps,
            n=n,
            permutations=settings.permutations,
            classifier_permutations=settings.classifier_permutations,
            projections=settings.projections,
            seed=settings.seed,
            batch_size=settings.batch_size,
        )
        compared = len(pairs_of(steps)) + (0 if other is None else len(steps))
        planned.append(
            Unit(
                kind="divergences",
                unit_id=identity(("divergences", spec)),
                label=f"divergences {called(examples)}",
                spec=spec,
                run_id=run.run_id,
                needs=(run.run_id, *(each.eval_id for each in sets)),
                cost=len(steps) * min(sizes) * len(sets) + PAIR_COST * compared * len(cuts),
            )
        )
    return planned


def chosen(config: EvalConfig, n: int, home: Path) -> tuple[Tensor, Integers]:
    """Load at most ``n`` examples of a set, always the same: images (N, C, H, H), labels (N,)."""
    found = evaluation.load(config, home)
    kept = subset("divergences examples", len(found.images), n)
    return found.images[kept], found.labels[kept].numpy()


def features_at(
    network: nn.Sequential, images: Tensor, depths: Sequence[int], batch_size: int
) -> dict[int, Floats]:
    """Return the rows of all images behind the blocks at ``depths``: channel means, float64."""
    found, _ = pooled_features(network, depths, images, batch_size, 1)
    return {depth: rows.double().numpy() for depth, rows in found.items()}


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> pa.Table:
    """Measure every pair at every cut, and the other set at every step: rows of TABLE.

    A run that ended early has none for checkpoints that it never reached. Values are null where
    features don't vary, or vary in fewer than q directions.
    """
    device = torch.device(spec.run.device)
    stored = dict(zip(*stored_networks(spec.run, home), strict=True))
    steps = [step for step in spec.steps if step in stored]
    depths = [cut.depth for cut in spec.cuts]
    sets = [spec.evaluation] if spec.other is None else [spec.evaluation, spec.other]
    loaded = [chosen(config, spec.n, home) for config in sets]
    # By set, step and depth.
    rows_of = [
        {
            step: features_at(stored[step], images.to(device), depths, spec.batch_size)
            for step in steps
        }
        for images, _ in loaded
    ]
    labels = [each for _, each in loaded]
    sizes = [len(each) for each in labels]
    seed = spec.seed % LARGEST_SEED
    stream = generator("divergences permutations", spec.seed)
    within = Laws(
        examples=paired_examples(sizes[0]),
        labels=np.tile(labels[0], 2),
        groupings=swaps(sizes[0], spec.permutations, stream),
    )
    tasks: list[tuple[int, int, int, Laws]] = [(s, t, 0, within) for s, t in pairs_of(steps)]
    if spec.other is not None:
        between = Laws(
            examples=np.arange(sum(sizes)),
            labels=np.concatenate(labels),
            groupings=regroupings(sizes[0], sizes[1], spec.permutations, stream),
        )
        tasks += [(step, step, 1, between) for step in steps]
    norm = own_norm(next(iter(stored.values())))
    rows: list[dict[str, Any]] = []
    for done, (s, t, second_set, laws) in enumerate(tasks, start=1):
        for cut in spec.cuts:
            pooled = np.vstack([rows_of[0][s][cut.depth], rows_of[second_set][t][cut.depth]])
            key = {
                "run_id": spec.run.run_id,
                "eval_id": spec.evaluation.eval_id,
                "other_eval_id": sets[1].eval_id if second_set else "none",
                "split": spec.evaluation.split,
                "cut": cut.name,
                "depth": cut.depth,
                "shallow_step": s,
                "deep_step": t,
                "norm": norm,
                "n": sizes[0],
                "other_n": sizes[second_set],
                "features": pooled.shape[1],
            }
            found = distances(pooled, laws, spec.classifier_permutations, spec.projections, seed)
            rows += [key | _columns(each) for each in found]
        progress(done / len(tasks))
    return pa.Table.from_pylist(rows, TABLE)


def _columns(found: Measured) -> dict[str, Any]:
    """Columns of one measure; null where it has no value."""
    null = found.null
    return {
        "measure": found.measure,
        "q": found.q,
        "labelled": found.labelled,
        "permutations": found.permutations,
        "value": null and null.value,
        "null_mean": null and null.mean,
        "null_high": null and null.high,
        "p": null and null.p,
        "excess": null and null.excess,
    }
