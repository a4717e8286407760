"""Splices: the matrix (shallow step x deep step) of a run at one cut, on one evaluation set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
import torch
from annotated_types import MinLen

from featdyn_engine import checkpoints
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    STRICT,
    Count,
    Cut,
    EvalConfig,
    InputError,
    Norm,
    RunConfig,
    Seed,
    Severity,
    Split,
    Unit,
    identity,
)
from featdyn_engine.models import registry
from featdyn_engine.science import consistency
from featdyn_engine.science.splice import splice_matrix

TABLE = pa.schema(
    [
        ("run_id", pa.string()),
        ("shallow_run_id", pa.string()),
        ("control", pa.string()),
        ("replicate", pa.int32()),
        ("eval_id", pa.string()),
        ("split", pa.string()),
        ("corruption", pa.string()),
        ("severity", pa.int32()),
        ("cut", pa.string()),
        ("depth", pa.int32()),
        ("shallow_step", pa.int64()),
        ("deep_step", pa.int64()),
        ("norm", pa.string()),
        ("dtype", pa.string()),
        ("batch_size", pa.int32()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
        ("margin", pa.float64()),
        ("agreement", pa.float64()),
        ("chance", pa.float64()),
        ("retention", pa.float64()),
        ("half_width", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Which examples to score on: a split, all of it or a fixed random ``n``.

    ``corruption`` and ``severity`` (1 to 5) take the corrupted test images that
    ``corruption_folder`` holds.
    """

    __pydantic_config__: ClassVar = STRICT
    split: Split
    n: Count | None = None
    subset_seed: Seed = 0
    corruption: str = "none"
    severity: Severity = 0
    corruption_folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: cuts by name or all interior ones, evaluation sets, norm modes."""

    __pydantic_config__: ClassVar = STRICT
    cuts: Literal["all"] | Annotated[tuple[str, ...], MinLen(1)] = "all"
    evaluations: Annotated[tuple[Evaluation, ...], MinLen(1)] = (Evaluation(split="test"),)
    norm: Annotated[tuple[Norm, ...], MinLen(1)] = ("inherit",)
    batch_size: Count = 250


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one cut of one run on one evaluation set."""

    run: RunConfig
    evaluation: EvalConfig
    cut: Cut
    norm: Norm
    batch_size: int
    dtype: Literal["float32"] = "float32"


def evaluation_sets(settings: Settings, run: RunConfig, home: Path) -> list[EvalConfig]:
    """Name the sets of a run: train with the labels it was trained on, test with the true ones.

    Raises InputError for corrupted images that are not where they should be.
    """
    asked = [
        EvalConfig(
            data=run.data,
            split=wanted.split,
            n=wanted.n,
            subset_seed=wanted.subset_seed,
            labels="trained_on" if wanted.split == "train" else "true",
            label_noise=run.label_noise if wanted.split == "train" else 0.0,
            # Without noise its seed changes nothing: equal sets have equal ids.
            seed_labels=run.seeds.labels if wanted.split == "train" and run.label_noise else 0,
            corruption=wanted.corruption,
            severity=wanted.severity,
            corruption_folder=wanted.corruption_folder,
        )
        for wanted in settings.evaluations
    ]
    return [evaluation.identified(config, home) for config in asked]


def wanted_cuts(settings: Settings, run: RunConfig, home: Path) -> list[Cut]:
    """Cuts of the network that a study asks for. Raises InputError for a name it doesn't have."""
    known = registry.cuts(run.network, data_registry.load(run.data, home).task)
    if settings.cuts == "all":
        return known
    names = [cut.name for cut in known]
    for name in settings.cuts:
        if name not in names:
            raise InputError(
                f"cuts: expected names among {', '.join(names)} (the interior cuts of "
                f"{run.network.name}), got {name!r}"
            )
    return [cut for cut in known if cut.name in settings.cuts]


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit a cut, evaluation set and norm mode. Raises InputError (see wanted_cuts)."""
    planned = []
    depths = len(registry.cuts(run.network, data_registry.load(run.data, home).task)) + 1
    steps = len(run.stored_steps)
    for examples in evaluation_sets(settings, run, home):
        n = evaluation.size(examples, home)
        for norm in settings.norm:
            for cut in wanted_cuts(settings, run, home):
                spec = Spec(
                    run=run,
                    evaluation=examples,
                    cut=cut,
                    norm=norm,
                    batch_size=settings.batch_size,
                )
                share = cut.depth / depths
                planned.append(
                    Unit(
                        kind="splices",
                        unit_id=identity(("splices", spec)),
                        label=f"splices {cut.name} {_called(examples)}",
                        spec=spec,
                        run_id=run.run_id,
                        needs=(run.run_id, examples.eval_id),
                        cost=n * (steps * share + steps**2 * (1 - share)),
                    )
                )
    return planned


def _called(examples: EvalConfig) -> str:
    if examples.corruption == "none":
        return examples.split
    return f"{examples.split} {examples.corruption} {examples.severity}"


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> pa.Table:
    """Score every pair of the run's checkpoints at the cut: T^2 rows of TABLE."""
    run, cut = spec.run, spec.cut
    examples = evaluation.load(spec.evaluation, home)
    classes = len(examples.class_names)
    task = data_registry.load(run.data, home).task
    folder = checkpoints.run_folder(home, run.run_id)
    # As they are on disk: a run that ended early has fewer than were planned.
    steps = [each.step for each in checkpoints.listing(folder)]
    networks = []
    for step in steps:
        network = registry.build(run.network, task)
        network.load_state_dict(checkpoints.load(folder, step))
        networks.append(network.eval())
    matrix = splice_matrix(
        networks, cut.depth, examples.images, examples.labels, spec.batch_size, progress
    )
    label_shares = torch.bincount(examples.labels, minlength=classes).double() / matrix.n
    chance = consistency.chance(label_shares, matrix.predicted.double() / matrix.n)
    retention = consistency.retention(matrix.correct, matrix.n, chance)
    rows = []
    for i, shallow_step in enumerate(steps):
        for j, deep_step in enumerate(steps):
            correct = int(matrix.correct[i, j])
            kept = float(retention[i, j])
            rows.append(
                {
                    "run_id": run.run_id,
                    "shallow_run_id": run.run_id,
                    "control": "none",
                    "replicate": 0,
                    "eval_id": spec.evaluation.eval_id,
                    "split": spec.evaluation.split,
                    "corruption": spec.evaluation.corruption,
                    "severity": spec.evaluation.severity,
                    "cut": cut.name,
                    "depth": cut.depth,
                    "shallow_step": shallow_step,
                    "deep_step": deep_step,
                    "norm": spec.norm,
                    "dtype": spec.dtype,
                    "batch_size": spec.batch_size,
                    "n": matrix.n,
                    "correct": correct,
                    "accuracy": correct / matrix.n,
                    "loss": float(matrix.loss[i, j]),
                    "margin": float(matrix.margin[i, j]),
                    "agreement": float(matrix.agreement[i, j]),
                    "chance": float(chance[i, j]),
                    "retention": None if kept != kept else kept,
                    # Every example of the set was evaluated: nothing of it is left to estimate.
                    "half_width": 0.0,
                }
            )
    return pa.Table.from_pylist(rows, TABLE)
