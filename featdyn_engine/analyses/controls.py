"""Controls: cubes in which something else stands under, or instead of, the shallow part.

Each answers one objection to a high splice score (``domain.CONTROLS``, docs/notation.md). Runs
that a control needs besides the study's own are planned here and trained by the engine.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

import pyarrow as pa
import torch
from annotated_types import Gt, Lt, MinLen
from torch import Tensor, nn

from featdyn_engine.analyses import cells, splices
from featdyn_engine.analyses.networks import stored_networks, training_batches
from featdyn_engine.analyses.splices import Evaluation, asked_set, called, norms, wanted_cuts
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    STRICT,
    Branch,
    Control,
    Count,
    Cut,
    EvalConfig,
    InputError,
    Norm,
    Precision,
    RunConfig,
    Seeds,
    Unit,
    identity,
)
from featdyn_engine.models import registry
from featdyn_engine.randomness import generator
from featdyn_engine.science import controls
from featdyn_engine.science.cube import SpliceCube
from featdyn_engine.science.displaced import Displace, displaced_cube, random_parameters_cube
from featdyn_engine.science.execution import SAMPLE, placed, prepared
from featdyn_engine.science.matching import ChannelCorrelation, matched_order, permute_channels
from featdyn_engine.science.recalibrated import recalibrated_cube
from featdyn_engine.science.recalibration import recalibrate
from featdyn_engine.science.splice import Progress, plain_predictions, splice_cube

TABLE = cells.TABLE
ALL: tuple[Control, ...] = get_args(Control)
# Whose shallow part is another run's.
OTHER_RUNS = ("other_seed", "other_seed_matched", "same_init", "twin")
# Far from the seeds that people give to the runs of a study.
OTHER_ORDER = 1000

DISPLACEMENTS: dict[str, Displace] = {
    "other_example": lambda h_s, h_t, p_s, p_t, _: controls.other_example(h_s, h_t, p_s, p_t),
    "other_example_same_class": lambda h_s, h_t, p_s, p_t, _: controls.other_example(
        h_s, h_t, p_s, p_t
    ),
    "mirror": lambda h_s, h_t, p_s, p_t, _: controls.mirror(h_s, h_t),
    "random_features": lambda h_s, h_t, p_s, p_t, stream: controls.random_features(
        h_s, h_t, stream
    ),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which controls, at which cuts, on which examples; ``replicates`` draws or runs of each.

    ``branch_at``: the share of the steps at which a twin leaves its run, at the last checkpoint
    up to there. Only forward pairs (shallow no later than deep) are evaluated.
    """

    __pydantic_config__: ClassVar = STRICT
    controls: Annotated[tuple[Control, ...], MinLen(1)] = ALL
    cuts: Literal["all"] | Annotated[tuple[str, ...], MinLen(1)] = "all"
    evaluations: Annotated[tuple[Evaluation, ...], MinLen(1)] = (Evaluation(split="test"),)
    replicates: Count = 1
    branch_at: Annotated[float, Gt(0), Lt(1)] = 0.1
    batch_size: Count = 250


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one control of one run at one cut, on one evaluation set."""

    control: Control
    run: RunConfig
    evaluation: EvalConfig
    cut: Cut
    norm: Norm
    batch_size: int
    other: RunConfig | None = None
    replicate: int = 0
    dtype: Precision = "float32"

    @property
    def branch_step(self) -> int | None:
        """Step at which a twin leaves its run; None for other controls."""
        return self.other.branch.step if self.other and self.other.branch else None


def evaluation_sets(settings: Settings, run: RunConfig, home: Path) -> list[EvalConfig]:
    """Name the sets of a run, as ``splices`` does."""
    return [asked_set(wanted, run, home) for wanted in settings.evaluations]


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


def _is_plain(run: RunConfig) -> bool:
    return run.branch is None and run.freeze is None and run.replay is None


def extra_runs(settings: Settings, run: RunConfig) -> list[tuple[str, RunConfig]]:
    """Name the runs to train besides: (control, run). None for a run that freezes or replays."""
    if not _is_plain(run):
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
        for control in settings.controls:
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
        cost += pairs * share * (n + splices.RECALIBRATION_COST)
    elif spec.control == "other_seed_matched":
        cost += pairs * (1 - share) * splices.RECALIBRATION_COST
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
    bench = _Bench(first, [spec.cut.depth for spec in specs], home)
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


class _Bench:
    """What every control works on: the networks of the run, those of the other, the examples."""

    def __init__(self, spec: Spec, depths: Sequence[int], home: Path) -> None:
        self.spec, self.depths, self.home = spec, depths, home
        self.device = torch.device(spec.run.device)
        examples = evaluation.load(spec.evaluation, home)
        self.images = placed(examples.images, self.device)
        self.labels = examples.labels.to(self.device)
        self.steps, self.networks = stored_networks(spec.run, home)
        self.other_steps, self.others = self.steps, self.networks
        if spec.other is not None:
            self.other_steps, self.others = stored_networks(spec.other, home)

    @property
    def wanted(self) -> Tensor:
        """Pairs to evaluate, bool (S, T): forward ones, for a twin from after its branch on."""
        shallow, deep = torch.tensor(self.other_steps), torch.tensor(self.steps)
        forward = shallow[:, None] <= deep
        if self.spec.branch_step is not None:
            forward &= shallow[:, None] > self.spec.branch_step
        return forward

    def fast(self, networks: Sequence[nn.Sequential]) -> list[nn.Sequential]:
        """Prepare networks for evaluation."""
        return [prepared(network, self.images[:SAMPLE]) for network in networks]

    def training(self) -> Sequence[Tensor]:
        """Mini-batches of training images, for running statistics."""
        return training_batches(self.spec.run, self.home)


Result = tuple[SpliceCube, Tensor]


def _other_run(bench: _Bench, progress: Progress) -> Result:
    own, others = bench.fast(bench.networks), bench.fast(bench.others)
    size = bench.spec.batch_size
    cube = splice_cube(
        others, own, bench.depths, bench.images, bench.labels, size,
        wanted=bench.wanted, progress=progress,
    )  # fmt: skip
    return cube, plain_predictions(own, bench.images, size)


@torch.inference_mode()
def _matched(bench: _Bench, progress: Progress) -> Result:
    """Channels of the other run in the order in which they correlate best with network t's."""
    training, size = bench.training(), bench.spec.batch_size
    # Matched as they will be used: a channel that is dead under its own statistics may not be
    # under those estimated anew.
    own, others = (_estimated(networks, training) for networks in (bench.networks, bench.others))
    pairs = [(s, t) for s, t in bench.wanted.nonzero().tolist()]
    orders: dict[tuple[int, int, int], Tensor] = {}
    for depth in bench.depths:
        collected = {pair: ChannelCorrelation() for pair in pairs}
        for x in training:
            h_own = [network[:depth](x) for network in own]
            h_others = [network[:depth](x) for network in others]
            for s, t in pairs:
                collected[s, t].add(h_own[t], h_others[s])
        for (s, t), correlation in collected.items():
            orders[depth, s, t] = matched_order(correlation.result())
    cube = recalibrated_cube(
        bench.others, bench.networks, bench.depths, bench.images, bench.labels, training, size,
        whole=True,
        adapt=lambda depth, s, t, x: permute_channels(x, orders[depth, s, t].to(x.device)),
        wanted=bench.wanted,
        progress=progress,
    )  # fmt: skip
    return cube, plain_predictions(own, bench.images, size)


def _estimated(
    networks: Sequence[nn.Sequential], training: Sequence[Tensor]
) -> list[nn.Sequential]:
    """Return copies of networks, their running statistics estimated anew."""
    copies = [copy.deepcopy(network) for network in networks]
    for network in copies:
        recalibrate(network, training)
    return copies


def _random_parameters(bench: _Bench, progress: Progress) -> Result:
    replicate, size = bench.spec.replicate, bench.spec.batch_size
    cube = random_parameters_cube(
        bench.networks, bench.depths, bench.images, bench.labels, bench.training(), size,
        streams=lambda s, t: generator("random_parameters", replicate, s, t),
        wanted=bench.wanted,
        progress=progress,
    )  # fmt: skip
    return cube, plain_predictions(bench.networks, bench.images, size)


def _displaced(bench: _Bench, progress: Progress) -> Result:
    spec, partners = bench.spec, None
    if spec.control.startswith("other_example"):
        stream = generator(spec.control, spec.replicate)
        partners = controls.partners(
            bench.labels, spec.control == "other_example_same_class", stream
        )
    networks = bench.fast(bench.networks)
    cube = displaced_cube(
        networks, bench.depths, bench.images, bench.labels, DISPLACEMENTS[spec.control], partners,
        streams=lambda depth: generator(spec.control, spec.replicate, depth),
        batch_size=spec.batch_size,
        wanted=bench.wanted,
        progress=progress,
    )  # fmt: skip
    return cube, plain_predictions(networks, bench.images, spec.batch_size)


CUBES: dict[str, Callable[[_Bench, Progress], Result]] = {
    "other_seed": _other_run,
    "same_init": _other_run,
    "twin": _other_run,
    "other_seed_matched": _matched,
    "random_parameters": _random_parameters,
    **dict.fromkeys(DISPLACEMENTS, _displaced),
}
