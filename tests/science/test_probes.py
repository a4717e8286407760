"""Probes on planted features, whose classes a linear read-out can or cannot tell apart."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.datasets import load_digits
from torch import nn

from featdyn_engine.science.features import pooled_features
from featdyn_engine.science.probes import STRENGTHS, probe

FIT, SCORED, CLASSES = 300, 400, 4
ALL = FIT + SCORED


def blobs(apart: float, features: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around one centre a class; centres lie ``apart`` deviations from the middle."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, ALL)
    return apart * np.eye(features)[labels] + draw.normal(size=(ALL, features)), labels


def accuracy(rows: np.ndarray, labels: np.ndarray) -> float:
    found = probe(rows[:FIT], labels[:FIT], [rows[FIT:]])
    return float((found.predicted[0] == labels[FIT:]).mean())


def test_separable_features_are_read_out_without_an_error() -> None:
    assert accuracy(*blobs(apart=20)) == 1


def test_random_labels_are_read_out_at_chance() -> None:
    rows, _ = blobs(apart=20)
    labels = np.random.default_rng(9).integers(0, CLASSES, ALL)
    low, high = binom.ppf([0.001, 0.999], SCORED, 1 / CLASSES) / SCORED
    assert low <= accuracy(rows, labels) <= high


def test_classes_on_two_rings_are_beyond_a_linear_probe_but_their_radius_is_not() -> None:
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 2, ALL)
    turn = draw.uniform(0, 2 * np.pi, ALL)
    ring = (1 + 2 * labels)[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    assert accuracy(ring, labels) < 0.65
    assert accuracy((ring**2).sum(axis=1, keepdims=True), labels) == 1


def test_predictions_do_not_depend_on_the_order_of_channels() -> None:
    rows, labels = blobs(apart=1.5)
    order = np.random.default_rng(1).permutation(rows.shape[1])
    one = probe(rows[:FIT], labels[:FIT], [rows[FIT:]])
    other = probe(rows[:FIT, order], labels[:FIT], [rows[FIT:, order]])
    assert np.array_equal(one.predicted[0], other.predicted[0])
    assert one.strength == other.strength


def test_scale_and_shift_of_each_channel_change_nothing() -> None:
    rows, labels = blobs(apart=1.5)
    scale, shift = 10.0 ** np.arange(-4, 4), np.arange(8) * 100.0
    one = probe(rows[:FIT], labels[:FIT], [rows[FIT:]])
    moved = rows * scale + shift
    other = probe(moved[:FIT], labels[:FIT], [moved[FIT:]])
    assert np.array_equal(one.predicted[0], other.predicted[0])


@pytest.mark.parametrize(("features", "fitted"), [(6, 60), (30, 20)])
def test_weights_and_strength_are_those_of_the_definition(features: int, fitted: int) -> None:
    """Slowly: for each strength leave each example out, solve the normal equations."""
    rows, labels = blobs(apart=1.0, features=features, seed=5)
    rows, labels = rows[: fitted + 100], labels[: fitted + 100]
    mean, deviation = rows[:fitted].mean(axis=0), rows[:fitted].std(axis=0)
    x = (rows - mean) / deviation
    targets = np.where(np.eye(CLASSES)[labels] > 0, 1.0, -1.0)

    def solved(kept: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        middle, level = x[kept].mean(axis=0), targets[kept].mean(axis=0)
        centred = x[kept] - middle
        gram = centred.T @ centred + strength * np.eye(features)
        weights = np.linalg.solve(gram, centred.T @ (targets[kept] - level))
        return weights, level - middle @ weights

    errors = []
    for strength in STRENGTHS:
        total = 0.0
        for left in range(fitted):
            weights, level = solved(np.delete(np.arange(fitted), left), strength)
            total += float(((x[left] @ weights + level - targets[left]) ** 2).sum())
        errors.append(total)
    best = STRENGTHS[int(np.argmin(errors))]
    weights, level = solved(np.arange(fitted), best)
    found = probe(rows[:fitted], labels[:fitted], [rows[fitted:]])
    assert found.strength == best
    assert np.array_equal(found.predicted[0], (x[fitted:] @ weights + level).argmax(axis=1))


def test_what_is_scored_changes_neither_the_fit_nor_other_predictions() -> None:
    rows, labels = blobs(apart=1.5)
    alone = probe(rows[:FIT], labels[:FIT], [rows[FIT:]])
    beside = probe(rows[:FIT], labels[:FIT], [1000 * rows[FIT:], rows[FIT:]])
    assert np.array_equal(alone.predicted[0], beside.predicted[1])
    assert alone.strength == beside.strength


def test_features_that_do_not_vary_predict_the_commonest_class() -> None:
    labels = np.array([0] * 10 + [1] * 30)
    found = probe(np.ones((40, 3)), labels, [np.ones((5, 3))])
    assert found.predicted[0].tolist() == [1] * 5


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="labels: expected two classes or more, got 1"):
        probe(np.ones((4, 2)), np.zeros(4), [])


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (1000, 64), and whether the digit is odd: not a linear question about pixels."""
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images[:1000], dtype=torch.float32) / 16
    return pixels, torch.tensor(labels[:1000] % 2)


def test_the_last_cut_of_a_trained_network_is_read_out_better_than_pixels() -> None:
    images, labels = digits()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = nn.Sequential(
            nn.Sequential(nn.Linear(64, 64), nn.ReLU()),
            nn.Sequential(nn.Linear(64, 64), nn.ReLU()),
            nn.Linear(64, 2),
        )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[:500]), labels[:500]).backward()
        optimizer.step()
    features, predicted = pooled_features(network.eval(), [1, 2], images, 150, 1)
    with torch.no_grad():
        assert torch.allclose(features[2], network[:2](images), atol=1e-5)
        assert torch.equal(predicted, network(images).argmax(dim=1))

    def right(rows: torch.Tensor) -> float:
        found = probe(rows[:500], labels[:500], [rows[500:]])
        return float((found.predicted[0] == labels[500:].numpy()).mean())

    assert right(features[2]) > right(images) + 0.03
