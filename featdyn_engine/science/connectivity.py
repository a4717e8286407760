"""Is a high splice more than linear mode connectivity? The loss along paths between checkpoints.

Two straight paths, alpha from 0 (theta_t) to 1 (theta_s): the whole network at
alpha theta_s + (1 - alpha) theta_t (Frankle et al., arXiv 1912.05671), and g_t on
h(alpha theta_s + (1 - alpha) theta_t), whose ends are network t and Splice(s, t, d). The second is
this project's.

An average of weights has features of another scale than either end has, so BatchNorm statistics
of everything are estimated anew at every point, the ends included (Jordan et al., arXiv
2211.08403): a barrier is then one of the weights.
"""

import copy
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from featdyn_engine.science.comparators import Score, score
from featdyn_engine.science.execution import exact_arithmetic, taps
from featdyn_engine.science.recalibration import batch_norms, estimating
from featdyn_engine.science.splice import check


def barrier(alphas: Sequence[float], losses: Sequence[float]) -> float:
    """Return the largest height of the loss above the straight line between its ends, >= 0.

    max over alpha of L(alpha) - [(1 - alpha) L(0) + alpha L(1)], in the unit of the losses
    (Entezari et al., arXiv 2110.06296). Raises ValueError where alpha 0 or 1 is missing.
    """
    known = dict(zip(alphas, losses, strict=True))
    if not {0, 1} <= known.keys():
        raise ValueError(f"alphas: expected 0 and 1 among them, got {list(alphas)}")
    return max(loss - ((1 - alpha) * known[0] + alpha * known[1]) for alpha, loss in known.items())


def interpolated(towards: nn.Sequential, origin: nn.Sequential, alpha: float) -> nn.Sequential:
    """Return a new network at alpha theta_towards + (1 - alpha) theta_origin, the ends exact.

    Everything else (mode, counters) is that of ``origin``. BatchNorm statistics are interpolated
    too, which means nothing: estimate them anew.
    """
    result = copy.deepcopy(origin)
    other = towards.state_dict()
    state = {
        name: alpha * other[name] + (1 - alpha) * tensor if tensor.is_floating_point() else tensor
        for name, tensor in origin.state_dict().items()
    }
    result.load_state_dict(state)
    return result


@torch.inference_mode()
def point_scores(
    towards: nn.Sequential,
    origin: nn.Sequential,
    alpha: float,
    depths: Sequence[int],
    images: Tensor,
    labels: Tensor,
    training: Sequence[Tensor],
    batch_size: int,
) -> tuple[Score, dict[int, Score]]:
    """Score one point of every path from theta_origin (alpha 0) to theta_towards (alpha 1).

    Returns the score of the whole network interpolated, and, by depth, that of the deep part of
    ``origin`` on the interpolated shallow part. All of them share one pass over each mini-batch:
    what is behind a cut doesn't change the statistics in front of it.

    Networks in evaluation mode, on one device with the images (N, C, H, W), normalised, and the
    mini-batches ``training``, normalised training images all of one size; labels: int64 (N,).
    Raises ValueError for a depth outside 1 .. L - 1, networks of different length or in training
    mode, or no images.
    """
    check([towards, origin], depths, labels)
    network = interpolated(towards, origin, alpha)
    behind = {depth: copy.deepcopy(origin[depth:]) for depth in depths}
    whole: list[Tensor] = []
    spliced: dict[int, list[Tensor]] = {depth: [] for depth in depths}
    with exact_arithmetic():
        if batch_norms(network):
            with ExitStack() as stack:
                for part in (network, *behind.values()):
                    stack.enter_context(estimating(part))
                for batch in training:
                    for depth, features in taps(network, batch, depths)[0].items():
                        behind[depth](features)
        for batch in images.split(batch_size):
            held, logits = taps(network, batch, depths)
            whole.append(logits)
            for depth, features in held.items():
                spliced[depth].append(behind[depth](features))
    scores = {depth: score(torch.cat(parts), labels) for depth, parts in spliced.items()}
    return score(torch.cat(whole), labels), scores
