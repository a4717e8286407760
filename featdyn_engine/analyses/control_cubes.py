"""How the cube of each control is computed: one function a way, one line a control."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from featdyn_engine.analyses.networks import stored_networks, training_batches
from featdyn_engine.data import evaluation
from featdyn_engine.domain import Control, Cut, EvalConfig, Norm, Precision, RunConfig
from featdyn_engine.randomness import generator
from featdyn_engine.science import controls
from featdyn_engine.science.cube import SpliceCube
from featdyn_engine.science.displaced import Displace, displaced_cube, random_parameters_cube
from featdyn_engine.science.execution import SAMPLE, placed, prepared
from featdyn_engine.science.matching import ChannelCorrelation, matched_order, permute_channels
from featdyn_engine.science.recalibrated import recalibrated_cube
from featdyn_engine.science.recalibration import recalibrate
from featdyn_engine.science.splice import Progress, plain_predictions, splice_cube


def _as_another_example(
    h_s: Tensor, h_t: Tensor, partner_h_s: Tensor, partner_h_t: Tensor, _: torch.Generator
) -> Tensor:
    return controls.other_example(h_s, h_t, partner_h_s, partner_h_t)


DISPLACEMENTS: dict[str, Displace] = {
    "other_example": _as_another_example,
    "other_example_same_class": _as_another_example,
    "mirror": lambda h_s, h_t, *_: controls.mirror(h_s, h_t),
    "random_features": lambda h_s, h_t, *others: controls.random_features(h_s, h_t, others[-1]),
}


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


class Bench:
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


# A cube, and what the run's own networks predict under its normalisation, (T, N).
Result = tuple[SpliceCube, Tensor]


def _other_run(bench: Bench, progress: Progress) -> Result:
    own, others = bench.fast(bench.networks), bench.fast(bench.others)
    size = bench.spec.batch_size
    cube = splice_cube(
        others, own, bench.depths, bench.images, bench.labels, size,
        wanted=bench.wanted, progress=progress,
    )  # fmt: skip
    return cube, plain_predictions(own, bench.images, size)


@torch.inference_mode()
def _matched(bench: Bench, progress: Progress) -> Result:
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


def _random_parameters(bench: Bench, progress: Progress) -> Result:
    replicate, size = bench.spec.replicate, bench.spec.batch_size
    cube = random_parameters_cube(
        bench.networks, bench.depths, bench.images, bench.labels, bench.training(), size,
        streams=lambda s, t: generator("random_parameters", replicate, s, t),
        wanted=bench.wanted,
        progress=progress,
    )  # fmt: skip
    return cube, plain_predictions(bench.networks, bench.images, size)


def _displaced(bench: Bench, progress: Progress) -> Result:
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


CUBES: dict[str, Callable[[Bench, Progress], Result]] = {
    "other_seed": _other_run,
    "same_init": _other_run,
    "twin": _other_run,
    "other_seed_matched": _matched,
    "random_parameters": _random_parameters,
    **dict.fromkeys(DISPLACEMENTS, _displaced),
}
