"""What every analysis can be asked for: evaluation sets, cuts, normalisation modes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np
from annotated_types import MinLen

from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    STRICT,
    Count,
    Cut,
    DataConfig,
    EvalConfig,
    InputError,
    Norm,
    RunConfig,
    Seed,
    Severity,
    Split,
)
from featdyn_engine.models import registry

Cuts = Literal["all"] | Annotated[tuple[str, ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Which examples to score on: a split, all of it or a fixed random ``n``.

    ``corruption`` and ``severity`` (1 to 5) take the corrupted test images that
    ``corruption_folder`` holds; ``data`` (its name, folder and title) another data set, of which
    the classes that both have are taken, against their true labels.
    """

    __pydantic_config__: ClassVar = STRICT
    split: Split
    n: Count | None = None
    subset_seed: Seed = 0
    corruption: str = "none"
    severity: Severity = 0
    corruption_folder: str | None = None
    data: DataConfig | None = None


Evaluations = Annotated[tuple[Evaluation, ...], MinLen(1)]
TEST_SPLIT = (Evaluation(split="test"),)


class HasEvaluations(Protocol):
    """Settings of an analysis of networks."""

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The sets that a study asks for."""


def evaluation_sets(settings: HasEvaluations, run: RunConfig, home: Path) -> list[EvalConfig]:
    """Name the sets of a run: train with the labels it was trained on, test with the true ones.

    Raises InputError for corrupted images that are not where they should be.
    """
    return [asked_set(wanted, run, home) for wanted in settings.evaluations]


def asked_set(wanted: Evaluation, run: RunConfig, home: Path) -> EvalConfig:
    """Name one set of a run; see ``evaluation_sets``."""
    trained_on = wanted.split == "train" and wanted.data is None
    config = EvalConfig(
        data=run.data,
        split=wanted.split,
        n=wanted.n,
        subset_seed=wanted.subset_seed,
        labels="trained_on" if trained_on else "true",
        label_noise=run.label_noise if trained_on else 0.0,
        # Without noise its seed changes nothing: equal sets have equal ids.
        seed_labels=run.seeds.labels if trained_on and run.label_noise else 0,
        corruption=wanted.corruption,
        severity=wanted.severity,
        corruption_folder=wanted.corruption_folder,
        other=wanted.data,
    )
    return evaluation.identified(config, home)


def wanted_cuts(cuts: Cuts, run: RunConfig, home: Path) -> list[Cut]:
    """Cuts of the network that a study asks for. Raises InputError for a name it doesn't have."""
    known = registry.cuts(run.network, data_registry.load(run.data, home).task)
    if cuts == "all":
        return known
    names = [cut.name for cut in known]
    for name in cuts:
        if name not in names:
            raise InputError(
                f"cuts: expected names among {', '.join(names)} (the interior cuts of "
                f"{run.network.name}), got {name!r}"
            )
    return [cut for cut in known if cut.name in cuts]


def wanted_steps(steps: Sequence[int], run: RunConfig, kind: str) -> tuple[int, ...]:
    """Return the checkpoints that a study names, each once, in order.

    Raises InputError for a step that the run doesn't store.
    """
    stored = run.stored_steps
    for step in steps:
        if step not in stored:
            raise InputError(
                f"{kind}.steps: expected checkpoints among {', '.join(map(str, stored))}, got "
                f"{step}; name stored steps, or leave steps out"
            )
    return tuple(sorted(set(steps)))


def spread_out(steps: Sequence[int], count: int) -> tuple[int, ...]:
    """Return ``count`` of the steps, evenly spread over their list, or all where there are fewer.

    Both ends are among them; a ``count`` of 1 gives the first.
    """
    places = np.linspace(0, len(steps) - 1, min(count, len(steps))).round().astype(int)
    return tuple(steps[place] for place in dict.fromkeys(places.tolist()))


def norms(wanted: Sequence[Norm], run: RunConfig, home: Path) -> list[Norm]:
    """Modes that a network has: those asked for, or ``none`` alone without BatchNorm.

    Raises InputError for ``none`` on a network with BatchNorm.
    """
    task = data_registry.load(run.data, home).task
    if not registry.has_batch_norm(run.network, task):
        return ["none"]
    if "none" in wanted:
        raise InputError(
            f"norm: expected inherit, recalibrate or recalibrate_deep for {run.network.name} with "
            "BatchNorm, got none; that is for networks without it"
        )
    return list(dict.fromkeys(wanted))


def called(examples: EvalConfig) -> str:
    """Name a set in a label."""
    if examples.other is not None:
        return f"{examples.source.title or examples.source.name} {examples.split}"
    if examples.corruption == "none":
        return examples.split
    return f"{examples.split} {examples.corruption} {examples.severity}"
