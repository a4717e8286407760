"""Splices: the matrix (shallow step x deep step) of a run at each cut, on an evaluation set."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

import pyarrow as pa
import torch
from annotated_types import Ge, Gt, Lt, MinLen
from torch import Tensor, nn

from featdyn_engine.analyses import cells
from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Cuts,
    Evaluations,
    called,
    evaluation_sets,
    norms,
    wanted_cuts,
)
from featdyn_engine.analyses.cells import Estimate
from featdyn_engine.analyses.networks import (
    RECALIBRATION_COST,
    stored_networks,
    training_batches,
)
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.data.evaluation import EvalSet
from featdyn_engine.domain import (
    STRICT,
    Count,
    Cut,
    EvalConfig,
    InputError,
    Norm,
    Precision,
    RunConfig,
    Unit,
)
from featdyn_engine.identity import NOT_IDENTITY, identity
from featdyn_engine.models import registry
from featdyn_engine.science.cube import SpliceCube
from featdyn_engine.science.execution import SAMPLE, placed, prepared
from featdyn_engine.science.recalibrated import recalibrated_cube
from featdyn_engine.science.refinement import refined_cube
from featdyn_engine.science.splice import Progress, plain_predictions, splice_cube

TABLE = cells.TABLE
RECALIBRATED = ("recalibrate", "recalibrate_deep")
# Expected work in images: what a cell takes on average until it is known to one point.
ANYTIME_COST = 1500.0
# Below this share of predictions equal to float32's, lower precision measures something else.
LEAST_DTYPE_AGREEMENT = 0.995


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: cuts by name or all interior ones, evaluation sets, norm modes.

    ``half_width``: each cell is refined only until its accuracy on the whole set is known to
    this (95 %); None evaluates every example. ``predictions`` keeps what was predicted for each
    example, one byte; scores with intervals need it. ``memory`` bounds the features held, in MiB.
    """

    __pydantic_config__: ClassVar = STRICT
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    norm: Annotated[tuple[Norm, ...], MinLen(1)] = ("inherit",)
    batch_size: Count = 250
    dtype: Precision = "float32"
    half_width: Annotated[float, Gt(0), Lt(0.5)] | None = None
    predictions: bool = True
    memory: Annotated[int, Ge(16)] = 2048


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one cut of one run on one evaluation set. ``half_width`` 0: a census."""

    run: RunConfig
    evaluation: EvalConfig
    cut: Cut
    norm: Norm
    batch_size: int
    dtype: Precision = "float32"
    half_width: float = 0.0
    # Kept or not, the cells are the same.
    predictions: bool = field(default=True, metadata=NOT_IDENTITY)
    memory: int = field(default=2048, metadata=NOT_IDENTITY)


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit a cut, evaluation set and norm mode.

    Those that differ in the cut alone form a bundle, which one worker does in one go.
    Raises InputError for a cut or a mode that the network doesn't have.
    """
    if settings.half_width is not None and set(settings.norm) - {"inherit", "none"}:
        raise InputError(
            "half_width: expected norm = ['inherit'] beside it, got "
            f"{', '.join(settings.norm)}; leave half_width out to evaluate every example"
        )
    planned = []
    for examples in evaluation_sets(settings, run, home):
        for norm in norms(settings.norm, run, home):
            for cut in wanted_cuts(settings.cuts, run, home):
                spec = Spec(
                    run=run,
                    evaluation=examples,
                    cut=cut,
                    norm=norm,
                    batch_size=settings.batch_size,
                    dtype=settings.dtype,
                    half_width=settings.half_width or 0.0,
                    predictions=settings.predictions,
                    memory=settings.memory,
                )
                planned.append(unit(spec, home))
    return planned


def unit(spec: Spec, home: Path) -> Unit:
    """Plan the unit of a specification."""
    run, examples = spec.run, spec.evaluation
    blocks = len(registry.cuts(run.network, data_registry.load(run.data, home).task)) + 1
    steps, n = len(run.stored_steps), evaluation.size(examples, home)
    scored = float(n)
    if spec.norm in RECALIBRATED:
        scored += RECALIBRATION_COST
    elif spec.half_width:
        scored = min(scored, ANYTIME_COST)
    share = spec.cut.depth / blocks
    kept = cells.companions(run, home) if spec.predictions and not spec.half_width else ()
    return Unit(
        kind="splices",
        unit_id=identity(("splices", spec)),
        label=f"splices {spec.cut.name} {called(examples)}, {spec.norm}",
        spec=spec,
        run_id=run.run_id,
        needs=(run.run_id, examples.eval_id),
        cost=scored * (steps * share + steps**2 * (1 - share)),
        bundle=identity(("splices", replace(spec, cut=Cut("", 0)))),
        companions=kept,
    )


def compute(spec: Spec, home: Path, progress: Progress) -> dict[str, pa.Table]:
    """Score every pair of the run's checkpoints at the cut: T^2 rows of TABLE."""
    return compute_together([spec], home, progress)[0]


def compute_together(
    specs: Sequence[Spec], home: Path, progress: Progress
) -> list[dict[str, pa.Table]]:
    """Score every pair at the cuts of specifications that differ in nothing else.

    Raises InputError where bfloat16 predicts too differently from float32.
    """
    first = specs[0]
    examples = evaluation.load(first.evaluation, home)
    steps, networks = stored_networks(first.run, home)
    depths = [spec.cut.depth for spec in specs]
    if first.norm in RECALIBRATED:
        measured = _recalibrated(first, networks, depths, examples, home, progress)
    else:
        measured = _inherited(first, networks, depths, examples, progress)
    origin = cells.Origin(
        run_id=first.run.run_id,
        shallow_run_id=first.run.run_id,
        evaluation=first.evaluation,
        norm=first.norm,
        dtype=first.dtype,
        batch_size=first.batch_size,
        target_half_width=first.half_width,
        dtype_agreement=measured.dtype_agreement,
    )
    result = []
    for d, spec in enumerate(specs):
        cube, own, estimate = measured.cube, measured.own[d], measured.estimate
        tables = cells.tables(
            origin, spec.cut, cube, (steps, steps), examples.labels, own, estimate
        )
        if not spec.predictions:
            tables.pop("predictions", None)
        result.append(tables)
    return result


@dataclass(frozen=True)
class _Measured:
    """A cube, and what the networks themselves predict under its normalisation, (D, T, N)."""

    cube: SpliceCube
    own: Tensor
    estimate: Estimate | None = None
    dtype_agreement: float = 1.0


def _diagonal(cube: SpliceCube) -> Tensor:
    every = torch.arange(cube.predicted.shape[1])
    return cube.predicted[:, every, every]


def _recalibrated(
    first: Spec,
    networks: Sequence[nn.Sequential],
    depths: Sequence[int],
    examples: EvalSet,
    home: Path,
    progress: Progress,
) -> _Measured:
    device = torch.device(first.run.device)
    cube = recalibrated_cube(
        networks,
        networks,
        depths,
        placed(examples.images, device),
        examples.labels.to(device),
        training_batches(first.run, home),
        first.batch_size,
        whole=first.norm == "recalibrate",
        progress=progress,
    )
    return _Measured(cube, _diagonal(cube))


def _inherited(
    first: Spec,
    networks: Sequence[nn.Sequential],
    depths: Sequence[int],
    examples: EvalSet,
    progress: Progress,
) -> _Measured:
    device, memory = torch.device(first.run.device), first.memory * 2**20
    images, labels = placed(examples.images, device), examples.labels.to(device)
    fast = [prepared(network, images[:SAMPLE]) for network in networks]
    dtype_agreement = 1.0
    if first.dtype != "float32":
        exact = plain_predictions(fast, images, first.batch_size)
        fast = [prepared(network, images[:SAMPLE], first.dtype) for network in networks]
        images = placed(images, device, first.dtype)
        lower = plain_predictions(fast, images, first.batch_size)
        dtype_agreement = float((exact == lower).double().mean())
        if dtype_agreement < LEAST_DTYPE_AGREEMENT:
            raise InputError(
                f"dtype: expected {first.dtype} to predict as float32 does on at least "
                f"{LEAST_DTYPE_AGREEMENT:.1%} of the examples, got {dtype_agreement:.1%}; use "
                "float32"
            )
    if not first.half_width:
        cube = splice_cube(
            fast, fast, depths, images, labels, first.batch_size, memory, progress=progress
        )
        return _Measured(cube, _diagonal(cube), dtype_agreement=dtype_agreement)
    cube, accuracy, half_width = refined_cube(
        fast, depths, images, labels, first.batch_size, first.half_width, memory, progress
    )
    return _Measured(cube, _diagonal(cube), Estimate(accuracy, half_width), dtype_agreement)
