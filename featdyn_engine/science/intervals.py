"""Intervals of accuracies, their differences and their ratios, at 95 %.

Two variances, never mixed. *Over examples*: other evaluation sets of N examples from the same
law, the trained networks held fixed; everything here but ``over_seeds``. *Over seeds*: other runs
of the same recipe; ``over_seeds`` alone. Arguments may be NumPy arrays or CPU tensors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from featdyn_engine.science import tango
from featdyn_engine.science.consistency import MIN_STANDARD_ERRORS

Z = float(ndtri(0.975))
# A bootstrap can't draw what it hasn't seen: with few examples outside the commonest outcome
# (right in both, say) it is too narrow, and of no width when there are none.
FEWEST_FOR_BOOTSTRAP = 20
# Above it, the denominator of a ratio is too noisy for the ratio to be of use.
LARGEST_G = 0.05

Floats = NDArray[np.float64]


class PairedDifference(NamedTuple):
    """Accuracy of a minus that of b, its 95 % limits, and the method: 'bootstrap' or 'tango'."""

    difference: float
    low: float
    high: float
    method: str


def wilson(correct: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """Score interval of an accuracy, over examples (Wilson 1927).

    correct: counts of any shape, 0 to n; n: examples, at least 1, of a shape that broadcasts.
    Returns low and high, each 0 to 1. Near 0 and 1 it covers less than it says; computed exactly
    for n = 1,000: 0.92 at p = 0.999, and 0.84 at the worst p above. Raises ValueError for counts
    outside 0 .. n, or n < 1.
    """
    right, size = map(np.array, np.broadcast_arrays(np.asarray(correct, float), n))
    if np.any(size < 1) or np.any(right < 0) or np.any(right > size):
        raise ValueError("correct: expected counts from 0 to n, and n of at least 1")
    # Three lines instead of statsmodels, whose import takes longer than a live splice.
    centre, total = (right + Z**2 / 2) / (size + Z**2), size + Z**2
    reach = Z * np.sqrt(right * (size - right) / size + Z**2 / 4) / total
    return np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1)


def paired_difference(
    a: ArrayLike, b: ArrayLike, resamples: int, stream: torch.Generator
) -> PairedDifference:
    """Difference of two cells' accuracies on the same examples, over examples.

    a, b: bool (N,), whether each cell is right. See ``difference_of_counts``. Raises ValueError
    for arrays of different length or of none.
    """
    first, second = np.asarray(a, bool), np.asarray(b, bool)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(f"a, b: expected bool (N,) twice, got {first.shape} and {second.shape}")
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    return difference_of_counts(gained, lost, first.size, resamples, stream)


def difference_of_counts(
    gained: int, lost: int, n: int, resamples: int, stream: torch.Generator
) -> PairedDifference:
    """Difference (gained - lost) / n of two accuracies on the same n examples, over examples.

    gained: examples right in the first cell alone; lost: in the second alone. Percentile interval
    of a paired bootstrap; Tango's score interval (Tango 1998) where fewer than 20 examples are
    outside the commonest of the outcomes "gained", "lost" and "the same". All are -1 to 1.
    Raises ValueError for counts that are negative or over n, or fewer than 1 resample.
    """
    if min(gained, lost) < 0 or gained + lost > n or n < 1 or resamples < 1:
        raise ValueError(f"expected 0 <= gained + lost <= n, got {gained}, {lost} and n = {n}")
    difference = (gained - lost) / n
    if n - max(gained, lost, n - gained - lost) < FEWEST_FOR_BOOTSTRAP:
        low, high = map(float, tango.limits(gained, lost, n, Z))
        return PairedDifference(difference, low, high, "tango")
    drawn = _resampled(gained, lost, n, resamples, stream)
    low, high = np.quantile(drawn.numpy(), (0.025, 0.975)) / n
    return PairedDifference(difference, float(low), float(high), "bootstrap")


def _resampled(
    gained: int, lost: int, n: int, resamples: int, stream: torch.Generator
) -> torch.Tensor:
    """Draw gained - lost of n examples drawn with replacement: float64 (resamples,).

    Such counts are multinomial: no example has to be drawn.
    """
    all_n = torch.full((resamples,), float(n), dtype=torch.float64)
    up = torch.binomial(all_n, torch.full_like(all_n, gained / n), generator=stream)
    share = torch.full_like(all_n, lost / (n - gained))
    return up - torch.binomial(all_n - up, share, generator=stream)


def mcnemar(gained: int, lost: int) -> float:
    """P value that two cells are equally often right, over examples (McNemar 1947), exact.

    gained, lost: examples right in one cell alone. Two-sided, binomial, in (0, 1]; 1 where there
    are none. Raises ValueError for negative counts.
    """
    if min(gained, lost) < 0:
        raise ValueError(f"gained, lost: expected counts, got {gained} and {lost}")
    from statsmodels.stats import contingency_tables

    return float(contingency_tables.mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)


def fieller(
    numerator: ArrayLike,
    denominator: ArrayLike,
    variance_numerator: ArrayLike,
    variance_denominator: ArrayLike,
    covariance: ArrayLike,
) -> tuple[Floats, Floats, Floats]:
    """Ratio of two estimates that are jointly normal, and its 95 % limits (Fieller 1954).

    Over whatever the variances are over. Arguments broadcast. All three results are NaN where
    g = z^2 variance / denominator^2 of the denominator is over 0.05, or the denominator is 0.
    Raises ValueError for a negative variance.
    """
    top, bottom, var_top, var_bottom, cov = (
        np.asarray(each, float)
        for each in np.broadcast_arrays(
            numerator, denominator, variance_numerator, variance_denominator, covariance
        )
    )
    if np.any(var_top < 0) or np.any(var_bottom < 0):
        raise ValueError("variances: expected none below 0")
    kept = (Z**2 * var_bottom <= LARGEST_G * bottom**2) & (bottom != 0)
    bottom = np.where(kept, bottom, np.nan)
    # The limits are the roots r of (top - r bottom)^2 = z^2 Var(top - r bottom). This form, unlike
    # the textbook's, has no division by the denominator's variance, which may be 0.
    square = bottom**2 - Z**2 * var_bottom
    middle = top * bottom - Z**2 * cov
    root = np.sqrt(np.maximum(middle**2 - square * (top**2 - Z**2 * var_top), 0))
    return top / bottom, (middle - root) / square, (middle + root) / square


def retention_interval(
    cell_correct: ArrayLike, own_correct: ArrayLike, cell_chance: ArrayLike, own_chance: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """M = (A(s,t) - c(s,t)) / (A(t,t) - c(t,t)), its 95 % limits over examples (Fieller 1954).

    cell_correct, own_correct: bool (..., N), whether the cell and the plain network t are right
    on the same examples; leading shapes broadcast. cell_chance, own_chance: (...), taken as
    fixed, though they are estimated from the same examples. Returns ratio, low, high (...), all
    NaN where ``consistency.retention`` is: A(t,t) - c(t,t) under 9 standard errors.

    The variances are those of the table of counts with one example more right in each of the two
    alone (after Bonett & Price 2012). Unsmoothed, an interval without discordant examples has no
    width (one expected: simulated coverage 0.63); smoothed, 0.945 and up, with few or many.
    Raises ValueError for arrays without examples or with different numbers of them.
    """
    cell, own = np.asarray(cell_correct, bool), np.asarray(own_correct, bool)
    if cell.shape[-1:] != own.shape[-1:] or not cell.size or not own.size:
        raise ValueError(f"expected bool (..., N) twice, got {cell.shape} and {own.shape}")
    n = cell.shape[-1]
    cell_above = cell.mean(axis=-1) - np.asarray(cell_chance, float)
    own_above = own.mean(axis=-1) - np.asarray(own_chance, float)
    cell_share = (cell.sum(axis=-1) + 1) / (n + 2)
    own_share = (own.sum(axis=-1) + 1) / (n + 2)
    both_share = (cell & own).sum(axis=-1) / (n + 2)
    own_variance = own_share * (1 - own_share) / n
    kept = own_above >= MIN_STANDARD_ERRORS * np.sqrt(own_variance)
    return fieller(
        cell_above,
        np.where(kept, own_above, 0.0),
        cell_share * (1 - cell_share) / n,
        own_variance,
        (both_share - cell_share * own_share) / n,
    )


def over_seeds(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean of one number over S independent runs, and its limits by Student's t, over seeds.

    values: (S,), one a run. The limits are None for one run, which tells nothing of others. They
    aren't held to the range of the values. Raises ValueError for no run.
    """
    if not len(values):
        raise ValueError("values: expected at least one run, got none")
    runs = np.asarray(values, float)
    mean = float(runs.mean())
    if len(runs) < 2:
        return mean, None, None
    half = float(stdtrit(len(runs) - 1, 0.975) * runs.std(ddof=1) / len(runs) ** 0.5)
    return mean, mean - half, mean + half
