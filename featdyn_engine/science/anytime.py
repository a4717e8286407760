"""Accuracy of a splice on a finite evaluation set, from as few of its examples as will do.

The set of N examples is the population: an interval here is about the number that evaluating
all N would give, not about other sets or other seeds. Whether the plain network t is right is
known on all N (the diagonal is computed anyway), and a splice is mostly right where t is. So the
examples seen, a random subset, are post-stratified: A = W1 p1 + W0 p0, with the known shares W1
of examples on which t is right and W0 on which it is wrong, and the cell's accuracy p in each.

Ours, from known parts: Wilson's score interval (1927) in each stratum for an effective sample
size that corrects for the finite population, n_eff = n_h (N_h - 1) / (N_h - n_h) (Cochran,
Sampling Techniques, 1977, ch. 3), combined by MOVER (Zou & Donner 2008). Looking often and
stopping at the first small width isn't corrected for: in simulation the interval at the stop
still covers 0.94 to 1.00 (``tests/science/test_anytime.py``).
"""

from typing import NamedTuple

import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

Counts = Tensor | NDArray | float  # type: ignore[type-arg]

FIRST_LOOK = 400
GROWTH = 1.2
ROUNDING = 1e-6  # of an example: what float64 may add to a whole number
Z = float(ndtri(0.975))


class Estimate(NamedTuple):
    """Accuracy, its 95 % limits (each 0 to 1) and half their distance: float64, one shape."""

    estimate: Tensor
    low: Tensor
    high: Tensor
    half_width: Tensor


class _Part(NamedTuple):
    """What a stratum adds to the estimate, and to the distances to its limits."""

    estimate: Tensor
    below: Tensor
    above: Tensor
    unknown: Tensor


def looks(size: int) -> list[int]:
    """Numbers of examples after which to look: 400 x 1.2^k, rounded, and ``size`` as the last.
    Raises ValueError for a set without examples.
    """
    if size < 1:
        raise ValueError(f"size: expected at least 1 example, got {size}")
    sizes, wanted = [], float(FIRST_LOOK)
    while round(wanted) < size:
        sizes.append(round(wanted))
        wanted *= GROWTH
    return [*sizes, size]


def _tensors(*counts: Counts) -> list[Tensor]:
    given = [torch.as_tensor(each, dtype=torch.float64) for each in counts]
    return list(torch.broadcast_tensors(*given))


def _part(total: Tensor, size: Tensor, seen: Tensor, correct: Tensor) -> _Part:
    """Wilson's interval of one stratum for n_eff, times the stratum's weight size / total."""
    weight = size / total
    unseen = (seen == 0) & (size > 0)
    # 1 / n_eff: 0 for a stratum that was seen in full, or has no examples.
    inverse = torch.where(unseen, 0.0, (size - seen) / (seen * (size - 1)).clamp(min=1))
    share = torch.where(unseen, 0.5, correct / seen.clamp(min=1))
    spread = Z * Z * inverse
    centre = (share + spread / 2) / (1 + spread)
    half = (spread * (share * (1 - share) + spread / 4)).sqrt() / (1 + spread)
    return _Part(
        weight * share,
        weight * (share - centre + half),
        weight * (centre + half - share),
        torch.where(unseen, weight / 2, 0.0),
    )


def post_stratified(
    right: Counts,
    wrong: Counts,
    seen_right: Counts,
    seen_wrong: Counts,
    correct_right: Counts,
    correct_wrong: Counts,
) -> Estimate:
    """Estimate accuracies on all N = right + wrong examples from a random subset of them.

    Each is a count of any shape (they broadcast; one element a cell): examples on which the plain
    network t is right, and wrong; those of each that the cell has seen; those of these on which
    the cell is correct. A stratum seen in full has no width; one of which nothing was seen yet
    may be anything from 0 to 1. Raises ValueError for no examples, or counts that aren't nested.
    """
    right, wrong, seen_right, seen_wrong, correct_right, correct_wrong = _tensors(
        right, wrong, seen_right, seen_wrong, correct_right, correct_wrong
    )
    total = right + wrong
    _check(right, seen_right, correct_right)
    _check(wrong, seen_wrong, correct_wrong)
    if not bool((total > 0).all()):
        raise ValueError("counts: expected at least one example, got none")
    a = _part(total, right, seen_right, correct_right)
    b = _part(total, wrong, seen_wrong, correct_wrong)
    estimate = a.estimate + b.estimate
    # What nothing is known of may be off in full: it adds itself, not its square.
    unknown = a.unknown + b.unknown
    # The true number correct is whole. Limits between two whole numbers would miss by a fraction
    # of an example where few are left: coverage 0.77 at N = 500, instead of 0.96.
    low = ((estimate - torch.hypot(a.below, b.below) - unknown) * total + ROUNDING).floor()
    high = ((estimate + torch.hypot(a.above, b.above) + unknown) * total - ROUNDING).ceil()
    low, high = (low / total).clamp(0, 1), (high / total).clamp(0, 1)
    return Estimate(estimate, low, high, (high - low) / 2)


def _check(size: Tensor, seen: Tensor, correct: Tensor) -> None:
    if not bool(((correct >= 0) & (correct <= seen) & (seen <= size)).all()):
        raise ValueError("counts: expected 0 <= correct <= seen <= all, in each stratum")


def fresh_size(
    right: Counts,
    wrong: Counts,
    seen_right: Counts,
    seen_wrong: Counts,
    correct_right: Counts,
    correct_wrong: Counts,
    target: float,
) -> Tensor:
    """Choose, from a pilot, how many fresh examples reach the half-width ``target`` (0 to 1).

    For the option ``strict``, which never stops on a width that it has seen: a pilot, then this
    one number of examples drawn from those the pilot left, then ``after_pilot``. The counts are
    those of ``post_stratified``, seen and correct being the pilot's. In each stratum the accuracy
    is planned as the pilot's Wilson limit nearest to 1/2, where intervals are widest: an
    optimistic pilot must not miss the target. What was drawn may still miss it by a little (pilots
    of 400, a target of 1 point: 0 to 4 % of cells with N = 10,000, 3 to 20 % with N = 1,000).

    Returns int64, 0 to the number of examples left. Raises ValueError for a target outside 0 to 1,
    and what ``post_stratified`` does.
    """
    if not 0 < target < 1:
        raise ValueError(f"target: expected a half-width between 0 and 1, got {target}")
    post_stratified(right, wrong, seen_right, seen_wrong, correct_right, correct_wrong)
    right, wrong, seen_right, seen_wrong, correct_right, correct_wrong = _tensors(
        right, wrong, seen_right, seen_wrong, correct_right, correct_wrong
    )
    left_right, left_wrong = right - seen_right, wrong - seen_wrong
    left = left_right + left_wrong
    share_right = _widest(right, seen_right, correct_right)
    share_wrong = _widest(wrong, seen_wrong, correct_wrong)

    def wide(n: Tensor) -> Tensor:
        rate = n / left.clamp(min=1)
        plan = post_stratified(
            torch.where(left == 0, 1.0, left_right),
            left_wrong,
            left_right * rate,
            left_wrong * rate,
            left_right * rate * share_right,
            left_wrong * rate * share_wrong,
        )
        return plan.half_width * left / (right + wrong) > target

    # Bisection: too few is too wide, all that are left are never.
    few, enough = torch.zeros_like(left), left.clone()
    for _ in range(int(left.max()).bit_length() + 1):
        middle = ((few + enough) / 2).floor()
        too_wide = wide(middle)
        few = torch.where(too_wide, middle, few)
        enough = torch.where(too_wide, enough, middle)
    return enough.long()


def _widest(size: Tensor, seen: Tensor, correct: Tensor) -> Tensor:
    """Return the accuracy nearest to 1/2 within a stratum's interval; 1/2 if nothing was seen."""
    part = _part(size.clamp(min=1), size.clamp(min=1), seen, correct)
    low = part.estimate - part.below - part.unknown
    high = part.estimate + part.above + part.unknown
    return torch.full_like(low, 0.5).clamp(low, high).clamp(0, 1)


def after_pilot(
    right: Counts,
    wrong: Counts,
    pilot: tuple[Counts, Counts, Counts, Counts],
    fresh: tuple[Counts, Counts, Counts, Counts],
) -> Estimate:
    """Estimate accuracies from a pilot, which chose the sample size, and the fresh examples.

    pilot, fresh: (seen_right, seen_wrong, correct_right, correct_wrong) of each, without overlap.
    The pilot's examples are counted as what they are; the fresh ones speak for those that the
    pilot left. So the interval holds whatever the pilot was. Raises what ``post_stratified`` does.
    """
    right, wrong, *seen = _tensors(right, wrong, *pilot)
    left_right, left_wrong = right - seen[0], wrong - seen[1]
    left, total = left_right + left_wrong, right + wrong
    none_left = torch.where(left == 0, 1.0, left_right)
    rest = post_stratified(none_left, left_wrong, *fresh)
    known, weight = (seen[2] + seen[3]) / total, left / total
    return Estimate(
        known + weight * rest.estimate,
        known + weight * rest.low,
        known + weight * rest.high,
        weight * rest.half_width,
    )
