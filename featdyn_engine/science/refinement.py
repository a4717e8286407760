"""Anytime splice cubes: each cell on as many examples as its accuracy needs, no more.

The plain networks, which are the diagonal, are known on all N examples; a cell then differs from
its network t on some of them. Its accuracy is post-stratified by whether network t is right, and
looked at on a growing share of the examples until its 95 % interval is narrow enough
(``anytime.py``; the operationalisation is ours). The strict way looks once: a pilot chooses how
many fresh examples each cell gets.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from featdyn_engine.randomness import generator
from featdyn_engine.science.anytime import (
    FIRST_LOOK,
    Estimate,
    after_pilot,
    fresh_size,
    looks,
    post_stratified,
)
from featdyn_engine.science.cube import SpliceCube, Tally
from featdyn_engine.science.execution import exact_arithmetic, feature_bytes, taps
from featdyn_engine.science.splice import Progress, check, depth_groups, shares, silent


class _Counts(NamedTuple):
    """Examples that cells have seen, and those of them that are correct, int64 (D, T, T) each.

    Apart for the examples on which network t is right, and wrong.
    """

    seen_right: Tensor
    seen_wrong: Tensor
    correct_right: Tensor
    correct_wrong: Tensor


class _Refinement:
    """The cells of a cube while they are refined."""

    def __init__(
        self,
        networks: Sequence[nn.Sequential],
        tally: Tally,
        images: Tensor,
        batch_size: int,
        memory: int,
    ) -> None:
        self.networks, self.tally, self.images = networks, tally, images
        self.batch_size, self.memory = batch_size, memory
        self.parts = {
            (t, depth): network[depth:]
            for t, network in enumerate(networks)
            for depth in tally.depths
        }
        sizes = feature_bytes(networks[0], images, tally.depths)
        self.sizes = {depth: each * batch_size for depth, each in sizes.items()}
        self.groups = depth_groups(self.sizes, memory)
        self.truth = tally.labels.cpu()
        self.right = torch.empty(0)

    def fill_diagonal(self) -> Tensor:
        """Record the networks themselves on every example; return their accuracy (T,)."""
        for t, network in enumerate(self.networks):
            for start in range(0, len(self.images), self.batch_size):
                examples = slice(start, start + self.batch_size)
                logits = network(self.images[examples])
                for d in range(len(self.tally.depths)):
                    self.tally.record(d, t, t, examples, logits)
        every = torch.arange(len(self.networks))
        self.right = self.tally.predicted[0, every, every].cpu() == self.truth
        return self.right.double().mean(dim=1)

    def see(self, waiting: Tensor, chunk: Tensor) -> _Counts:
        """Show the cells in ``waiting``, bool (D, T, T), some examples more, int64 (B,)."""
        for examples in chunk.split(self.batch_size):
            self._evaluate(waiting, examples)
        hits = self.tally.predicted[..., chunk].cpu() == self.truth[chunk]
        right, wrong = self.right[:, chunk], ~self.right[:, chunk]
        return _Counts(
            waiting * right.sum(dim=1),
            waiting * wrong.sum(dim=1),
            waiting * (hits & right).sum(dim=-1),
            waiting * (hits & wrong).sum(dim=-1),
        )

    def _evaluate(self, waiting: Tensor, examples: Tensor) -> None:
        """Record the cells in ``waiting``, bool (D, T, T), on some examples, int64 (B,)."""
        x = self.images[examples.to(self.images.device)]
        places = {depth: d for d, depth in enumerate(self.tally.depths)}
        for group in self.groups:
            of_group = waiting[[places[depth] for depth in group]]
            rows = of_group.any(dim=0).any(dim=1).nonzero().flatten().tolist()
            room = self.memory // sum(self.sizes[depth] for depth in group)
            for block in shares(len(rows), room):
                held = {rows[i]: taps(self.networks[rows[i]], x, group)[0] for i in block}
                for depth in group:
                    for s, t in waiting[places[depth]].nonzero().tolist():
                        if s in held:
                            logits = self.parts[t, depth](held[s][depth])
                            self.tally.record(places[depth], s, t, examples, logits)


def _none_yet(waiting: Tensor) -> _Counts:
    return _Counts(*torch.zeros(4, *waiting.shape, dtype=torch.int64))


def _added(one: _Counts, other: _Counts) -> _Counts:
    return _Counts(*(a + b for a, b in zip(one, other, strict=True)))


def _looking(
    work: _Refinement, waiting: Tensor, order: Tensor, target: float, progress: Progress
) -> Estimate:
    """Look at the growing interval of each cell, and stop where it is narrow enough."""
    right = work.right.sum(dim=1)
    wrong = len(order) - right
    counts, start = _none_yet(waiting), 0
    known = post_stratified(right, wrong, *counts)
    for stop in looks(len(order)):
        counts = _added(counts, work.see(waiting, order[start:stop]))
        # A cell that stopped keeps its counts, and so its interval.
        known = post_stratified(right, wrong, *counts)
        waiting = waiting & (known.half_width > target)
        start = stop
        progress(stop / len(order))
        if not waiting.any():
            break
    return known


def _strictly(
    work: _Refinement, waiting: Tensor, order: Tensor, target: float, progress: Progress
) -> Estimate:
    """Let a pilot choose each cell's number of fresh examples, and look once, after these."""
    right = work.right.sum(dim=1)
    wrong = len(order) - right
    pilot = work.see(waiting, order[:FIRST_LOOK])
    wanted = fresh_size(right, wrong, *pilot, target)
    fresh, rest = _none_yet(waiting), order[FIRST_LOOK:]
    start = 0
    # A cell takes whole batches: what it gets is still the pilot's choice alone.
    for chunk in rest.split(work.batch_size):
        asking = waiting & (wanted > start)
        if not asking.any():
            break
        fresh = _added(fresh, work.see(asking, chunk))
        start += len(chunk)
        progress((FIRST_LOOK + start) / len(order))
    return after_pilot(right, wrong, pilot, fresh)


@torch.inference_mode()
def refined_cube(
    networks: Sequence[nn.Sequential],
    depths: Sequence[int],
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    target: float,
    memory: int,
    progress: Progress = silent,
    strict: bool = False,
) -> tuple[SpliceCube, Tensor, Tensor]:
    """Refine every cell until the half-width of its accuracy on all N examples is ``target``.

    Examples are taken in one fixed random order, the same for every cell. ``strict`` chooses from
    the first 400 how many more each cell gets and never stops on a width that it has seen; a few
    cells then end a little wider than ``target``. Returns the cube of
    what was evaluated (the diagonal: all N), and accuracy and half-width (95 %, 0 where every
    example was evaluated), float64 (D, T, T). Otherwise as ``splice_cube``.
    """
    check(networks, depths, labels)
    size, count = len(networks), len(labels)
    order = torch.randperm(count, generator=generator("anytime", count))
    classes = networks[0](images[:1]).shape[1]
    tally = Tally(tuple(depths), size, size, labels, classes, partial=True)
    work = _Refinement(networks, tally, images, min(batch_size, count), memory)
    own = torch.eye(size, dtype=torch.bool).expand(len(depths), size, size)
    refine = _strictly if strict else _looking
    with exact_arithmetic():
        plain = work.fill_diagonal().expand(own.shape)
        known = refine(work, ~own, order, target, progress)
    half_width = torch.where(own, 0.0, known.half_width)
    return tally.cube(), torch.where(own, plain, known.estimate), half_width
