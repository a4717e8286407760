"""Temporal consistency: scores of a run's cubes, their excess over controls, memory horizons.

No network runs here: the unit reads the predictions that ``splices`` units have stored.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import torch
from torch import Tensor

from featdyn_engine.analyses.predicted import Cube, by_cut, one_a_cut, read, refuse_gaps
from featdyn_engine.analyses.retained import retention_rows
from featdyn_engine.analyses.scored import Bootstrap, Control, Recorded, score_rows
from featdyn_engine.data import evaluation
from featdyn_engine.domain import (
    STRICT,
    Count,
    Cut,
    EvalConfig,
    InputError,
    Norm,
    RunConfig,
    Seed,
    Unit,
)
from featdyn_engine.identity import identity
from featdyn_engine.learning_rates import learning_rates
from featdyn_engine.science.consistency import memory_horizon

_OF = [
    ("run_id", pa.string()),
    ("eval_id", pa.string()),
    ("split", pa.string()),
    ("cut", pa.string()),
    ("depth", pa.int32()),
    ("norm", pa.string()),
    ("dtype", pa.string()),
]
TABLE = pa.schema(
    [
        *_OF,
        ("control", pa.string()),
        ("replicate", pa.int32()),
        ("measure", pa.string()),
        ("weighting", pa.string()),
        ("pairs", pa.string()),
        ("score", pa.float64()),
        ("score_low", pa.float64()),
        ("score_high", pa.float64()),
        ("excess", pa.float64()),
        ("excess_low", pa.float64()),
        ("excess_high", pa.float64()),
        ("asymmetry", pa.float64()),
        ("asymmetry_low", pa.float64()),
        ("asymmetry_high", pa.float64()),
        ("n", pa.int64()),
        ("checkpoints", pa.int32()),
        ("resamples", pa.int32()),
    ]
)
HORIZONS = pa.schema(
    [
        *_OF,
        ("deep_step", pa.int64()),
        ("eps", pa.float64()),
        ("horizon", pa.int64()),
        ("censored", pa.bool_()),
        ("n", pa.int64()),
    ]
)
RETENTIONS = pa.schema(
    [
        *_OF,
        ("control", pa.string()),
        ("replicate", pa.int32()),
        ("shallow_step", pa.int64()),
        ("deep_step", pa.int64()),
        ("retention", pa.float64()),
        ("retention_low", pa.float64()),
        ("retention_high", pa.float64()),
        ("n", pa.int64()),
    ]
)
EPS = (0.01, 0.05)
# What the cubes of one unit share: run_id, eval_id, norm, dtype.
_Place = tuple[str, str, str, str]
# Part of a unit's identity: it goes up when its rows say more, so that they are made anew.
VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: bootstrap resamples of the examples, and their seed."""

    __pydantic_config__: ClassVar = STRICT
    resamples: Count = 1000
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: every cut of a run on one evaluation set in one norm mode.

    ``main`` are the ``splices`` units of the run itself. Their parts of ``predictions`` are read.
    """

    run: RunConfig
    evaluation: EvalConfig
    norm: Norm
    dtype: str
    main: tuple[str, ...]
    controls: tuple[Control, ...] = ()
    resamples: int = 1000
    seed: int = 0


def units(settings: Settings, planned: Sequence[Unit]) -> list[Unit]:
    """Plan one unit an evaluation set, norm mode and dtype of the run's own ``splices`` units.

    Cubes that keep no predictions, or were refined only to a half-width, can't be scored; of
    cubes that differ in the batch size alone one is (``one_a_cut``). Raises InputError where none
    is left, and for twins of one run that leave it at different steps.
    """
    cubes: dict[_Place, list[Unit]] = {}
    for unit in planned:
        if unit.kind == "splices" and unit.companions:
            cubes.setdefault(_place(unit.spec), []).append(unit)
    if not cubes:
        raise InputError(
            "consistency: expected an analysis of kind 'splices' beside it that keeps predictions "
            "and evaluates every example (no half_width), got none; add it"
        )
    return [
        _unit(
            settings,
            one_a_cut(group),
            [unit for unit in planned if unit.kind == "controls" and _place(unit.spec) == place],
        )
        for place, group in cubes.items()
    ]


def _unit(settings: Settings, main: Sequence[Unit], controls: Iterable[Unit]) -> Unit:
    first = main[0].spec
    spec = Spec(
        run=first.run,
        evaluation=first.evaluation,
        norm=first.norm,
        dtype=first.dtype,
        main=tuple(unit.unit_id for unit in main),
        controls=_controls(controls, main),
        resamples=settings.resamples,
        seed=settings.seed,
    )
    needs = [*spec.main, *(each for control in spec.controls for each in control.unit_ids)]
    return Unit(
        kind="consistency",
        unit_id=identity(("consistency", VERSION, spec)),
        label=f"consistency {spec.evaluation.split} {spec.norm}",
        spec=spec,
        run_id=spec.run.run_id,
        needs=(spec.run.run_id, spec.evaluation.eval_id, *needs),
        companions=("horizons", "retentions"),
    )


def _controls(units: Iterable[Unit], main: Sequence[Unit]) -> tuple[Control, ...]:
    """Gather the units of each control of the cubes of ``main``.

    Raises InputError where a control's name and replicate stand for two branch steps.
    """
    found: dict[tuple[str, int], list[Unit]] = {}
    for unit in units:
        same = found.setdefault((unit.spec.control, unit.spec.replicate), [])
        same.append(unit)
        first, step = same[0].spec.branch_step, unit.spec.branch_step
        if step != first:
            raise InputError(
                f"consistency: expected one branch_at for the {unit.spec.control} controls of a "
                f"run, got branches at steps {first} and {step}; keep one"
            )
    return tuple(
        Control(
            name,
            replicate,
            same[0].spec.branch_step,
            tuple(unit.unit_id for unit in one_a_cut(same, like=main)),
        )
        for (name, replicate), same in found.items()
    )


def _place(spec: Any) -> _Place:
    return spec.run.run_id, spec.evaluation.eval_id, spec.norm, spec.dtype


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> dict[str, pa.Table]:
    """Score every cut: rows of TABLE as ``consistency``, and of its companions.

    Those of HORIZONS are ``horizons``, those of RETENTIONS ``retentions``. Raises InputError for
    parts that are missing, or lack cells that the scores need.
    """
    examples = evaluation.load(spec.evaluation, home)
    targets = examples.labels
    n = len(targets)
    rates = learning_rates(spec.run, home, spec.run.recipe.steps)
    setting = Bootstrap(
        torch.tensor(rates, dtype=torch.float64),
        targets,
        len(examples.class_names),
        spec.resamples,
        spec.seed,
    )
    main = by_cut(spec.main, home)
    controls = [(control, by_cut(control.unit_ids, home)) for control in spec.controls]
    scores: list[dict[str, Any]] = []
    horizons: list[dict[str, Any]] = []
    retentions: list[dict[str, Any]] = []
    for done, (cut, parts) in enumerate(main.items()):
        cube = read(parts, cut, n)
        shared = _shared(spec, cut, n)
        horizons += [shared | row for row in _horizons(cube, targets)]
        scores += [shared | row for row in score_rows(setting, cube)]
        retentions += [shared | row for row in retention_rows(setting, cube)]
        for control, others in controls:
            if cut in others:
                nulled = Recorded(control, read(others[cut], cut, n))
                scores += [shared | row for row in score_rows(setting, cube, nulled)]
                retentions += [shared | row for row in retention_rows(setting, cube, nulled)]
        progress((done + 1) / len(main))
    return {
        "consistency": pa.Table.from_pylist(scores, TABLE),
        "horizons": pa.Table.from_pylist(horizons, HORIZONS),
        "retentions": pa.Table.from_pylist(retentions, RETENTIONS),
    }


def _shared(spec: Spec, cut: Cut, n: int) -> dict[str, Any]:
    return {
        "run_id": spec.run.run_id,
        "eval_id": spec.evaluation.eval_id,
        "split": spec.evaluation.split,
        "cut": cut.name,
        "depth": cut.depth,
        "norm": spec.norm,
        "dtype": spec.dtype,
        "n": n,
        "resamples": spec.resamples,
    }


def _horizons(cube: Cube, targets: Tensor) -> Iterator[dict[str, Any]]:
    steps = cube.grid()
    predicted, present = cube.on(steps)
    refuse_gaps("the run", present, present.new_ones(present.shape).triu())
    correct = predicted == targets
    for eps in EPS:
        found = memory_horizon(correct, steps, eps)
        lags = zip(steps, found.horizon.tolist(), found.censored.tolist(), strict=True)
        for step, lag, censored in lags:
            yield {"deep_step": step, "eps": eps, "horizon": lag, "censored": censored}
