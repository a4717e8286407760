"""Interventions in a training: blocks held still, stored shallow parts replayed.

Ours, after the experiments of Ruan, Gai & Zhang (arXiv 2509.20334); docs/study.md says how a
study asks for them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from featdyn_engine.domain import Freeze, Replay, RunConfig
from featdyn_engine.randomness import generator

# Stored networks kept in memory; ViT-B/16 takes a third of a gigabyte.
KEPT_NETWORKS = 16


def deep_counterpart(network: nn.Sequential, depth: int) -> int:
    """Index of the block behind the cut whose parameter count comes nearest to the shallow part's.

    The last block, which holds the classifier, is never chosen. Raises ValueError where the cut
    leaves no other block.
    """

    def count(blocks: Sequence[nn.Module]) -> int:
        return sum(weight.numel() for block in blocks for weight in block.parameters())

    shallow = count(list(network)[:depth])
    candidates = range(depth, len(network) - 1)
    if not candidates:
        raise ValueError(f"depth {depth}: no block behind the cut but the last")
    return min(candidates, key=lambda index: abs(count([network[index]]) - shallow))


def frozen_blocks(network: nn.Sequential, freeze: Freeze) -> list[int]:
    """Return the indices of the blocks that a freezing holds still."""
    if freeze.part == "shallow":
        return list(range(freeze.depth))
    return [deep_counterpart(network, freeze.depth)]


class Interventions:
    """Freezing and replay as one forward pass; without either it is the network's own.

    ``of_parent(step)`` and ``own(step)`` return the network of a stored checkpoint,
    ``steps_so_far()`` the steps of this run that are stored already, and ``forward`` is the
    network, or its compiled form.
    """

    def __init__(
        self,
        config: RunConfig,
        network: nn.Sequential,
        forward: Callable[[Tensor], Tensor],
        of_parent: Callable[[int], nn.Sequential],
        own: Callable[[int], nn.Sequential],
        steps_so_far: Callable[[], Sequence[int]],
    ) -> None:
        self.config = config
        self.network = network
        self.forward = forward
        self.steps_so_far = steps_so_far
        self.of_parent = of_parent
        replayed_from = of_parent if config.replay and config.replay.steps else own
        self.replayed = lru_cache(KEPT_NETWORKS)(replayed_from)
        self.frozen = frozen_blocks(network, config.freeze) if config.freeze else []

    def take_weights(self) -> None:
        """Before the first update: put the parent's stored shallow part in its place."""
        freeze = self.config.freeze
        if freeze is not None and freeze.weights_of is not None:
            source = self.of_parent(freeze.weights_of)[: freeze.depth].state_dict()
            self.network[: freeze.depth].load_state_dict(source)

    def set_mode(self, step: int) -> None:
        """Training mode for the update from ``step`` on, but for blocks that are held still."""
        self.network.train()
        freeze = self.config.freeze
        if freeze is not None and step >= freeze.from_step:
            for index in self.frozen:
                # Evaluation mode keeps the running statistics; no gradient keeps the weights,
                # weight decay and momentum included.
                self.network[index].eval().requires_grad_(False)

    def before_update(self, step: int) -> None:
        """Set the mode where it may have changed: after an evaluation, or when freezing begins."""
        freeze = self.config.freeze
        if not self.network.training or (freeze is not None and step == freeze.from_step):
            self.set_mode(step)

    def __call__(self, images: Tensor, step: int) -> Tensor:
        """Return the logits of the update from ``step`` on, (N, C, H, W) to (N, K)."""
        replay = self.config.replay
        if replay is None or step < replay.from_step:
            return self.forward(images)
        # Mini-batches come in random order: the first ones are as good as any.
        count = round(replay.share * len(images))
        with torch.no_grad():
            features = self._replayed_part(replay, step)(images[:count])
        if replay.source == "current":
            # What it lent goes on learning.
            self.set_mode(step)
        if count < len(images):
            fresh = self.network[: replay.depth](images[count:])
            features = torch.cat([features, fresh])
        logits: Tensor = self.network[replay.depth :](features)
        return logits

    def _replayed_part(self, replay: Replay, step: int) -> nn.Module:
        """Return the shallow part, in evaluation mode, that the update from ``step`` on replays."""
        if replay.source == "current":
            return self.network[: replay.depth].eval()
        steps = replay.steps or tuple(self.steps_so_far())[-(replay.window or 0) :]
        stream = generator("replay", self.config.seeds.order, step)
        drawn = steps[int(torch.randint(len(steps), (1,), generator=stream))]
        return self.replayed(drawn)[: replay.depth]


def average(states: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of state dicts (SWA, Izmailov et al., arXiv 1803.05407).

    Summed in float64, one at a time; counters, which are whole numbers, are those of the last.
    """
    sums: dict[str, Tensor] = {}
    count = 0
    last: Mapping[str, Tensor] = {}
    for last in states:
        count += 1
        for name, tensor in last.items():
            if tensor.is_floating_point():
                sums[name] = sums.get(name, 0) + tensor.double()
    return {
        name: (sums[name] / count).to(tensor.dtype) if name in sums else tensor
        for name, tensor in last.items()
    }
