"""BatchNorm statistics of a changed network, estimated anew from training images."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featdyn_engine.randomness import generator

# One pass over so many fixed training images, in mini-batches of one size (docs/notation.md).
RECALIBRATION_IMAGES, RECALIBRATION_BATCH = 2000, 250


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """List the layers whose behaviour depends on running statistics."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]


@contextmanager
def estimating(network: nn.Module) -> Iterator[None]:
    """Let passes inside the block set all running statistics to plain means over mini-batches.

    Only BatchNorm is in training mode, where it normalises by the mini-batch at hand; anything
    else (dropout) stays as it was. Afterwards modes and momenta are as before.
    """
    norms = batch_norms(network)
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, (momentum, training) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.train(training)


def chosen_images(total: int, count: int = RECALIBRATION_IMAGES) -> Tensor:
    """Draw which of ``total`` training images to estimate on: int64 (count,), the same each time.

    All of them, in that order, where there are no more than ``count``.
    """
    return torch.randperm(total, generator=generator("recalibration"))[:count]


def mini_batches(images: Tensor) -> Sequence[Tensor]:
    """Divide images (N, ...), or their indices (N,), into mini-batches of ``RECALIBRATION_BATCH``.

    A smaller one at the end is left out, as each counts the same in the mean; of fewer than
    ``RECALIBRATION_BATCH`` images there is one mini-batch.
    """
    batches = images.split(RECALIBRATION_BATCH)
    return [batch for batch in batches if len(batch) == len(batches[0])]


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate all running means and variances of ``network`` anew, in place; weights stay.

    They become plain means over the batches (N, C, H, W), normalised training images, all of
    one size (as torch.optim.swa_utils.update_bn does, but for dropout, which stays off). A
    network without BatchNorm stays as it is.
    """
    if not batch_norms(network):
        return
    with estimating(network):
        for batch in batches:
            network(batch)
