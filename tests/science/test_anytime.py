import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from featdyn_engine.science.anytime import (
    Estimate,
    Z,
    after_pilot,
    fresh_size,
    looks,
    post_stratified,
)
from featdyn_engine.science.intervals import wilson

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
NOMINAL = 0.93


# --- Simulation -----------------------------------------------------------------------------


class Population(NamedTuple):
    """Examples of a cell by (network t right or wrong) and (cell right or wrong)."""

    both: int
    lost: int
    gained: int
    neither: int

    @property
    def strata(self) -> tuple[int, int]:
        return self.both + self.lost, self.gained + self.neither

    @property
    def accuracy(self) -> float:
        return (self.both + self.gained) / sum(self)


def population(size: int, own: float, disagreement: float, share_lost: float = 0.7) -> Population:
    """Network t right on ``own``; the cell's correctness differs on ``disagreement`` (of 1)."""
    right, discordant = round(own * size), round(disagreement * size)
    gained = min(round(discordant * (1 - share_lost)), size - right)
    lost = min(discordant - gained, right)
    return Population(right - lost, lost, gained, size - right - gained)


def drawn(rng: np.random.Generator, left: Integers, n: Integers) -> Integers:
    """Draw n of the examples left without replacement: both (4, repeats), n (repeats,)."""
    found, wanted, others = np.zeros_like(left), n.copy(), left.sum(axis=0)
    for kind in range(3):
        others = others - left[kind]
        found[kind] = rng.hypergeometric(left[kind], others, wanted)
        wanted = wanted - found[kind]
    found[3] = wanted
    return found


def followed(
    rng: np.random.Generator, cell: Population, sizes: list[int], repeats: int
) -> Integers:
    """Counts seen at each look of ``repeats`` random orders: (4, looks, repeats)."""
    left = np.repeat(np.array(cell)[:, None], repeats, axis=1)
    seen = []
    for more in np.diff([0, *sizes]):
        left = left - drawn(rng, left, np.full(repeats, more))
        seen.append(np.array(cell)[:, None] - left)
    return np.stack(seen, axis=1)


def counts(seen: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    both, lost, gained, neither = seen
    return both + lost, gained + neither, both, gained


class Stopped(NamedTuple):
    coverage: float
    average_n: float


def stopped(
    cell: Population, sizes: list[int], low: Floats, high: Floats, target: float
) -> Stopped:
    """Stop each order at its first half-width within the target; the last look is a census."""
    first = ((high - low) / 2 <= target + 1e-12).argmax(axis=0)
    hit = (low <= cell.accuracy + 1e-9) & (cell.accuracy <= high + 1e-9)
    covered = hit[first, np.arange(len(first))]
    return Stopped(float(covered.mean()), float(np.array(sizes)[first].mean()))


def anytime(cell: Population, target: float, repeats: int, seed: int = 0) -> Stopped:
    sizes = looks(sum(cell))
    seen = followed(np.random.default_rng(seed), cell, sizes, repeats)
    found = post_stratified(*cell.strata, *counts(seen))
    return stopped(cell, sizes, found.low.numpy(), found.high.numpy(), target)


def wald(cell: Population, target: float, sizes: list[int], repeats: int) -> Stopped:
    """The naive rival: the normal interval of the paired difference, stopped likewise."""
    size = sum(cell)
    _, lost, gained, _ = followed(np.random.default_rng(0), cell, sizes, repeats)
    n = np.array(sizes)[:, None]
    difference = (gained - lost) / n
    variance = ((gained + lost) / n - difference**2) / n * (size - n) / (size - 1)
    centre, half = cell.strata[0] / size + difference, Z * np.sqrt(variance)
    return stopped(cell, sizes, centre - half, centre + half, target)


def strict(cell: Population, target: float, repeats: int) -> tuple[Stopped, float]:
    """Pilot of 400, then what it asks for: coverage, average n, share that reached the target."""
    rng = np.random.default_rng(2)
    everyone = np.repeat(np.array(cell)[:, None], repeats, axis=1)
    pilot = drawn(rng, everyone, np.full(repeats, 400))
    n = fresh_size(*cell.strata, *counts(pilot), target).numpy()
    fresh = drawn(rng, everyone - pilot, n)
    found = after_pilot(*cell.strata, counts(pilot), counts(fresh))
    hit = (found.low <= cell.accuracy + 1e-9) & (cell.accuracy <= found.high + 1e-9)
    reached = float((found.half_width <= target).double().mean())
    return Stopped(float(hit.double().mean()), 400 + float(n.mean())), reached


# --- The estimate ---------------------------------------------------------------------------


def test_looks_grow_by_a_fifth_and_end_with_a_census() -> None:
    assert looks(1000) == [400, 480, 576, 691, 829, 995, 1000]
    assert looks(480) == [400, 480]
    assert looks(481) == [400, 480, 481]
    assert looks(400) == [400]
    assert looks(7) == [7]
    assert len(looks(10_000)) == 19


def test_looks_at_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 example, got 0"):
        looks(0)


def test_a_census_is_exact() -> None:
    found = post_stratified(70, 30, 70, 30, 61, 4)
    assert float(found.estimate) == float(found.low) == float(found.high) == pytest.approx(0.65)
    assert float(found.half_width) == 0


def by_hand(size: int, seen: int, correct: int) -> tuple[float, float, float]:
    n = seen * (size - 1) / (size - seen)
    p = correct / seen
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n * n))
    return p, centre - half, centre + half


def test_the_interval_is_wilsons_in_each_stratum_joined_by_mover_and_rounded_outwards() -> None:
    found = post_stratified(800, 200, 330, 70, 320, 5)
    (p1, l1, u1), (p0, l0, u0) = by_hand(800, 330, 320), by_hand(200, 70, 5)
    estimate = 0.8 * p1 + 0.2 * p0
    assert float(found.estimate) == pytest.approx(estimate)
    low = estimate - math.hypot(0.8 * (p1 - l1), 0.2 * (p0 - l0))
    high = estimate + math.hypot(0.8 * (u1 - p1), 0.2 * (u0 - p0))
    # Outwards to the next of the 1,000 examples.
    assert float(found.low) == pytest.approx(math.floor(1000 * low) / 1000)
    assert float(found.high) == pytest.approx(math.ceil(1000 * high) / 1000)
    assert float(found.half_width) == pytest.approx(float(found.high - found.low) / 2)


def test_one_stratum_of_a_huge_population_is_plain_wilson() -> None:
    found = post_stratified(10**12, 0, 400, 0, 391, 0)
    low, high = wilson(391, 400)
    assert float(found.low) == pytest.approx(float(low), abs=1e-8)
    assert float(found.high) == pytest.approx(float(high), abs=1e-8)


def test_a_stratum_without_examples_seen_may_be_anything() -> None:
    found = post_stratified(900, 100, 900, 0, 850, 0)
    assert (float(found.low), float(found.high)) == pytest.approx((0.85, 0.95))
    part = post_stratified(900, 100, 400, 0, 400, 0)
    known = post_stratified(900, 100, 400, 100, 400, 50)
    assert float(part.low) == pytest.approx(float(known.low) - 0.05)
    assert float(part.high) == pytest.approx(float(known.high) + 0.05)


@pytest.mark.parametrize("sizes", [(10, 10), (10, 0), (0, 1)])
def test_nothing_seen_is_everything_possible(sizes: tuple[int, int]) -> None:
    found = post_stratified(*sizes, 0, 0, 0, 0)
    assert (float(found.low), float(found.high)) == (0, 1)


def test_exchanging_the_strata_changes_nothing() -> None:
    there, back = (
        post_stratified(800, 200, 330, 70, 320, 5),
        post_stratified(200, 800, 70, 330, 5, 320),
    )
    assert [float(each) for each in there] == pytest.approx([float(each) for each in back])


def test_turning_right_and_wrong_turns_the_interval_round() -> None:
    there, back = (
        post_stratified(800, 200, 330, 70, 320, 5),
        post_stratified(800, 200, 330, 70, 10, 65),
    )
    assert float(there.low) == pytest.approx(1 - float(back.high))


def test_cells_of_any_shape_are_estimated_each_for_itself() -> None:
    seen = np.array([[[40, 20], [0, 12]], [[3, 0], [41, 9]]])
    cells = post_stratified(50, np.array([20, 30]), seen, 9, seen // 2, torch.tensor([[[4]]]))
    assert cells.estimate.shape == (2, 2, 2)
    for index in np.ndindex(2, 2, 2):
        k = int(seen[index])
        alone = post_stratified(50, (20, 30)[index[2]], k, 9, k // 2, 4)
        together = [float(each[index]) for each in cells]
        assert together == pytest.approx([float(each) for each in alone])


def test_arrays_and_tensors_give_the_same() -> None:
    arrays = [np.array(each) for each in ([80, 70], [20, 30], [50, 10], [9, 9], [44, 1], [2, 9])]
    given: Estimate = post_stratified(*arrays)
    same = post_stratified(*map(torch.from_numpy, arrays))
    for a, b in zip(given, same, strict=True):
        assert isinstance(a, Tensor)
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "wrong", [(9, 5, 10, 0, 0, 0), (9, 5, 4, 0, 5, 0), (9, 5, 0, 6, 0, 0), (9, 5, 0, 1, 0, -1)]
)
def test_counts_that_are_not_nested_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="0 <= correct <= seen <= all"):
        post_stratified(*wrong)


def test_a_population_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one example, got none"):
        post_stratified(0, 0, 0, 0, 0, 0)


# --- Coverage -------------------------------------------------------------------------------


@pytest.mark.parametrize("disagreement", [0.005, 0.02, 0.1, 0.4])
@pytest.mark.parametrize("size", [500, 1000, 10_000])
def test_stopping_at_the_target_covers(size: int, disagreement: float) -> None:
    for own, target in ((0.5, 0.01), (0.8, 0.02), (0.95, 0.01)):
        cell = population(size, own, disagreement)
        assert anytime(cell, target, 1500).coverage >= NOMINAL


@pytest.mark.parametrize(
    ("disagreement", "expected"), [(0.005, 490), (0.02, 850), (0.1, 2600), (0.4, 4800)]
)
def test_few_examples_do_where_a_cell_seldom_differs(disagreement: float, expected: int) -> None:
    # Over kinds of cells: one alone depends on where its looks fall (2,500 to 2,900 at 10 %).
    cells = [
        population(10_000, own, disagreement, lost)
        for own in (0.5, 0.8, 0.95)
        for lost in (0.5, 0.9)
    ]
    average = sum(anytime(cell, 0.01, 300).average_n for cell in cells) / len(cells)
    assert average == pytest.approx(expected, rel=0.1)


def test_a_wald_interval_stopped_early_does_not_cover() -> None:
    cell = population(10_000, 0.8, 0.005)
    early = [round(50 * 1.2**k) for k in range(30) if 50 * 1.2**k < 10_000]
    assert wald(cell, 0.01, [*early, 10_000], 1500).coverage < 0.30
    # Looks of ours don't save it: at 400 examples two discordant ones are expected.
    assert wald(cell, 0.01, looks(10_000), 1500).coverage < 0.90


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.01, 0.02])
@pytest.mark.parametrize("size", [430, 500, 720, 1000, 1797, 10_000])
def test_calibration_of_stopping(size: int, target: float) -> None:
    found = {
        (own, disagreement, lost): anytime(
            population(size, own, disagreement, lost), target, 4000
        ).coverage
        for own in (0.15, 0.5, 0.8, 0.95, 0.995)
        for disagreement in (0.002, 0.005, 0.02, 0.1, 0.4)
        for lost in (0.5, 0.9, 1.0)
    }
    assert min(found.values()) >= NOMINAL, sorted(found.items(), key=lambda each: each[1])[:5]


# --- Strict ---------------------------------------------------------------------------------


@pytest.mark.parametrize("disagreement", [0.005, 0.1, 0.4])
def test_a_pilots_choice_covers_and_mostly_reaches_the_target(disagreement: float) -> None:
    for size, own in ((1000, 0.8), (10_000, 0.95)):
        found, reached = strict(population(size, own, disagreement), 0.01, 1000)
        assert found.coverage >= NOMINAL
        assert reached > 0.75


def test_a_pilot_of_all_asks_for_nothing_and_is_exact() -> None:
    assert int(fresh_size(70, 30, 70, 30, 61, 4, 0.01)) == 0
    found = after_pilot(70, 30, (70, 30, 61, 4), (0, 0, 0, 0))
    assert [float(each) for each in found] == pytest.approx([0.65, 0.65, 0.65, 0])


def test_a_pilot_and_all_the_rest_are_a_census() -> None:
    found = after_pilot(70, 30, (40, 10, 35, 2), (30, 20, 26, 2))
    assert [float(each) for each in found] == pytest.approx([0.65, 0.65, 0.65, 0])


def test_a_tighter_target_asks_for_more_up_to_all_that_are_left() -> None:
    asked = [int(fresh_size(8000, 2000, 320, 80, 300, 9, h)) for h in (0.2, 0.02, 0.01, 1e-9)]
    assert asked == sorted(set(asked))
    assert asked[-1] == 9600


@pytest.mark.parametrize("target", [0.0, 1.0, math.nan])
def test_a_target_that_is_no_half_width_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="half-width between 0 and 1"):
        fresh_size(8, 2, 3, 1, 3, 0, target)
