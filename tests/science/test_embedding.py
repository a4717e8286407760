import numpy as np
import pytest

from featdyn_engine.science.embedding import (
    aligned_umap,
    first_two,
    pca,
    pooled_pca,
    pooled_umap,
)
from featdyn_engine.science.embedding_quality import (
    chance_overlap,
    movement_correlation,
    neighbour_overlap,
    quality,
)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def clusters(checkpoints: int, examples: int) -> np.ndarray:
    """Three classes that move apart."""
    places = 4 * drawn(3, 8)
    apart = np.linspace(0, 1, checkpoints)[:, None, None]
    labels = np.arange(examples) % 3
    return (apart * places[labels] + drawn(checkpoints, examples, 8)).astype(np.float32)


def test_one_pca_of_all_checkpoints_keeps_all_distances_where_it_keeps_all_dimensions() -> None:
    features = drawn(3, 20, 6)
    reduced = pooled_pca(features, seed=0)
    assert reduced.shape == (3, 20, 6)
    # Between checkpoints as well as within one: the PCA is one and the same.
    apart = [
        np.linalg.norm(each[0, :, None] - each[2, None, :], axis=2) for each in (features, reduced)
    ]
    np.testing.assert_allclose(*apart, rtol=1e-4)


def test_the_pca_repeats_to_the_bit_and_orders_by_variance() -> None:
    features = drawn(4, 30, 200)
    reduced = pooled_pca(features, seed=3, dimensions=5)
    assert reduced.shape == (4, 30, 5)
    np.testing.assert_array_equal(reduced, pooled_pca(features, seed=3, dimensions=5))
    variances = reduced.reshape(-1, 5).var(axis=0)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_array_equal(pca(reduced, 5, 0.1, 0), reduced[..., :2])


def test_one_dimension_becomes_a_plane() -> None:
    found = first_two(drawn(2, 5, 1))
    assert found.shape == (2, 5, 2)
    assert (found[..., 1] == 0).all()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features: expected \(T, N, F\)"):
        pooled_pca(drawn(3, 4), seed=0)


def test_the_same_space_is_trusted_wholly() -> None:
    points = drawn(40, 2)
    assert quality(points, points, 5) == (1, 1, 1)


def test_neighbours_overlap_as_a_slow_count_says() -> None:
    original, embedded = drawn(25, 6), drawn(25, 2)
    shares = []
    for i in range(25):
        nearest = [
            set(
                sorted(
                    (j for j in range(25) if j != i),
                    key=lambda j, s=space: float(((s[i] - s[j]) ** 2).sum()),
                )[:4]
            )
            for space in (original, embedded)
        ]
        shares.append(len(nearest[0] & nearest[1]) / 4)
    assert neighbour_overlap(original, embedded, 4) == pytest.approx(np.mean(shares))


def test_the_overlap_of_unrelated_spaces_is_that_of_chance() -> None:
    draw = np.random.default_rng(5)
    found = [
        neighbour_overlap(draw.normal(size=(60, 5)), draw.normal(size=(60, 2)), 10)
        for _ in range(40)
    ]
    assert chance_overlap(60, 10) == 10 / 59
    assert np.mean(found) == pytest.approx(10 / 59, abs=0.01)


def test_continuity_sees_tears_and_trustworthiness_sees_folds() -> None:
    line = np.linspace(0, 1, 60)[:, None]
    # A line folded on itself: neighbours stay neighbours, but strangers join them.
    folded = np.abs(line - 0.5)
    found = quality(line, folded, 5)
    assert found.continuity > found.trustworthiness
    assert quality(folded, line, 5)[:2] == (found.continuity, found.trustworthiness)


def test_points_must_be_the_same_examples_and_k_small_enough() -> None:
    with pytest.raises(ValueError, match="embedded: expected 20 points, got 19"):
        quality(drawn(20, 3), drawn(19, 2), 3)
    with pytest.raises(ValueError, match="n_neighbors"):
        quality(drawn(20, 3), drawn(20, 2), 10)


def test_movements_correlate_by_rank() -> None:
    moved = np.arange(10.0)
    assert movement_correlation(moved, np.exp(moved)) == pytest.approx(1)
    assert movement_correlation(moved, -moved) == pytest.approx(-1)
    assert np.isnan(movement_correlation(moved, np.full(10, 2.0)))
    assert np.isnan(movement_correlation(np.full(10, np.nan), moved))


@pytest.mark.slow
@pytest.mark.minutes
def test_umaps_repeat_to_the_bit_and_keep_more_than_chance() -> None:
    reduced = clusters(4, 60)
    for method in (pooled_umap, aligned_umap):
        found = method(reduced, 8, 0.1, 7)
        assert found.shape == (4, 60, 2)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, method(reduced, 8, 0.1, 7))
        assert (found != method(reduced, 8, 0.1, 8)).any()
        assert quality(reduced[-1], found[-1], 8).neighbour_overlap > 2 * chance_overlap(60, 8)
