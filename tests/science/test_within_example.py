"""Permutation nulls: their size on exchangeable pairs, and what pooled reshuffling can't find."""

import numpy as np
import pytest
from scipy.stats import binom

from featdyn_engine.randomness import generator
from featdyn_engine.science.total_variation import kde_total_variation
from featdyn_engine.science.two_sample import (
    classifier_scores,
    gaussian_kernel,
    median_distance,
    mmd2,
    sliced_wasserstein,
)
from featdyn_engine.science.within_example import (
    Floats,
    Groupings,
    Permuted,
    paired_examples,
    permuted,
    regroupings,
    swaps,
)


def pairs(draw: np.random.Generator, n: int, shift: float, correlation: float, d: int) -> Floats:
    """Pooled rows (2n, d) of pairs with unit variance, the second of each moved by ``shift``."""
    common = np.sqrt(correlation) * draw.standard_normal((n, d))
    own = np.sqrt(1 - correlation) * draw.standard_normal((2, n, d))
    return np.vstack([common + own[0], common + own[1] + shift])


def mmd_of(pooled: Floats, groupings: Groupings) -> Permuted:
    examples = paired_examples(len(pooled) // 2)
    kernel = gaussian_kernel(pooled, median_distance(pooled, examples))
    return permuted(mmd2(kernel, examples, groupings))


def test_swaps_keep_one_row_of_every_example_on_each_side() -> None:
    found = swaps(30, 50, generator("test", 0))
    assert found.shape == (51, 60)
    assert (found[:, :30] != found[:, 30:]).all()
    assert found[0, :30].all()
    assert 0.4 < found[1:, :30].mean() < 0.6
    assert (found == swaps(30, 50, generator("test", 0))).all()


def test_regroupings_keep_the_sizes_of_both_sets() -> None:
    found = regroupings(10, 25, 40, generator("test", 0))
    assert found.shape == (41, 35)
    assert (found.sum(axis=1) == 10).all()
    assert found[0, :10].all()
    assert len({tuple(row) for row in found}) == 41


def test_a_p_value_counts_the_observed_value_among_its_null() -> None:
    found = permuted(np.array([3.0, 1.0, 2.0, 3.0, 4.0]))
    assert (found.value, found.mean, found.excess) == (3.0, 2.5, 0.5)
    assert found.p == pytest.approx(3 / 5)
    assert found.high == pytest.approx(np.quantile([1, 2, 3, 4], 0.95))
    assert permuted(np.array([9.0, 1.0, 2.0, 3.0, 4.0])).p == pytest.approx(1 / 5)


def test_values_that_differ_by_rounding_count_as_equal() -> None:
    assert permuted(np.array([0.3, 0.3 - 1e-16, 0.3 + 1e-16])).p == 1
    assert permuted(np.array([0.0, -1e-19, 1e-19])).p == 1


def test_a_null_without_permutations_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the observed one and others, got 1"):
        permuted(np.array([1.0]))


def test_exchangeable_pairs_are_found_no_more_often_than_the_level() -> None:
    draw = np.random.default_rng(0)
    stream = generator("test of size", 0)
    times = 300
    found = [mmd_of(pairs(draw, 25, 0, 0.9, 2), swaps(25, 39, stream)).p for _ in range(times)]
    # With 39 permutations p <= 0.05 has probability exactly 2 / 40 for a continuous statistic.
    low, high = binom.interval(0.999, times, 0.05)
    assert low <= sum(p <= 0.05 for p in found) <= high


@pytest.mark.slow
def test_every_measure_finds_exchangeable_pairs_no_more_often_than_the_level() -> None:
    draw = np.random.default_rng(1)
    stream = generator("test of size", 1)
    n, times = 24, 80
    examples = paired_examples(n)
    half = examples % 2 == 0
    rejected = dict.fromkeys(("kde", "wasserstein", "classifier"), 0)
    for _ in range(times):
        pooled = pairs(draw, n, 0, 0.7, 2)
        groupings = swaps(n, 19, stream)
        values = {
            "kde": kde_total_variation(pooled, examples, examples * 0, groupings, 2, half),
            "wasserstein": sliced_wasserstein(pooled, groupings, 10, 0),
            "classifier": classifier_scores(pooled, examples, groupings, 0).mean(axis=1),
        }
        for name, value in values.items():
            assert value is not None
            rejected[name] += permuted(value).p <= 0.05
    assert max(rejected.values()) <= binom.ppf(0.999, times, 0.05)


def test_a_small_shift_of_close_pairs_is_found_by_swaps_and_not_by_pooled_reshuffling() -> None:
    draw = np.random.default_rng(2)
    stream = generator("test of power", 0)
    n, times = 300, 15
    within, pooled_null = 0, 0
    for _ in range(times):
        pooled = pairs(draw, n, 0.1, 0.9, 1)
        within += mmd_of(pooled, swaps(n, 99, stream)).p <= 0.05
        pooled_null += mmd_of(pooled, regroupings(n, n, 99, stream)).p <= 0.05
    # Power is 0.7 here.
    assert within >= 7
    assert pooled_null == 0


def test_features_that_did_not_move_are_never_found() -> None:
    draw = np.random.default_rng(3)
    n = 40
    rows = draw.standard_normal((n, 3))
    pooled, examples = np.vstack([rows, rows]), paired_examples(n)
    groupings = swaps(n, 19, generator("test", 3))
    assert mmd_of(pooled, groupings).value == pytest.approx(0, abs=1e-12)
    assert mmd_of(pooled, groupings).p == 1
    for values in (
        kde_total_variation(pooled, examples, examples * 0, groupings, 2, examples < 20),
        sliced_wasserstein(pooled, groupings, 10, 0),
    ):
        assert values is not None
        assert np.abs(values).max() < 1e-12
        assert permuted(values).p == 1
    scores = classifier_scores(pooled, examples, groupings, 0)
    assert (scores == 0.5).all()
