"""Features at a cut as one row an example: feature maps become means over space (ours)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from featdyn_engine.science.execution import exact_arithmetic, taps


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


@torch.inference_mode()
def pooled_features(
    network: nn.Sequential, depths: Sequence[int], images: Tensor, batch_size: int, pool: int
) -> tuple[dict[int, Tensor], Tensor]:
    """Return the pooled features at each depth, float32 (N, F), and the predicted classes (N,).

    images: (N, C, H, W), normalised, on the network's device; answers lie on the CPU. The network
    must be in evaluation mode: features are those under its own statistics. One pass.
    """
    held: dict[int, list[Tensor]] = {depth: [] for depth in depths}
    predicted = []
    with exact_arithmetic():
        for batch in images.split(batch_size):
            found, logits = taps(network, batch, depths)
            for depth in depths:
                held[depth].append(pooled(found[depth], pool).cpu())
            predicted.append(logits.argmax(dim=1).cpu())
    return {depth: torch.cat(rows) for depth, rows in held.items()}, torch.cat(predicted)
