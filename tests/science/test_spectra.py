"""Spectra on planted covariances, whose eigenvalues and effective dimensions are known."""

import numpy as np
import pytest
import torch

from featdyn_engine.science import spectra
from featdyn_engine.science.spectra import (
    components_for,
    effective_rank,
    eigenvalues,
    first_share,
    isotropic_spectra,
    log_sign_dimension,
    marchenko_pastur_edges,
    parallel_band,
    participation_ratio,
    power_law_slope,
    sign_dimension,
    squared_cosines,
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(values: np.ndarray, b: int, seed: int = 0) -> np.ndarray:
    """Rows off the origin whose sample covariance has exactly these eigenvalues."""
    p = len(values)
    scores = normal(b, p, seed=seed)
    scores = np.linalg.qr(scores - scores.mean(axis=0))[0] * np.sqrt(b - 1)
    turn = np.linalg.qr(normal(p, p, seed=seed + 1))[0]
    return (scores * np.sqrt(values)) @ turn.T + 5 * normal(p, seed=seed + 2)


@pytest.mark.parametrize(("b", "p"), [(12, 5), (12, 11), (12, 12), (12, 13), (12, 40)])
def test_eigenvalues_are_those_of_the_covariance_and_sum_to_its_trace(b: int, p: int) -> None:
    rows = normal(b, p) + 7
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    found = eigenvalues(rows)
    assert len(found) == min(b - 1, p)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(covariance)[::-1][: len(found)], atol=1e-9)
    assert found.sum() == pytest.approx(np.trace(covariance))


def test_the_gram_matrix_in_runs_of_columns_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = normal(6, 50)
    whole = eigenvalues(rows)
    monkeypatch.setattr(spectra, "COLUMNS", 7)
    np.testing.assert_allclose(eigenvalues(rows), whole)


def test_a_planted_spectrum_and_its_summaries_are_recovered() -> None:
    values = np.array([8.0, 4.0, 2.0, 1.0, 1.0])
    found = eigenvalues(planted(values, 30))
    np.testing.assert_allclose(found, values)
    assert participation_ratio(found) == pytest.approx(16**2 / (64 + 16 + 4 + 1 + 1))
    assert first_share(found) == pytest.approx(0.5)
    assert components_for(found, 0.9) == 4
    assert components_for(found, 1.0) == 5
    # Shares 1/2, 1/4, 1/8, 1/16, 1/16: 1.875 bits.
    assert effective_rank(found) == pytest.approx(2**1.875)


def test_a_planted_power_law_gives_its_slope_and_the_ranks_it_was_fitted_on() -> None:
    values = 3 * np.arange(1, 21) ** -1.5
    found = power_law_slope(eigenvalues(planted(values, 60)))
    assert found.slope == pytest.approx(-1.5)
    assert (found.first, found.last) == (1, 10)
    bent = np.concatenate([np.ones(5), values[5:]])
    assert power_law_slope(bent, 6, 20).slope == pytest.approx(-1.5)
    with pytest.raises(ValueError, match="ranks: expected two or more with positive"):
        power_law_slope(np.array([1.0, 0.0]))


def test_equal_eigenvalues_are_as_many_dimensions_as_there_are() -> None:
    same = np.full(7, 0.3)
    assert participation_ratio(same) == pytest.approx(7)
    assert effective_rank(same) == pytest.approx(7)
    assert components_for(same, 0.9) == 7


def test_no_noise_has_no_dimension() -> None:
    none = np.zeros(3)
    assert all(np.isnan(f(none)) for f in (participation_ratio, first_share, effective_rank))


def test_the_plain_ratio_is_biased_where_the_sign_ratio_is_not() -> None:
    """Isotropic rows, p = 1,000, B = 200: 166 (science of the project), against about 1,000."""
    rows = normal(200, 1000)
    assert participation_ratio(eigenvalues(rows)) == pytest.approx(166, rel=0.02)
    found = sign_dimension(rows)
    assert found.value == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize("heavy", [False, True])
def test_sign_ratio_recovers_64_of_isotropic_rows_whatever_their_tails(heavy: bool) -> None:
    logs = []
    for seed in range(20):
        rows = normal(200, 64, seed=seed)
        if heavy:
            rows *= np.sqrt(5 / np.random.default_rng(seed).chisquare(5, size=(200, 1)))
        logs.append(np.log(sign_dimension(rows).value))
    assert np.exp(np.mean(logs)) == pytest.approx(64.0, abs=0.5)


def test_sign_ratio_is_that_of_its_definition_and_blind_to_scale_and_turning() -> None:
    rows = normal(9, 4)
    centred = rows - rows.mean(axis=0)
    u = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    squares = [(u[i] @ u[j]) ** 2 for i in range(9) for j in range(9) if i != j]
    assert sign_dimension(rows).value == pytest.approx(1 / np.mean(squares))
    turned = 40 * rows @ np.linalg.qr(normal(4, 4, seed=3))[0]
    assert sign_dimension(turned).value == pytest.approx(sign_dimension(rows).value)


def test_jackknife_values_leave_out_one_row_each() -> None:
    squares = squared_cosines(normal(8, 5))
    _, left_out = log_sign_dimension(squares)
    for i in range(8):
        kept = np.delete(np.delete(squares, i, axis=0), i, axis=1)
        assert left_out[i] == pytest.approx(log_sign_dimension(kept)[0])


def test_jackknife_interval_covers_the_dimension_of_coloured_noise() -> None:
    """Truth from many draws of a law with four strong directions; 200 samples of 40 rows."""
    scale = np.array([3.0] * 4 + [1.0] * 16)
    truth = sign_dimension(normal(4000, 20, seed=1) * scale).value
    covered = 0
    for seed in range(200):
        found = sign_dimension(normal(40, 20, seed=100 + seed) * scale)
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 200 <= 0.99


@pytest.mark.parametrize(("b", "p"), [(401, 100), (101, 400)])
def test_isotropic_eigenvalues_lie_within_the_marchenko_pastur_edges(b: int, p: int) -> None:
    low, high = marchenko_pastur_edges(4.0, b, p)
    found = eigenvalues(2 * normal(b, p))
    assert found[0] == pytest.approx(high, rel=0.06)
    assert found[-1] == pytest.approx(low, rel=0.15)


@pytest.mark.parametrize(("b", "p"), [(30, 8), (12, 50)])
def test_isotropic_spectra_are_those_of_rows_drawn_in_full(b: int, p: int) -> None:
    found = isotropic_spectra(b, p, 400, stream())
    assert found.shape == (400, min(b - 1, p))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    drawn = np.stack([eigenvalues(normal(b, p, seed=seed)) for seed in range(400)])
    drawn /= drawn.sum(axis=1, keepdims=True)
    error = np.sqrt((found.var(axis=0) + drawn.var(axis=0)) / 400)
    assert (np.abs(found.mean(axis=0) - drawn.mean(axis=0)) < 4.5 * error).all()


def test_the_parallel_band_holds_isotropic_noise_and_not_a_planted_direction() -> None:
    low, high = parallel_band(isotropic_spectra(50, 10, 300, stream(1)), trace=10.0)
    rows = normal(50, 10, seed=4)
    values = eigenvalues(rows)
    inside = (low <= 10 * values / values.sum()) & (10 * values / values.sum() <= high)
    assert inside.mean() >= 0.8
    rows[:, 0] *= 4
    values = eigenvalues(rows)
    assert 10 * values[0] / values.sum() > high[0]


def test_rows_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows: expected \(B, p\), B at least 2, got shape"):
        eigenvalues(np.ones((1, 3)))
    with pytest.raises(ValueError, match="rows that differ from their mean"):
        sign_dimension(np.ones((5, 3)))
    with pytest.raises(ValueError, match="at least 4 draws, got 3"):
        sign_dimension(normal(3, 3))
