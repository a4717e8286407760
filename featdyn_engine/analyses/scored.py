"""Rows of scores: a run's cube, or a control's against it, by every weighting and set of pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from featdyn_engine.analyses.predicted import Cube, refuse_gaps
from featdyn_engine.randomness import generator
from featdyn_engine.science.consistency import (
    PairKind,
    Pairs,
    cumulative_learning_rate,
    first_decay,
    pair_weights,
)
from featdyn_engine.science.scores import Estimate, bootstrap

KINDS: tuple[PairKind, ...] = ("all", "final", "before_decay", "after_decay")


class Control(NamedTuple):
    """The ``splices`` units of one control; ``branch_step`` is that of a twin, else None."""

    name: str
    replicate: int
    branch_step: int | None
    unit_ids: tuple[str, ...]


@dataclass(frozen=True)
class Recorded:
    """A control with its cube at one cut."""

    control: Control
    cube: Cube


@dataclass(frozen=True)
class Bootstrap:
    """What all scores of a unit share. targets: int64 (N,), labels of 0 to ``classes`` - 1.

    rates: learning rates of all updates, float64.
    """

    rates: Tensor
    targets: Tensor
    classes: int
    resamples: int
    seed: int


@dataclass(frozen=True)
class _Wanted:
    """One score: how it is weighed, over which pairs, (G, G) weights or None if refused."""

    weighting: str
    pairs: PairKind
    checkpoints: int
    weights: Tensor | None


def score_rows(
    setting: Bootstrap, cube: Cube, null: Recorded | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the run itself, or of a control over the pairs that the control has.

    Weights are those of the grid of these pairs, for the run and the control alike: a control on
    fewer checkpoints is compared with the run on the same ones. No rows before and after a decay
    that there isn't; a refused score is None. Raises InputError for a control that lacks a pair.
    """
    own_steps = cube.grid()
    control = Control("none", 0, None, ()) if null is None else null.control
    steps = own_steps if null is None else [s for s in null.cube.grid() if s in own_steps]
    wanted = _wanted(setting.rates, steps, own_steps[-1], control.branch_step)
    weights = [each.weights for each in wanted if each.weights is not None]
    found = None
    if weights:
        predicted, there = cube.on(steps)
        needed = torch.stack(weights).ne(0).any(dim=0)
        of_control = None
        if null is not None:
            of_control, present = null.cube.on(steps)
            refuse_gaps(f"control {control.name}", present, needed)
        found = bootstrap(
            predicted,
            setting.targets,
            setting.classes,
            torch.stack(weights),
            setting.resamples,
            # Of the seed alone: every cut and control is scored on the same draws.
            generator("consistency bootstrap", setting.seed),
            of_control,
            # The opposite pairs are no part of a score: a cube may lack them.
            asymmetry=null is None and bool(there[needed.T].all()),
        )
    place = 0
    for each in wanted:
        row = {
            "control": control.name,
            "replicate": control.replicate,
            "weighting": each.weighting,
            "pairs": each.pairs,
            "checkpoints": each.checkpoints,
        }
        if found is None or each.weights is None:
            yield from (row | {"measure": measure} for measure in ("accuracy", "agreement"))
            continue
        for measure, score, excess, asymmetry in (
            ("accuracy", found.accuracy, found.accuracy_excess, found.accuracy_asymmetry),
            ("agreement", found.agreement, found.agreement_excess, found.agreement_asymmetry),
        ):
            columns = _limits("score", score, place)
            if excess is not None:
                columns |= _limits("excess", excess, place)
            if asymmetry is not None:
                columns |= _limits("asymmetry", asymmetry, place)
            yield row | {"measure": measure} | columns
        place += 1


def _wanted(
    rates: Tensor, steps: Sequence[int], total: int, branch_step: int | None
) -> list[_Wanted]:
    # A run that ended early has fewer updates than were planned.
    rates = rates[:total]
    axes = {
        "learning_rate": cumulative_learning_rate(rates, steps),
        "steps": torch.tensor(steps, dtype=torch.float64),
    }
    decay = first_decay(rates)
    wanted = []
    for kind in KINDS if decay is not None else KINDS[:2]:
        pairs = Pairs(kind, total, decay, branch_step)
        count = int(pairs.checkpoints(steps).sum())
        for weighting, axis in axes.items():
            wanted.append(_Wanted(weighting, kind, count, pair_weights(pairs, steps, axis)))
    return wanted


def _limits(name: str, estimate: Estimate, place: int) -> dict[str, float | None]:
    """Three columns of a score; NULL where it was refused: SQL would count a NaN as a number."""
    values = {
        name: float(estimate.value[place]),
        f"{name}_low": float(estimate.low[place]),
        f"{name}_high": float(estimate.high[place]),
    }
    return {key: None if value != value else value for key, value in values.items()}
