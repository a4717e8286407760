"""Total variation between Gaussians of known distance, its bias, and the bounds beside it."""

import numpy as np
import pytest
from scipy.stats import binom, gaussian_kde, norm

from featdyn_engine.science.total_variation import (
    kde_total_variation,
    principal_coordinates,
    total_variation_low,
    total_variation_needed,
)
from featdyn_engine.science.two_sample import classifier_scores
from featdyn_engine.science.within_example import Floats, paired_examples


def unpaired(first: Floats, second: Floats, q: int, labels: np.ndarray | None = None) -> float:
    """TV of two samples of as many rows, every other row in a half."""
    pooled = np.vstack([first, second])
    rows = np.arange(len(pooled))
    observed = (rows < len(first))[None]
    known = np.zeros(len(pooled), dtype=np.int64) if labels is None else labels
    found = kde_total_variation(pooled, rows, known, observed, q, rows % 2 == 0)
    assert found is not None
    return float(found[0])


@pytest.mark.parametrize("apart", [0.5, 1.0, 2.0, 4.0])
def test_two_gaussians_have_their_known_distance_within_the_bias(apart: float) -> None:
    draw = np.random.default_rng(0)
    found = np.mean(
        [
            unpaired(draw.standard_normal((1000, 1)), draw.standard_normal((1000, 1)) + apart, 1)
            for _ in range(4)
        ]
    )
    # Smoothing takes up to 0.05 at these distances, finite samples give up to 0.05.
    assert abs(found - (2 * norm.cdf(apart / 2) - 1)) < 0.06


@pytest.mark.parametrize(("q", "bias"), [(1, 0.05), (2, 0.09), (3, 0.14)])
def test_equal_gaussians_have_the_stated_bias_at_500_points(q: int, bias: float) -> None:
    draw = np.random.default_rng(1)
    found = [
        unpaired(draw.standard_normal((1000, q)), draw.standard_normal((1000, q)), q)
        for _ in range(4)
    ]
    assert np.mean(found) == pytest.approx(bias, abs=0.02)


def test_a_half_is_the_mean_over_rows_of_scipys_density_estimates() -> None:
    draw = np.random.default_rng(2)
    n = 40
    pooled = np.concatenate([draw.standard_normal(n), draw.standard_normal(n) + 1])
    rows = np.arange(2 * n)
    half = rows % 2 == 0
    parts = []
    for fit in (half, ~half):
        z = (pooled - pooled[fit].mean()) / pooled[fit].std()
        width = (n / 2) ** (-1 / 5)
        f, g = (
            gaussian_kde(z[fit & law], bw_method=width / z[fit & law].std(ddof=1))
            for law in (rows < n, rows >= n)
        )
        at = z[~fit]
        parts.append(np.mean(np.abs(f(at) - g(at)) / (f(at) + g(at))))
    assert unpaired(pooled[:n, None], pooled[n:, None], 1) == pytest.approx(np.mean(parts))


def test_laws_that_differ_in_their_labels_alone_are_told_apart_by_the_labelled_distance() -> None:
    draw = np.random.default_rng(3)
    n = 600
    # One label each side of zero, the other way round in the second law: the features agree.
    first, second = draw.standard_normal((2, n, 1))
    labels = np.concatenate([first[:, 0] > 0, second[:, 0] <= 0]).astype(np.int64)
    assert unpaired(first, second, 1) < 0.12
    assert unpaired(first, second, 1, labels) > 0.7


def test_other_label_shares_alone_are_their_total_variation() -> None:
    draw = np.random.default_rng(4)
    n = 1000
    first, second = draw.standard_normal((2, n, 1))
    labels = np.concatenate([draw.random(n) < 0.5, draw.random(n) < 0.9]).astype(np.int64)
    assert unpaired(first, second, 1, labels) == pytest.approx(0.4, abs=0.06)


def test_a_shift_along_no_leading_component_is_not_seen() -> None:
    draw = np.random.default_rng(5)
    rows = draw.standard_normal((2, 400, 2)) * [10, 0.1]
    rows[1, :, 1] += 0.5
    assert unpaired(rows[0], rows[1], 1) < 0.12
    assert unpaired(rows[0], rows[1], 2) > 0.7


def test_laws_far_apart_are_one_apart_and_a_lone_row_counts_as_one() -> None:
    draw = np.random.default_rng(6)
    first = draw.standard_normal((50, 1))
    assert unpaired(first, first + 1e4, 1) > 0.99
    # Its kernels are all zero in double precision: the ratio still is that of the nearest row.
    second = first.copy()
    second[0] = 1e6
    assert 0 < unpaired(first, second, 1) < 1


def test_a_turn_or_scale_of_the_features_changes_nothing() -> None:
    draw = np.random.default_rng(7)
    first, second = draw.standard_normal((2, 100, 3)) * [3, 2, 1]
    turn, _ = np.linalg.qr(draw.standard_normal((3, 3)))
    assert unpaired(7 * first @ turn, 7 * second @ turn, 2) == pytest.approx(
        unpaired(first, second, 2)
    )


def test_coordinates_are_uncorrelated_with_unit_spread_on_the_fitted_rows() -> None:
    draw = np.random.default_rng(8)
    rows = draw.standard_normal((60, 4)) @ draw.standard_normal((4, 4))
    fit = np.arange(60) < 40
    found = principal_coordinates(rows, fit, 2)
    assert found is not None
    assert found[fit].T @ found[fit] / 40 == pytest.approx(np.eye(2))
    assert principal_coordinates(rows[:, :1], fit, 2) is None
    assert principal_coordinates(rows[:, [0, 0]], fit, 2) is None
    assert principal_coordinates(np.ones((60, 2)), fit, 1) is None


def test_wrong_arguments_are_refused() -> None:
    rows, examples = np.zeros((4, 1)), paired_examples(2)
    observed = (np.arange(4) < 2)[None]
    with pytest.raises(ValueError, match="q: expected 1 to 3 components, got 4"):
        kde_total_variation(rows, examples, examples, observed, 4, examples == 0)
    with pytest.raises(ValueError, match="expected whole examples, got one in both halves"):
        kde_total_variation(rows, examples, examples, observed, 1, np.arange(4) < 2)


def test_the_bound_of_a_classifier_lies_below_the_true_distance() -> None:
    draw = np.random.default_rng(9)
    n, apart = 200, 2.0
    observed = (np.arange(2 * n) < n)[None]
    wrong, times = 0, 20
    for _ in range(times):
        rows = draw.standard_normal((2 * n, 2))
        rows[n:, 0] += apart
        low = total_variation_low(classifier_scores(rows, paired_examples(n), observed, 0)[0])
        assert low > 0.4
        wrong += low > 2 * norm.cdf(apart / 2) - 1
    assert wrong <= binom.ppf(0.999, times, 0.05)
    assert total_variation_low(np.full(50, 0.5)) == 0


def test_the_needed_distance_is_the_gap_in_units_of_the_largest_loss() -> None:
    assert total_variation_needed(0.3, 0.1) == pytest.approx(0.2)
    assert total_variation_needed(0.1, 0.3, 2.0) == pytest.approx(-0.1)
    with pytest.raises(ValueError, match=r"augmented_risk: expected 0 to 1.0, got 1.5"):
        total_variation_needed(0.3, 1.5)
