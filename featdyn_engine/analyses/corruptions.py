"""Corruptions: accuracy of every checkpoint on corrupted test images, by kind and severity."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import pyarrow as pa
import torch
from annotated_types import Ge, Le, MinLen
from torch import nn

from featdyn_engine.analyses.asked import Evaluation, asked_set
from featdyn_engine.analyses.networks import own_norm, stored_networks
from featdyn_engine.data import evaluation
from featdyn_engine.data.corruptions.registry import defined
from featdyn_engine.domain import STRICT, Count, EvalConfig, RunConfig, Seed, Task, Unit
from featdyn_engine.identity import identity
from featdyn_engine.science.execution import SAMPLE, placed, prepared
from featdyn_engine.science.intervals import wilson
from featdyn_engine.science.splice import plain_predictions

TABLE = pa.schema(
    [
        ("run_id", pa.string()),
        ("eval_id", pa.string()),
        ("split", pa.string()),
        ("corruption", pa.string()),
        ("severity", pa.int32()),
        ("step", pa.int64()),
        ("norm", pa.string()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("accuracy", pa.float64()),
        ("accuracy_low", pa.float64()),
        ("accuracy_high", pa.float64()),
    ]
)
# Those that even grey images of 8 pixels have.
EVERYWHERE = tuple(defined(Task(channels=1, pixels=8, classes=2)))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: kinds and severities of corruption, on the test split.

    ``n`` and ``subset_seed`` choose a fixed random subset. Without ``corruption_folder``, which
    holds official files, the images are made here (C-like).
    """

    __pydantic_config__: ClassVar = STRICT
    kinds: Annotated[tuple[str, ...], MinLen(1)] = EVERYWHERE
    severities: Annotated[tuple[Annotated[int, Ge(1), Le(5)], ...], MinLen(1)] = (1, 2, 3, 4, 5)
    n: Count | None = None
    subset_seed: Seed = 0
    corruption_folder: str | None = None
    batch_size: Count = 250

    def of_kind(self, kind: str) -> tuple[Evaluation, ...]:
        """Name the sets of a kind, one a severity; ``none``: the clean one."""
        clean = Evaluation(split="test", n=self.n, subset_seed=self.subset_seed)
        if kind == "none":
            return (clean,)
        return tuple(
            replace(
                clean,
                corruption=kind,
                severity=severity,
                corruption_folder=self.corruption_folder,
            )
            for severity in dict.fromkeys(self.severities)
        )

    @property
    def every_kind(self) -> tuple[str, ...]:
        """The kinds asked for, and ``none``, which they are held against."""
        return tuple(dict.fromkeys(("none", *self.kinds)))

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """All sets that are asked for."""
        return tuple(each for kind in self.every_kind for each in self.of_kind(kind))


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one run on the severities of one kind, or on the clean set."""

    run: RunConfig
    evaluations: tuple[EvalConfig, ...]
    batch_size: int


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit a kind. Raises InputError for kinds that the images can't have."""
    planned = []
    for kind in settings.every_kind:
        sets = tuple(asked_set(wanted, run, home) for wanted in settings.of_kind(kind))
        spec = Spec(run=run, evaluations=sets, batch_size=settings.batch_size)
        images = sum(evaluation.size(each, home) for each in sets)
        planned.append(
            Unit(
                kind="corruptions",
                unit_id=identity(("corruptions", spec)),
                label="corruptions: clean" if kind == "none" else f"corruptions: {kind}",
                spec=spec,
                run_id=run.run_id,
                needs=(run.run_id, *(each.eval_id for each in sets)),
                cost=float(images * len(run.stored_steps)),
            )
        )
    return planned


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> pa.Table:
    """Score every checkpoint of the run, under its own statistics: a row a step and severity."""
    steps, networks = stored_networks(spec.run, home)
    device = torch.device(spec.run.device)
    norm = own_norm(networks[0])
    fast: list[nn.Sequential] = []
    rows = []
    for done, asked in enumerate(spec.evaluations):
        examples = evaluation.load(asked, home)
        images = placed(examples.images, device)
        # Proved on the first set's images, used on all.
        fast = fast or [prepared(network, images[:SAMPLE]) for network in networks]
        predicted = plain_predictions(fast, images, spec.batch_size)
        n = len(examples.labels)
        for step, correct in zip(steps, (predicted == examples.labels).sum(dim=1), strict=True):
            low, high = wilson(int(correct), n)
            rows.append(
                {
                    "run_id": spec.run.run_id,
                    "eval_id": asked.eval_id,
                    "split": asked.split,
                    "corruption": asked.corruption,
                    "severity": asked.severity,
                    "step": step,
                    "norm": norm,
                    "n": n,
                    "correct": int(correct),
                    "accuracy": int(correct) / n,
                    "accuracy_low": float(low),
                    "accuracy_high": float(high),
                }
            )
        progress((done + 1) / len(spec.evaluations))
    return pa.Table.from_pylist(rows, TABLE)
