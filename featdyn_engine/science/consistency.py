"""Temporal consistency: from splice counts to chance and retention.

The operationalisation is ours (docs/notation.md); the paper's own formula is not public.
"""

import torch
from torch import Tensor

# Fieller's g <= 0.05 at 95 %: below this many standard errors a ratio to A(t,t) - c is noise.
MIN_STANDARD_ERRORS = 9.0


def chance(label_shares: Tensor, predicted_shares: Tensor) -> Tensor:
    """Accuracy of the cell's predictions if they were independent of the labels.

    c = sum_k pi_k q_k, with label shares pi (K,) and prediction shares q (..., K). It is 1/K
    only when the labels are balanced or the predictions are.
    """
    return (predicted_shares * label_shares).sum(dim=-1)


def retention(correct: Tensor, n: int, chance_level: Tensor) -> Tensor:
    """M(s, t) = (A(s,t) - c(s,t)) / (A(t,t) - c(t,t)), NaN where the denominator is noise.

    correct: int (T, T), rows s, columns t; chance_level: float64 (T, T), of each cell. A column
    is kept where A(t,t) - c is at least 9 standard errors of A(t,t); the standard error is that
    of (correct + 1) / (n + 2), which is not zero at 0 and 100 %. Returns float64 (T, T).
    """
    above = correct.double() / n - chance_level
    own = above.diagonal()
    smoothed = (correct.diagonal().double() + 1) / (n + 2)
    standard_error = (smoothed * (1 - smoothed) / n).sqrt()
    kept = own >= MIN_STANDARD_ERRORS * standard_error
    return torch.where(kept, above / own, torch.nan)
