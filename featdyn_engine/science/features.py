"""Features at a cut as one row an example: feature maps become means over space (ours)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from featdyn_engine.randomness import generator
from featdyn_engine.science.execution import exact_arithmetic, taps

# How the features of some examples (N, ...) become rows (N, F).
Summary = Callable[[Tensor], Tensor]


def pooled(features: Tensor, pool: int) -> Tensor:
    """Reduce features to one row an example: float32 (N, F).

    Feature maps (N, C, H, W) become means over a grid of pool x pool places, (N, C pool^2): with
    ``pool`` 1 the channel means. Tokens (N, T, F) become their mean, and vectors (N, F) stay,
    whatever ``pool`` is. Raises ValueError for features of other shapes, or ``pool`` below 1.
    """
    if pool < 1:
        raise ValueError(f"pool: expected at least 1, got {pool}")
    if features.ndim == 4:
        return adaptive_avg_pool2d(features, pool).flatten(1).float()
    if features.ndim == 3:
        return features.mean(dim=1).float()
    if features.ndim == 2:
        return features.float()
    raise ValueError(f"features: expected 2 to 4 dimensions, got shape {tuple(features.shape)}")


def channel_means(features: Tensor) -> Tensor:
    """Reduce features to the mean of each channel: ``pooled`` with one place."""
    return pooled(features, 1)


def projection(size: int, count: int) -> Summary:
    """Make the fixed orthogonal projection of features of ``size`` numbers onto ``count`` of them.

    Its directions are drawn uniformly (the QR decomposition of a normal matrix), are orthonormal,
    and depend on both numbers alone: the same for every run, step and example. ``count`` is cut
    to ``size``, where the projection is a rotation. Raises ValueError for a count below 1.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    count = min(count, size)
    drawn = torch.randn(size, count, generator=generator("projection", size, count))
    basis = torch.linalg.qr(drawn).Q

    def project(features: Tensor) -> Tensor:
        found: Tensor = features.flatten(1).float() @ basis.to(features.device)
        return found

    return project


@torch.inference_mode()
def summarised_features(
    network: nn.Sequential, summaries: Mapping[int, Summary], images: Tensor, batch_size: int
) -> tuple[dict[int, Tensor], Tensor]:
    """Return the features at each depth as its summary makes them, (N, F), and the classes (N,).

    images: (N, C, H, W), normalised, on the network's device; answers lie on the CPU. The network
    must be in evaluation mode: features are those under its own statistics. One pass.
    """
    held: dict[int, list[Tensor]] = {depth: [] for depth in summaries}
    predicted = []
    with exact_arithmetic():
        for batch in images.split(batch_size):
            found, logits = taps(network, batch, list(summaries))
            for depth, summary in summaries.items():
                held[depth].append(summary(found[depth]).cpu())
            predicted.append(logits.argmax(dim=1).cpu())
    return {depth: torch.cat(rows) for depth, rows in held.items()}, torch.cat(predicted)


def pooled_features(
    network: nn.Sequential, depths: Sequence[int], images: Tensor, batch_size: int, pool: int
) -> tuple[dict[int, Tensor], Tensor]:
    """Return ``summarised_features`` with every summary ``pooled``."""
    summaries = dict.fromkeys(depths, lambda features: pooled(features, pool))
    return summarised_features(network, summaries, images, batch_size)
