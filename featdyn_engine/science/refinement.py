"""Anytime splice cubes: each cell on as many examples as its accuracy needs, no more.

The plain networks, which are the diagonal, are known on all N examples; a cell then differs from
its network t on some of them. Its accuracy is post-stratified by whether network t is right, and
looked at on a growing share of the examples until its 95 % interval is narrow enough
(``anytime.py``; the operationalisation is ours).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from featdyn_engine.randomness import generator
from featdyn_engine.science.anytime import looks, post_stratified
from featdyn_engine.science.cube import SpliceCube, Tally
from featdyn_engine.science.execution import exact_arithmetic, feature_bytes, taps
from featdyn_engine.science.splice import Progress, check, depth_groups, shares, silent


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

    def fill_diagonal(self) -> None:
        """Record the networks themselves, on every example, at every cut."""
        for t, network in enumerate(self.networks):
            for start in range(0, len(self.images), self.batch_size):
                examples = slice(start, start + self.batch_size)
                logits = network(self.images[examples])
                for d in range(len(self.tally.depths)):
                    self.tally.record(d, t, t, examples, logits)

    def evaluate(self, waiting: Tensor, examples: Tensor) -> None:
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
) -> tuple[SpliceCube, Tensor, Tensor]:
    """Refine every cell until the half-width of its accuracy on all N examples is ``target``.

    Examples are taken in one fixed random order, the same for every cell. Returns the cube of
    what was evaluated (the diagonal: all N), and accuracy and half-width (95 %, 0 where every
    example was evaluated), float64 (D, T, T). Otherwise as ``splice_cube``.
    """
    check(networks, depths, labels)
    size, count = len(networks), len(labels)
    order = torch.randperm(count, generator=generator("anytime", count))
    classes = networks[0](images[:1]).shape[1]
    tally = Tally(tuple(depths), size, size, labels, classes, partial=True)
    work = _Refinement(networks, tally, images, min(batch_size, count), memory)
    every = torch.arange(size)
    with exact_arithmetic():
        work.fill_diagonal()
        truth = labels.cpu()
        right = tally.predicted[0, every, every].cpu() == truth
        accuracy = right.double().mean(dim=1).expand(len(depths), size, size).clone()
        half_width = torch.ones_like(accuracy)
        half_width[:, every, every] = 0.0
        # Evaluated, and correct, among the examples that network t gets wrong and right.
        n = torch.zeros(2, *accuracy.shape, dtype=torch.int64)
        correct = torch.zeros_like(n)
        known = torch.stack([count - right.sum(dim=1), right.sum(dim=1)])
        start = 0
        for stop in looks(count):
            waiting = half_width > target
            if not waiting.any():
                break
            chunk = order[start:stop]
            for examples in chunk.split(batch_size):
                work.evaluate(waiting, examples)
            hits = tally.predicted[..., chunk].cpu() == truth[chunk]
            for stratum, member in enumerate((~right[:, chunk], right[:, chunk])):
                n[stratum] += waiting * member.sum(dim=1)
                correct[stratum] += waiting * (hits & member).sum(dim=-1)
            estimate = post_stratified(known[1], known[0], n[1], n[0], correct[1], correct[0])
            accuracy[waiting] = estimate.estimate[waiting]
            half_width[waiting] = estimate.half_width[waiting]
            start = stop
            progress(stop / count)
    return tally.cube(), accuracy, half_width
