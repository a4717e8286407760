"""All distances of a pair at once: what each row says, and where nothing can be said."""

import numpy as np
import pytest

from featdyn_engine.randomness import generator
from featdyn_engine.science.distances import Laws, distances, halves
from featdyn_engine.science.total_variation import total_variation_low
from featdyn_engine.science.two_sample import classifier_scores
from featdyn_engine.science.within_example import paired_examples, swaps

N = 40
LAWS = Laws(
    examples=paired_examples(N),
    labels=paired_examples(N) % 3,
    groupings=swaps(N, 20, generator("test distances", 0)),
)
NAMES = {
    *(("tv_kde", q, labelled) for q in (1, 2, 3) for labelled in (True, False)),
    ("mmd2", 0, False),
    ("sliced_wasserstein", 0, False),
    ("c2st", 0, False),
    ("tv_bound", 0, False),
}


def rows(shift: float) -> np.ndarray:
    draw = np.random.default_rng(0)
    first = draw.standard_normal((N, 4))
    return np.vstack([first, first + 0.1 * draw.standard_normal((N, 4)) + shift])


def test_a_large_shift_is_found_by_every_measure_and_none_by_none() -> None:
    found = distances(rows(3.0), LAWS, 19, 10, 0)
    assert {(each.measure, each.q, each.labelled) for each in found} == NAMES
    assert len(found) == len(NAMES)
    for each in found:
        assert each.null is not None
        assert each.permutations == (19 if each.measure in ("c2st", "tv_bound") else 20)
        assert each.null.p == pytest.approx(1 / (1 + each.permutations))
        assert each.null.excess > 0
    still = distances(rows(0.0), LAWS, 19, 10, 0)
    assert sum(each.null.p <= 0.05 for each in still if each.null) <= 2


def test_the_bound_is_that_of_the_classifier_beside_it() -> None:
    pooled = rows(0.3)
    found = {each.measure: each.null for each in distances(pooled, LAWS, 19, 10, 0)}
    scores = classifier_scores(pooled, LAWS.examples, LAWS.groupings[:1], 0)[0]
    assert found["c2st"] is not None
    assert found["tv_bound"] is not None
    assert found["c2st"].value == scores.mean()
    assert found["tv_bound"].value == total_variation_low(scores) <= 2 * scores.mean() - 1


def test_a_common_scale_and_shift_of_the_features_change_nothing() -> None:
    pooled = rows(0.3)
    for one, other in zip(
        distances(pooled, LAWS, 19, 10, 0), distances(7 * pooled + 5, LAWS, 19, 10, 0), strict=True
    ):
        assert one.null is not None
        assert other.null is not None
        assert other.null.value == pytest.approx(one.null.value, rel=1e-6, abs=1e-9), one.measure


def test_features_that_do_not_vary_have_no_distance() -> None:
    for constant in (np.zeros((2 * N, 3)), np.full((2 * N, 3), 0.1) + 0.2):
        assert all(each.null is None for each in distances(constant, LAWS, 19, 10, 0))


def test_a_single_feature_has_no_second_component() -> None:
    found = distances(rows(1.0)[:, :1], LAWS, 19, 10, 0)
    assert {each.q for each in found if each.null is None} == {2, 3}


def test_halves_are_of_examples() -> None:
    half = halves(LAWS.examples)
    assert (half[:N] == half[N:]).all()
    assert half[:N].sum() == N / 2
