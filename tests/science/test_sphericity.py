"""Tests of sphericity: their size on isotropic rows, their power, their invariances."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2, gamma, kstest

from featdyn_engine.science.sphericity import (
    TW_SCALE,
    TW_SHAPE,
    TW_SHIFT,
    all_tests,
    john,
    ledoit_wolf,
    mauchly,
    mauchly_null,
    spatial_sign,
    tracy_widom,
)

GAUSSIAN_TESTS = ("mauchly", "john", "ledoit_wolf", "tracy_widom")


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_of(b: int, p: int, seed: int, heavy: bool = False) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(b, p))
    return rows * np.sqrt(5 / draw.chisquare(5, size=(b, 1))) if heavy else rows


def rejections(b: int, p: int, samples: int, heavy: bool = False) -> dict[str, int]:
    """How often each test rejects at 5 % on isotropic rows."""
    shared = stream()
    counts: dict[str, int] = {}
    for seed in range(samples):
        for found in all_tests(rows_of(b, p, seed, heavy), shared):
            counts[found.test] = counts.get(found.test, 0) + (found.p_value < 0.05)
    return counts


def acceptable(samples: int, size: float = 0.05) -> tuple[float, float]:
    low, high = binom.ppf([0.001, 0.999], samples, size)
    return float(low), float(high)


@pytest.mark.parametrize(("b", "p"), [(61, 8), (41, 20)])
def test_isotropic_gaussian_rows_are_rejected_at_five_percent(b: int, p: int) -> None:
    counts = rejections(b, p, 200)
    low, high = acceptable(200)
    for test in ("mauchly", "john", "ledoit_wolf", "spatial_sign"):
        assert low <= counts[test] <= high, (test, counts)
    # Conservative at small p: never above its level.
    assert counts["tracy_widom"] <= high


def test_heavy_tails_alone_make_every_gaussian_test_reject_and_not_the_sign_test() -> None:
    counts = rejections(121, 60, 60, heavy=True)
    for test in GAUSSIAN_TESTS:
        assert counts[test] >= 57, (test, counts)
    assert counts["spatial_sign"] <= acceptable(60)[1]


SAMPLES = 1000
LEVEL, CONSERVATIVE, ALWAYS, UNDEFINED = "0.05", "at most 0.05", "above 0.90", "never"
# What 1,000 samples of isotropic rows must be rejected at, by draws b, dimensions p and tails.
# Spherical t_5 rows: every Gaussian test rejects them almost surely, the sign test at its level.
TABLE = {
    (b, p, heavy): {
        "mauchly": UNDEFINED if p > b - 1 else ALWAYS if heavy else LEVEL,
        # John's chi2 holds for p <= n/6 alone: beyond, its rate is not asserted.
        **({"john": ALWAYS} if heavy else {"john": LEVEL} if 6 * p <= b else {}),
        "ledoit_wolf": ALWAYS if heavy else LEVEL,
        "tracy_widom": ALWAYS if heavy else CONSERVATIVE,
        "spatial_sign": LEVEL,
    }
    for b, p in ((200, 16), (200, 64), (200, 100), (100, 150))
    for heavy in (False, True)
}


@pytest.mark.slow
@pytest.mark.minutes
@pytest.mark.parametrize("cell", TABLE)
def test_full_table_of_sizes(cell: tuple[int, int, bool]) -> None:
    b, p, heavy = cell
    counts = rejections(b, p, SAMPLES, heavy)
    low, high = acceptable(SAMPLES)
    spans = {
        LEVEL: (low, high),
        CONSERVATIVE: (0, high),
        ALWAYS: (0.9 * SAMPLES, SAMPLES),
        UNDEFINED: (0, 0),
    }
    for test, target in TABLE[cell].items():
        lowest, highest = spans[target]
        assert lowest <= counts[test] <= highest, (test, target, counts)


def test_one_planted_direction_is_found_by_every_test() -> None:
    rows = rows_of(200, 20, 1)
    rows[:, 0] *= 2
    assert all(found.p_value < 0.001 for found in all_tests(rows, stream()))


def test_chi2_mauchly_beyond_its_range_rejects_a_third_of_isotropic_samples() -> None:
    """p = 100, n = 199: 34 % (science of the project); its Monte Carlo null keeps the level."""
    null = mauchly_null(199, 100, 4000, stream())
    assert (chi2.sf(null, 100 * 101 / 2 - 1) < 0.05).mean() == pytest.approx(0.34, abs=0.03)
    forced = [
        mauchly(rows_of(200, 100, seed), stream(), force_chi2=True).p_value < 0.05
        for seed in range(100)
    ]
    low, high = acceptable(100, 0.34)
    assert low <= sum(forced) <= high


def test_drawn_null_of_mauchly_is_the_law_of_the_statistic() -> None:
    drawn = [mauchly(rows_of(16, 6, seed), stream(), draws=1).statistic for seed in range(400)]
    assert kstest(drawn, mauchly_null(15, 6, 20_000, stream())).pvalue > 0.001
    inside = mauchly_null(120, 4, 20_000, stream())
    assert kstest(inside, chi2(9).cdf).statistic < 0.02


def test_mauchly_says_which_null_it_was_referred_to() -> None:
    assert mauchly(rows_of(61, 10, 0), stream()).null == "chi2"
    assert mauchly(rows_of(60, 10, 0), stream()).null == "monte carlo"
    assert mauchly(rows_of(11, 10, 0), stream()).null == "monte carlo"
    beyond = mauchly(rows_of(10, 10, 0), stream())
    assert beyond.null == "undefined"
    assert np.isnan(beyond.statistic)
    assert np.isnan(beyond.p_value)
    flat = rows_of(61, 10, 0)
    flat[:, 3] = flat[:, 4]
    assert mauchly(flat, stream()).null == "undefined"


def test_statistics_are_those_of_their_definitions() -> None:
    rows = rows_of(30, 4, 2)
    n, p = 29, 4
    s = np.cov(rows, rowvar=False)
    scaled = s / (np.trace(s) / p)
    u = np.trace((scaled - np.eye(p)) @ (scaled - np.eye(p))) / p
    ratio = np.linalg.det(s) / (np.trace(s) / p) ** p
    factor = n - (2 * p * p + p + 2) / (6 * p)
    assert mauchly(rows, stream()).statistic == pytest.approx(-factor * np.log(ratio))
    assert john(rows).statistic == pytest.approx(n * p * u / 2)
    assert ledoit_wolf(rows).statistic == pytest.approx((n * u - p - 1) / 2)
    a, b = np.sqrt(n - 0.5), np.sqrt(p - 0.5)
    largest = n * np.linalg.eigvalsh(scaled)[-1]
    centre, width = (a + b) ** 2, (a + b) * (1 / a + 1 / b) ** (1 / 3)
    assert tracy_widom(rows).statistic == pytest.approx((largest - centre) / width)
    d = rows[0::2] - rows[1::2]
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    m = len(d)
    q = p * np.mean([(d[i] @ d[j]) ** 2 for i in range(m) for j in range(m) if i != j]) - 1
    z = q / np.sqrt(4 * (p - 1) / (m * (m - 1) * (p + 2)))
    assert spatial_sign(rows).statistic == pytest.approx(z)


def test_tracy_widom_law_has_its_known_critical_values() -> None:
    law = gamma(TW_SHAPE, loc=-TW_SHIFT, scale=TW_SCALE)
    assert law.sf(0.9793) == pytest.approx(0.05, abs=0.0005)
    assert law.sf(2.0234) == pytest.approx(0.01, abs=0.0003)


def test_scale_shift_and_turning_change_nothing() -> None:
    rows = rows_of(40, 6, 3)
    turn = np.linalg.qr(rows_of(6, 6, 4))[0]
    moved = all_tests(1e-6 * rows @ turn + 3, stream())
    for one, other in zip(all_tests(rows, stream()), moved, strict=True):
        assert other.statistic == pytest.approx(one.statistic, rel=1e-6)
        assert other.p_value == pytest.approx(one.p_value, rel=1e-6)


def test_one_dimension_has_no_directions_to_test() -> None:
    assert spatial_sign(rows_of(10, 1, 0)).null == "undefined"
    with pytest.raises(ValueError, match="rows of a pair to differ"):
        spatial_sign(np.ones((6, 2)))
