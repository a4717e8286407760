"""Splice cubes whose BatchNorm statistics are estimated anew for each composite.

``recalibrate``: all of the composite; ``recalibrate_deep``: only those behind the cut. From
training images alone, never from those that are scored.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from featdyn_engine.science.cube import SpliceCube, Tally
from featdyn_engine.science.execution import exact_arithmetic
from featdyn_engine.science.recalibration import estimating
from featdyn_engine.science.splice import Progress, check, silent

# A change of the features at a cut (depth, s, t, features), the same in training and scoring.
Adapt = Callable[[int, int, int, Tensor], Tensor]


def _in_front(
    network: nn.Sequential, depth: int, training: Sequence[Tensor], whole: bool
) -> tuple[nn.Sequential, list[Tensor]]:
    """Return a copy of the shallow part, estimated anew if ``whole``, and what it makes of them."""
    part = copy.deepcopy(nn.Sequential(*list(network)[:depth]))
    if not whole:
        return part, [part(x) for x in training]
    with estimating(part):
        return part, [part(x) for x in training]


@torch.inference_mode()
def recalibrated_composite(
    shallow: nn.Sequential,
    deep: nn.Sequential,
    depth: int,
    training: Sequence[Tensor],
    whole: bool,
) -> nn.Sequential:
    """Return one composite of a ``recalibrated_cube`` as a network of its own."""
    with exact_arithmetic():
        part, seen = _in_front(shallow, depth, training, whole)
        behind = copy.deepcopy(nn.Sequential(*list(deep)[depth:]))
        with estimating(behind):
            for x in seen:
                behind(x)
    return nn.Sequential(*part, *behind)


@torch.inference_mode()
def recalibrated_cube(
    shallow: Sequence[nn.Sequential],
    deep: Sequence[nn.Sequential],
    depths: Sequence[int],
    images: Tensor,
    labels: Tensor,
    training: Sequence[Tensor],
    batch_size: int,
    whole: bool,
    adapt: Adapt = lambda depth, s, t, features: features,
    wanted: Tensor | None = None,
    progress: Progress = silent,
) -> SpliceCube:
    """Evaluate every pair at every cut, running statistics estimated for each composite.

    training: mini-batches of normalised training images, (B, C, H, W) each, all of one size.
    whole: estimate in front of the cut too (``recalibrate``); otherwise the shallow part keeps
    its own (``recalibrate_deep``). wanted: bool (S, T), the pairs to evaluate; None: all. The
    diagonal is a cell like the others: it is not the plain network. Networks (plain, not folded)
    must be in evaluation mode; they stay as they are.

    Raises ValueError as ``splice_cube`` does.
    """
    check([*shallow, *deep], depths, labels)
    classes = deep[0](images[:1]).shape[1]
    tally = Tally(tuple(depths), len(shallow), len(deep), labels, classes)
    cells = len(depths) * len(shallow) * len(deep)
    done = 0
    with exact_arithmetic():
        for d, depth in enumerate(depths):
            for s, network in enumerate(shallow):
                part, seen = _in_front(network, depth, training, whole)
                features = [part(x) for x in images.split(batch_size)]
                for t in range(len(deep)):
                    done += 1
                    progress(done / cells)
                    if wanted is not None and not wanted[s, t]:
                        continue
                    behind = copy.deepcopy(deep[t][depth:])
                    with estimating(behind):
                        for x in seen:
                            behind(adapt(depth, s, t, x))
                    start = 0
                    for x in features:
                        examples = slice(start, start + len(x))
                        tally.record(d, s, t, examples, behind(adapt(depth, s, t, x)))
                        start += len(x)
    return tally.cube()
