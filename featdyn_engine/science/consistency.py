"""Temporal consistency of a cube: chance, retention, asymmetry, the pairs of a score, horizons.

The operationalisation is ours (docs/notation.md); the paper's own formula is not public. The
score itself, with its interval, is in ``featdyn_engine.science.scores``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from featdyn_engine.science import tango

# Fieller's g <= 0.05 at 95 %: below this many standard errors a ratio to A(t,t) - c is noise.
MIN_STANDARD_ERRORS = 9.0
# Before this share of the updates the networks are still near chance.
BURN_IN = 0.05
# With fewer, the sum over pairs is a poor integral: the score would measure the grid.
MIN_CHECKPOINTS = 8
# One-sided 95 % point of the standard normal.
Z_ONE_SIDED = 1.6448536269514722

PairKind = Literal["all", "final", "before_decay", "after_decay"]


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
    return retention_under(above, correct.diagonal(), chance_level.diagonal(), n)


def retention_under(above: Tensor, own_correct: Tensor, own_chance: Tensor, n: int) -> Tensor:
    """M(s, t) as in ``retention``, of cells that need not hold their own diagonal.

    above: float64 (S, T), A(s,t) - c(s,t), of S shallow parts under T deep ones; own_correct: int
    (T,), examples of ``n`` that network t itself gets right, and own_chance: float64 (T,), the
    chance of its predictions. Returns float64 (S, T).
    """
    own = own_correct.double() / n - own_chance
    smoothed = (own_correct.double() + 1) / (n + 2)
    standard_error = (smoothed * (1 - smoothed) / n).sqrt()
    kept = own >= MIN_STANDARD_ERRORS * standard_error
    return torch.where(kept, above / own, torch.nan)


def asymmetry(retention: Tensor) -> Tensor:
    """M(s,t) - M(t,s): above 0 where old features under a new deep part keep more.

    retention: float64 (T, T), rows s, columns t. Returns float64 (T, T), antisymmetric; NaN
    where either retention is.
    """
    return retention - retention.T


def trapezoid_widths(positions: Tensor) -> Tensor:
    """Weights w of the trapezoid rule: sum w f(x) integrates f over the positions.

    positions: float64 (T,), not falling; T of at least 2. Returns float64 (T,), which sum to the
    distance from the first position to the last.
    """
    gaps = positions.diff() / 2
    nothing = gaps.new_zeros(1)
    return torch.cat([gaps, nothing]) + torch.cat([nothing, gaps])


def cumulative_learning_rate(rates: Tensor, steps: Sequence[int]) -> Tensor:
    """Sum of the learning rates of all updates before each step: how far training could have gone.

    rates: float64 (U,), that of the update from u to u + 1; steps: T of them, each 0 to U.
    Returns float64 (T,).
    """
    total = torch.cat([rates.new_zeros(1), rates.cumsum(dim=0)])
    return total[torch.tensor(steps)]


def first_decay(rates: Tensor) -> int | None:
    """Find the first step at which the learning rate falls by more than half, None if none does.

    rates: float64 (U,), that of the update from u to u + 1. A fall counts from a rate that held
    (within a tenth) over the update before: a cosine falls by more than half in its last two
    updates, which is no decay between two phases of training.
    """
    kept = rates[1:] / rates[:-1]
    held = torch.cat([kept.new_ones(1), kept[:-1]]) >= 0.9
    falls = torch.nonzero((kept < 0.5) & held)
    return int(falls[0]) + 1 if len(falls) else None


@dataclass(frozen=True)
class Pairs:
    """Which pairs (s, t) of checkpoints a score is over; forward ones, past the burn-in.

    ``all``: t0 <= s < t, with t0 the first checkpoint past 5 % of ``total`` updates. ``final``:
    of these t = the last checkpoint. ``before_decay`` and ``after_decay``: both at most, or both
    at least, the step ``decay``, at which the learning rate first falls by more than half.
    ``after``: only checkpoints past this step (a twin branched there is the run itself before).
    """

    kind: PairKind
    total: int
    decay: int | None = None
    after: int | None = None

    def checkpoints(self, steps: Sequence[int]) -> Tensor:
        """Say which of T checkpoints the pairs range over: bool (T,).

        None of them before or after a decay that there isn't.
        """
        at = torch.tensor(steps)
        kept = at > BURN_IN * self.total
        if self.after is not None:
            kept &= at > self.after
        if self.kind in ("before_decay", "after_decay"):
            if self.decay is None:
                return torch.zeros_like(kept)
            kept &= at <= self.decay if self.kind == "before_decay" else at >= self.decay
        return kept


def pair_weights(pairs: Pairs, steps: Sequence[int], positions: Tensor) -> Tensor | None:
    """w_s w_t of each pair of a score, 0 for those that don't count.

    steps: T, rising; positions: float64 (T,), where they lie on the axis that weighs them
    (cumulative learning rate, or the steps themselves). Widths are those of the trapezoid rule
    over the checkpoints that the pairs range over, so that no width reaches past a decay. In
    ``final`` w_t, which is common to all, is 1. Returns float64 (T, T), rows s, columns t, or
    None with fewer than 8 such checkpoints, or where all weights are 0.
    """
    kept = pairs.checkpoints(steps)
    if int(kept.sum()) < MIN_CHECKPOINTS:
        return None
    shallow = positions.new_zeros(len(steps), dtype=torch.float64)
    shallow[kept] = trapezoid_widths(positions[kept].double())
    deep = shallow
    if pairs.kind == "final":
        deep = torch.zeros_like(shallow)
        deep[torch.nonzero(kept)[-1]] = 1.0
    weights = torch.outer(shallow, deep).triu(diagonal=1)
    return weights if float(weights.sum()) > 0 else None


@dataclass(frozen=True)
class Horizons:
    """Memory horizon of T deep steps: int64 (T,), in updates; censored: bool (T,)."""

    horizon: Tensor
    censored: Tensor


def not_worse(gained: Tensor, lost: Tensor, n: int, eps: float) -> Tensor:
    """Decide whether a paired difference of accuracies lies above -eps, one-sided at 95 %.

    gained: examples that only the first of two classifiers gets right; lost: that only the
    second does; both int, of one shape; n: examples. True where the lower limit of Tango's score
    interval (Statistics in Medicine 17, 1998) is above -eps: his test of a difference of -eps.
    Its variance is that under the difference tested, so that no discordant example leaves a
    limit of about -2.7 / n, where the normal approximation would leave none. Exact error at most
    7 % for n of 200 to 2,000 and eps 0.01 and 0.05 (tests). Returns bool.
    """
    up, down = gained.double(), lost.double()
    spread = np.sqrt(tango.variance(up.numpy(), down.numpy(), n, -eps))
    return up - down + n * eps > Z_ONE_SIDED * torch.as_tensor(spread)


def memory_horizon(correct: Tensor, steps: Sequence[int], eps: float) -> Horizons:
    """Longest lag over which no shallow part costs more than eps of accuracy.

    tau_eps(t) = max{t - s: A(s',t) >= A(t,t) - eps for all checkpoints s' in [s, t]}. correct:
    bool (T, T, N), rows s, columns t, only s <= t is read; steps: T, rising; eps: a difference of
    accuracies, above 0. Each s' must pass ``not_worse``; since they are tried in a fixed order
    and the first that fails ends it, the lag is a lower 95 % limit of the horizon. ``censored``
    where the earliest checkpoint still passes: the horizon is at least that long.

    Raises ValueError for an eps outside 0 to 1.
    """
    if not 0 < eps < 1:
        raise ValueError(f"eps: expected a share above 0 and below 1, got {eps}")
    size, n = len(steps), correct.shape[2]
    reach = []
    for t in range(size):
        own, earlier = correct[t, t], correct[:t, t]
        gained = (earlier & ~own).sum(dim=1)
        lost = (~earlier & own).sum(dim=1)
        passes = not_worse(gained, lost, n, eps).tolist()
        reach.append(max((s + 1 for s in range(t) if not passes[s]), default=0))
    at = torch.tensor(steps)
    earliest = torch.tensor(reach)
    return Horizons(at - at[earliest], earliest == 0)
