"""Label noise: Zhang et al., "Understanding deep learning requires rethinking generalization"
(arXiv 1611.03530): labels replaced once, by uniform draws, before training.
"""

import torch
from torch import Tensor

from featdyn_engine.randomness import generator


def noisy_labels(labels: Tensor, fraction: float, classes: int, seed: int) -> Tensor:
    """Replace the labels of ``round(fraction * N)`` examples by uniform draws over K classes.

    A draw may hit the true class, so about 1/K of the replaced labels stay right. The examples
    of a smaller fraction are among those of a larger one (same seed): arms are nested.

    labels: int64 (N,). fraction: 0 to 1. Returns int64 (N,), a new tensor.
    """
    stream = generator("label noise", seed)
    order = torch.randperm(len(labels), generator=stream)
    draws = torch.randint(classes, (len(labels),), generator=stream)
    replaced = order[: round(fraction * len(labels))]
    result = labels.clone()
    result[replaced] = draws[replaced]
    return result
