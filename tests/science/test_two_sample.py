"""Distances against closed forms between Gaussians and slow independent sums."""

import itertools

import numpy as np
import pytest
from scipy.stats import beta, norm, wasserstein_distance

from featdyn_engine.randomness import generator
from featdyn_engine.science.two_sample import (
    accuracy_low,
    classifier_scores,
    gaussian_kernel,
    median_distance,
    mmd2,
    sliced_wasserstein,
)
from featdyn_engine.science.within_example import paired_examples, regroupings, swaps


def test_mmd2_is_the_sum_over_pairs_of_different_examples() -> None:
    draw = np.random.default_rng(0)
    n = 6
    x, y = draw.standard_normal((2, n, 3))
    pooled, examples = np.vstack([x, y]), paired_examples(n)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * 1.7**2)))

    total = sum(
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
        for i, j in itertools.permutations(range(n), 2)
    )
    found = mmd2(gaussian_kernel(pooled, 1.7), examples, swaps(n, 1, generator("test", 0)))
    assert found[0] == pytest.approx(total / (n * (n - 1)))


def test_a_swapped_grouping_is_that_of_the_swapped_rows() -> None:
    draw = np.random.default_rng(1)
    n = 8
    pooled, examples = draw.standard_normal((2 * n, 3)), paired_examples(n)
    groupings = swaps(n, 3, generator("test", 1))
    kernel = gaussian_kernel(pooled, 1.0)
    for values, again in (
        (
            mmd2(kernel, examples, groupings),
            lambda rows: mmd2(gaussian_kernel(rows, 1.0), examples, groupings[:1]),
        ),
        (
            sliced_wasserstein(pooled, groupings, 7, 0),
            lambda rows: sliced_wasserstein(rows, groupings[:1], 7, 0),
        ),
    ):
        for first, value in zip(groupings, values, strict=True):
            rows = np.vstack([pooled[first], pooled[~first]])
            order = np.concatenate([examples[first], examples[~first]])
            assert sorted(order[:n]) == list(range(n))
            # Rows of the first law in their own order: put both halves into that of examples.
            rows = np.vstack([rows[:n][np.argsort(order[:n])], rows[n:][np.argsort(order[n:])]])
            assert again(rows)[0] == pytest.approx(value)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_mmd2_is_unbiased_between_gaussians_also_on_pairs(correlation: float) -> None:
    draw = np.random.default_rng(2)
    n, d, width, shift, times = 20, 2, 1.3, 0.8, 600
    examples = paired_examples(n)
    observed = (np.arange(2 * n) < n)[None]
    found = []
    for _ in range(times):
        common = np.sqrt(correlation) * draw.standard_normal((n, d))
        own = np.sqrt(1 - correlation) * draw.standard_normal((2, n, d))
        second = common + own[1]
        second[:, 0] += shift
        pooled = np.vstack([common + own[0], second])
        found.append(mmd2(gaussian_kernel(pooled, width), examples, observed)[0])
    # E k(a, b) of a - b ~ N(m, 2 I): (w^2 / (w^2 + 2))^(d/2) exp(-|m|^2 / (2 (w^2 + 2))).
    closed = 2 * (width**2 / (width**2 + 2)) ** (d / 2)
    closed *= 1 - np.exp(-(shift**2) / (2 * (width**2 + 2)))
    assert abs(np.mean(found) - closed) < 4 * np.std(found) / np.sqrt(times)


def test_mmd2_of_unequal_sets_averages_each_part_over_its_own_pairs() -> None:
    draw = np.random.default_rng(3)
    pooled = draw.standard_normal((9, 2))
    kernel = gaussian_kernel(pooled, 1.0)
    x, y = range(4), range(4, 9)
    within_x = np.mean([kernel[i, j] for i, j in itertools.permutations(x, 2)])
    within_y = np.mean([kernel[i, j] for i, j in itertools.permutations(y, 2)])
    across = np.mean([kernel[i, j] for i in x for j in y])
    found = mmd2(kernel, np.arange(9), regroupings(4, 5, 1, generator("test", 2)))
    assert found[0] == pytest.approx(within_x + within_y - 2 * across)


def test_the_median_distance_leaves_out_rows_of_one_example() -> None:
    pooled = np.array([[0.0], [10.0], [0.1], [10.2]])
    assert median_distance(pooled, paired_examples(2)) == pytest.approx(
        np.median([10.0, 10.2, 9.9, 10.1])
    )


def test_a_width_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="width: expected a positive number, got 0"):
        gaussian_kernel(np.zeros((2, 1)), 0.0)


def test_in_one_dimension_sliced_wasserstein_is_that_of_sorted_rows() -> None:
    draw = np.random.default_rng(4)
    x, y = draw.standard_normal(50), 2 * draw.standard_normal(50) + 1
    observed = (np.arange(100) < 50)[None]
    found = sliced_wasserstein(np.concatenate([x, y])[:, None], observed, 5, 0)
    assert found[0] == pytest.approx(np.sqrt(np.mean((np.sort(x) - np.sort(y)) ** 2)))
    assert found[0] >= wasserstein_distance(x, y)


def test_sliced_wasserstein_between_gaussians_has_its_closed_form() -> None:
    draw = np.random.default_rng(5)
    n, d, shift, scale = 4000, 3, 2.0, 1.5
    first = draw.standard_normal((n, d))
    second = scale * draw.standard_normal((n, d))
    second[:, 0] += shift
    observed = (np.arange(2 * n) < n)[None]
    found = sliced_wasserstein(np.vstack([first, second]), observed, 200, 0)
    # Along a unit u: (shift u_1)^2 + (scale - 1)^2, and the mean of u_1^2 is 1 / d.
    assert found[0] == pytest.approx(np.sqrt(shift**2 / d + (scale - 1) ** 2), rel=0.05)


def test_a_classifier_reaches_the_best_accuracy_between_gaussians_and_half_between_equal_laws() -> (
    None
):
    draw = np.random.default_rng(6)
    n, shift = 1500, 2.0
    observed = (np.arange(2 * n) < n)[None]
    for moved, expected, near in ((shift, norm.cdf(shift / 2), 0.02), (0.0, 0.5, 0.05)):
        pooled = draw.standard_normal((2 * n, 2))
        pooled[n:, 0] += moved
        scores = classifier_scores(pooled, paired_examples(n), observed, 0)
        assert scores.shape == (1, n)
        assert set(np.unique(scores)) <= {0.0, 0.5, 1.0}
        assert scores.mean() == pytest.approx(expected, abs=near)


def test_laws_of_unequal_size_are_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 2))
    groupings = np.arange(30)[None] < 20
    with pytest.raises(ValueError, match=r"half of 30 rows in each law, got \[20\]"):
        classifier_scores(rows, np.arange(30), groupings, 0)


def test_folds_keep_the_rows_of_an_example_together() -> None:
    # Examples far apart, laws alike: with its other row in training a row would be recognised,
    # as the *other* law, and the accuracy fall far below one half.
    draw = np.random.default_rng(7)
    n = 30
    far = 10 * np.eye(n)
    pooled = np.vstack([far, far]) + 1e-3 * draw.standard_normal((2 * n, n))
    observed = (np.arange(2 * n) < n)[None]
    scores = classifier_scores(pooled, paired_examples(n), observed, 0)
    assert scores.mean() == pytest.approx(0.5, abs=0.15)


def test_the_lower_limit_counts_examples_and_not_rows() -> None:
    scores = np.array([1.0] * 30 + [0.5] * 10 + [0.0] * 10)
    assert accuracy_low(scores) == pytest.approx(beta.ppf(0.05, 35, 50 - 35 + 1))
    assert accuracy_low(np.repeat(scores, 2)) > accuracy_low(scores)
    assert accuracy_low(np.zeros(5)) == 0


@pytest.mark.parametrize("both", [0.5, 1.0])
def test_the_lower_limit_covers_however_the_rows_of_an_example_depend(both: float) -> None:
    # ``both``: chance that the second row is right or wrong just as the first.
    draw = np.random.default_rng(8)
    n, accuracy, times = 60, 0.7, 400
    first, other = draw.random((2, times, n)) < accuracy
    second = np.where(draw.random((times, n)) < both, first, other)
    lows = [accuracy_low(row) for row in (first * 1.0 + second) / 2]
    assert np.mean(np.array(lows) <= accuracy) >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / times)
