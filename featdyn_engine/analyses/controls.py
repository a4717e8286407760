"""Controls: cubes in which something else stands under, or instead of, the shallow part.

Each answers one objection to a high splice score (``domain.CONTROLS``, docs/notation.md). Runs
that a control needs besides the study's own are planned here and trained by the engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, get_args

import pyarrow as pa
from annotated_types import Gt, Lt, MinLen

from featdyn_engine.analyses import cells, splices
from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Cuts,
    Evaluations,
    called,
    evaluation_sets,
    norms,
    wanted_cuts,
)
from featdyn_engine.analyses.control_cubes import CUBES, Bench, Spec
from featdyn_engine.analyses.networks import RECALIBRATION_COST
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    STRICT,
    Branch,
    Control,
    Count,
    Cut,
    InputError,
    RunConfig,
    Seeds,
    Unit,
)
from featdyn_engine.identity import identity
from featdyn_engine.models import registry
from featdyn_engine.science.splice import Progress

TABLE = cells.TABLE
ALL: tuple[Control, ...] = get_args(Control)
# Whose shallow part is another run's.
OTHER_RUNS = ("other_seed", "other_seed_matched", "same_init", "twin")
# Far from the seeds that people give to the runs of a study.
OTHER_ORDER = 1000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which controls, at which cuts, on which examples; ``replicates`` draws or runs of each.

    ``branch_at``: the share of the steps at which a twin leaves its run, at the last checkpoint
    up to there. Only forward pairs (shallow no later than deep) are evaluated.
    """

    __pydantic_config__: ClassVar = STRICT
    controls: Annotated[tuple[Control, ...], MinLen(1)] = ALL
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    replicates: Count = 1
    branch_at: Annotated[float, Gt(0), Lt(1)] = 0.1
    batch_size: Count = 250


def branch_step(settings: Settings, run: RunConfig) -> int:
    """Step at which the run's twin leaves it. Raises InputError where none is stored that early."""
    last = settings.branch_at * run.recipe.steps
    early = [step for step in run.checkpoints if 0 < step <= last]
    if not early:
        raise InputError(
            f"controls: expected a checkpoint after step 0 and up to step {last:.0f} (branch_at = "
            f"{settings.branch_at}) for twin, got {run.checkpoints[:3]}; add one, or set branch_at"
        )
    return early[-1]


def other_run(settings: Settings, control: str, run: RunConfig, replicate: int) -> RunConfig:
    """Return the run whose shallow parts a control takes.

    An independent run has the seeds that follow, so that it may be one of the study's own.
    """
    seeds = run.seeds
    if control == "twin":
        order = seeds.order + OTHER_ORDER + replicate
        return replace(run, branch=Branch(step=branch_step(settings, run), order=order))
    if control == "same_init":
        return replace(run, seeds=replace(seeds, order=seeds.order + OTHER_ORDER + replicate))
    shift = 1 + replicate
    # The labels are the task, and stay, where they are random; else their seed says nothing.
    labels = seeds.labels if run.label_noise else seeds.labels + shift
    others = Seeds(init=seeds.init + shift, order=seeds.order + shift, labels=labels)
    return replace(run, seeds=others)


def available(settings: Settings, run: RunConfig) -> tuple[Control, ...]:
    """Return the controls that a run can have: a recorded one none that need other trainings.

    Raises InputError where none is left.
    """
    if run.recorded is None:
        return settings.controls
    left = tuple(each for each in settings.controls if each not in OTHER_RUNS)
    if not left:
        able = ", ".join(each for each in ALL if each not in OTHER_RUNS)
        raise InputError(
            f"controls: expected one of {able} for the recorded run {run.called}, got "
            f"{', '.join(settings.controls)}, which need trainings that featdyn can't do"
        )
    return left


def _is_plain(run: RunConfig) -> bool:
    return run.branch is None and run.freeze is None and run.replay is None


def extra_runs(settings: Settings, run: RunConfig) -> list[tuple[str, RunConfig]]:
    """Name the runs to train besides: (control, run). None for a run that freezes or replays."""
    if not _is_plain(run) or run.recorded is not None:
        return []
    wanted = {"other_seed" if name == "other_seed_matched" else name for name in settings.controls}
    return [
        (name, other_run(settings, name, run, replicate))
        for name in OTHER_RUNS
        if name in wanted
        for replicate in range(settings.replicates)
    ]


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit a control, replicate, cut and evaluation set; bundles differ in the cut alone.

    A run that branches, freezes or replays has none. With ``other_seed_matched`` the run's own
    cube under ``recalibrate`` is planned too: it is what that control is held against.
    """
    if not _is_plain(run):
        return []
    planned = []
    inherit, *_ = norms(("inherit",), run, home)
    recalibrated, *_ = norms(("recalibrate",), run, home)
    cuts = wanted_cuts(settings.cuts, run, home)
    for examples in evaluation_sets(settings, run, home):
        for control in available(settings, run):
            matched = control == "other_seed_matched"
            for replicate in range(settings.replicates):
                other = None
                if control in OTHER_RUNS:
                    other = other_run(settings, control, run, replicate)
                for cut in cuts:
                    spec = Spec(
                        control=control,
                        run=run,
                        evaluation=examples,
                        cut=cut,
                        norm=recalibrated if matched else inherit,
                        batch_size=settings.batch_size,
                        other=other,
                        replicate=replicate,
                    )
                    planned.append(unit(spec, home))
            if matched:
                planned += [
                    splices.unit(
                        splices.Spec(
                            run=run,
                            evaluation=examples,
                            cut=cut,
                            norm=recalibrated,
                            batch_size=settings.batch_size,
                        ),
                        home,
                    )
                    for cut in cuts
                ]
    return planned


def unit(spec: Spec, home: Path) -> Unit:
    """Plan the unit of a specification."""
    run = spec.run
    blocks = len(registry.cuts(run.network, data_registry.load(run.data, home).task)) + 1
    n, pairs = evaluation.size(spec.evaluation, home), len(run.stored_steps) ** 2 / 2
    share = spec.cut.depth / blocks
    cost = n * pairs * (1 - share)
    if spec.control == "random_parameters":
        cost += pairs * share * (n + RECALIBRATION_COST)
    elif spec.control == "other_seed_matched":
        cost += pairs * (1 - share) * RECALIBRATION_COST
    others = () if spec.other is None else (spec.other.run_id,)
    draw = f" {spec.replicate + 1}" if spec.replicate else ""
    return Unit(
        kind="controls",
        unit_id=identity(("controls", spec)),
        label=f"{spec.control}{draw} {spec.cut.name} {called(spec.evaluation)}",
        spec=spec,
        run_id=run.run_id,
        needs=(run.run_id, *others, spec.evaluation.eval_id),
        cost=cost,
        bundle=identity(("controls", replace(spec, cut=Cut("", 0)))),
        companions=cells.companions(run, home),
    )


def compute(spec: Spec, home: Path, progress: Progress) -> dict[str, pa.Table]:
    """Score the forward pairs of a control at its cut: rows of TABLE."""
    return compute_together([spec], home, progress)[0]


def compute_together(
    specs: Sequence[Spec], home: Path, progress: Progress
) -> list[dict[str, pa.Table]]:
    """Score a control at the cuts of specifications that differ in nothing else.

    Raises InputError where the examples have no partners of the kind that it needs.
    """
    first = specs[0]
    bench = Bench(first, [spec.cut.depth for spec in specs], home)
    try:
        cube, own = CUBES[first.control](bench, progress)
    except ValueError as problem:
        raise InputError(f"{first.control}: {problem}") from None
    origin = cells.Origin(
        run_id=first.run.run_id,
        shallow_run_id=(first.other or first.run).run_id,
        evaluation=first.evaluation,
        norm=first.norm,
        dtype="float32",
        batch_size=first.batch_size,
        control=first.control,
        replicate=first.replicate,
    )
    steps = (bench.other_steps, bench.steps)
    labels = bench.labels.cpu()
    result = []
    for spec in specs:
        tables = cells.tables(origin, spec.cut, cube, steps, labels, own)
        # Rows like those of ``splices``, in parts of their own kind.
        result.append({"controls": tables.pop("splices"), **tables})
    return result
