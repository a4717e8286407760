"""The score of a cube, its excess over a control, and their intervals over examples.

TC = sum w_s w_t (A(s,t) - c(s,t)) / sum w_s w_t (A(t,t) - c(t,t)), ours (docs/notation.md); the
weights come from ``featdyn_engine.science.consistency.pair_weights``.

Each cell is held against the chance of its *own* predictions: with one c for both, a cell that
always says the commonest class would score above 0 on unbalanced labels. So a score is 0 where
predictions are independent of the labels and M where every retention is M. The score of a
control has its own cells above and the run's A(t,t) - c(t,t) below, so that the two differ in
the shallow part alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from featdyn_engine.science.consistency import MIN_STANDARD_ERRORS

LEVEL = 0.95
# Elements of the largest temporary tensor: 32 MB of int64 or float64, a few of them at a time.
CHUNK = 2**22


@dataclass(frozen=True)
class Estimate:
    """P values with their 95 % percentile limits: float64 (P,) each, NaN where refused."""

    value: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class Scores:
    """Scores of P sets of pairs, by accuracy and by agreement, and the run's excess over them.

    With a control the scores are the control's, and the excess is the run's score minus it. The
    asymmetry is a run's own: its score minus that of the same pairs the other way round.
    """

    accuracy: Estimate
    agreement: Estimate
    accuracy_excess: Estimate | None = None
    agreement_excess: Estimate | None = None
    accuracy_asymmetry: Estimate | None = None
    agreement_asymmetry: Estimate | None = None


def bootstrap(
    cube: Tensor,
    targets: Tensor,
    classes: int,
    weights: Tensor,
    resamples: int,
    generator: torch.Generator,
    control: Tensor | None = None,
    asymmetry: bool = False,
) -> Scores:
    """Score a cube, or a control against it, with bootstrap intervals over examples.

    cube: uint8 (T, T, N), class predicted by g_t h_s, rows s, columns t; targets: int64 (N,), the
    labels; classes: K; weights: float64 (P, T, T), for P sets of pairs, each with a positive sum;
    control: as the cube, another shallow part under the same g_t. Only cells with a weight, and
    the run's diagonal, are read; with ``asymmetry``, which no control has, also those opposite.

    A resample draws N examples with replacement and takes them in every cell, in the cube and the
    control alike: cells share their examples. Scores are functions of means over examples of
    weighted sums over cells, so the sums are made once for each example; the bootstrap is then a
    matrix product of the counts (resamples, N) and these sums, and exactly that of the cube.
    The interval is that of drawing other examples, for these networks; it says nothing about
    other seeds. Scores by accuracy are NaN where their denominator is under 9 bootstrap standard
    errors, as in ``retention``. Memory: the sums, 3 P N K float64 at most, and temporaries of a
    few times 32 MB.

    Raises ValueError for shapes that don't match, or labels outside 0 to K - 1.
    """
    _check(cube, targets, classes, weights, control)
    if asymmetry and control is None:
        weights = torch.cat([weights, weights.transpose(1, 2)])
    below = torch.diag_embed(weights.sum(dim=1))
    own = _Sums(_tally(cube, below, classes))
    cubes = [cube] if control is None else [cube, control]
    upper = [_Sums(_tally(each, weights, classes)) for each in cubes]
    same = [_agreeing(cube, each, weights) for each in cubes]
    labels = F.one_hot(targets, classes).double()
    whole = weights.sum(dim=(1, 2))

    def evaluate(counts: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        shares = counts / len(targets)
        label_shares = shares @ labels
        denominator = own.above_chance(shares, label_shares, targets)
        above = [sums.above_chance(shares, label_shares, targets) for sums in upper]
        return (
            [each / denominator for each in above],
            [shares @ each.T / whole for each in same],
            denominator,
        )

    accuracy, agreement, denominator = evaluate(labels.new_ones(1, len(targets)))
    drawn = [evaluate(counts) for counts in _counts(len(targets), resamples, generator)]
    spread = torch.cat([each[2] for each in drawn]).std(dim=0)
    kept = denominator[0] >= MIN_STANDARD_ERRORS * spread
    kept &= denominator[0] > 0
    by_accuracy = [torch.cat([each[0][i] for each in drawn]) for i in range(len(cubes))]
    by_agreement = [torch.cat([each[1][i] for each in drawn]) for i in range(len(cubes))]
    every = torch.ones_like(kept)
    if asymmetry and control is None:
        accuracy_score, of_accuracy = _there_and_back(accuracy[0], by_accuracy[0], kept)
        agreement_score, of_agreement = _there_and_back(agreement[0], by_agreement[0], every)
        return Scores(
            accuracy_score,
            agreement_score,
            accuracy_asymmetry=of_accuracy,
            agreement_asymmetry=of_agreement,
        )
    scores = (
        _estimate(accuracy[-1], by_accuracy[-1], kept),
        _estimate(agreement[-1], by_agreement[-1], every),
    )
    if control is None:
        return Scores(*scores)
    return Scores(
        *scores,
        _estimate(accuracy[0] - accuracy[1], by_accuracy[0] - by_accuracy[1], kept),
        _estimate(agreement[0] - agreement[1], by_agreement[0] - by_agreement[1], every),
    )


def _check(
    cube: Tensor, targets: Tensor, classes: int, weights: Tensor, control: Tensor | None
) -> None:
    size, _, n = cube.shape
    if control is not None and control.shape != cube.shape:
        raise ValueError(f"control: expected {tuple(cube.shape)}, got {tuple(control.shape)}")
    if weights.shape[1:] != (size, size):
        raise ValueError(f"weights: expected (P, {size}, {size}), got {tuple(weights.shape)}")
    if targets.shape != (n,) or int(targets.min()) < 0 or int(targets.max()) >= classes:
        raise ValueError(f"targets: expected {n} labels of 0 to {classes - 1}")


class _Sums:
    """Weighted sums over cells for each example: float64 (P, N, K), one a predicted class."""

    def __init__(self, votes: Tensor) -> None:
        self.votes = votes

    def above_chance(self, shares: Tensor, label_shares: Tensor, targets: Tensor) -> Tensor:
        """Weighted sum over cells of A - c in each of B resamples.

        shares: float64 (B, N), of each example; label_shares: (B, K). Returns (B, P).
        """
        right = self.votes[:, torch.arange(len(targets)), targets]
        accuracy = shares @ right.T
        predicted = torch.einsum("bn,pnk->bpk", shares, self.votes)
        return accuracy - torch.einsum("bpk,bk->bp", predicted, label_shares)


def _tally(cube: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Sum for each example the weights of the cells that predict each class: (P, N, K)."""
    n = cube.shape[2]
    used = weights.ne(0).any(dim=0)
    cell_weights = weights[:, used]
    votes = torch.zeros(len(weights), n, classes, dtype=torch.float64)
    rows = max(1, CHUNK // cell_weights.shape[1])
    for start in range(0, n, rows):
        predicted = cube[:, :, start : start + rows][used].T.long()
        for i, each in enumerate(cell_weights):
            part = votes[i, start : start + rows]
            part.scatter_add_(1, predicted, each.expand(predicted.shape))
    return votes


def _agreeing(cube: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """Sum for each example the weights of the cells that predict as network t does: (P, N)."""
    total = torch.zeros(len(weights), cube.shape[2], dtype=torch.float64)
    for t in range(len(cube)):
        total += weights[:, :, t] @ (other[:, t] == cube[t, t]).double()
    return total


def _counts(n: int, resamples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """How often each of N examples is drawn in each resample: float64 (B, N), a chunk at a time."""
    rows = max(1, CHUNK // n)
    for start in range(0, resamples, rows):
        size = (min(rows, resamples - start), n)
        drawn = torch.randint(n, size, generator=generator)
        counts = torch.zeros(size, dtype=torch.float64)
        yield counts.scatter_add_(1, drawn, torch.ones(1, 1, dtype=torch.float64).expand(size))


def _there_and_back(value: Tensor, drawn: Tensor, kept: Tensor) -> tuple[Estimate, Estimate]:
    """Score of P sets of pairs, and minus that of their opposites, which are the last P of 2 P."""
    there, back = value.chunk(2, dim=1)
    drawn_there, drawn_back = drawn.chunk(2, dim=1)
    first, second = kept.chunk(2)
    return (
        _estimate(there, drawn_there, first),
        _estimate(there - back, drawn_there - drawn_back, first & second),
    )


def _estimate(value: Tensor, drawn: Tensor, kept: Tensor) -> Estimate:
    """value: (1, P); drawn: (B, P); kept: bool (P,)."""
    tail = (1 - LEVEL) / 2
    # One set of pairs at a time: torch.quantile has a limit on the size of what it sorts.
    points = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    limits = torch.stack([torch.quantile(column, points) for column in drawn.T])
    parts = (value[0], limits[:, 0], limits[:, 1])
    return Estimate(*(torch.where(kept, part, torch.nan) for part in parts))
