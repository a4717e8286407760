from itertools import pairwise

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from featdyn_engine.data.labels import noisy_labels

N, K = 20_000, 10


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.randint(K, (N,), generator=torch.Generator().manual_seed(7))


def test_no_noise_leaves_every_label(labels: torch.Tensor) -> None:
    assert torch.equal(noisy_labels(labels, 0.0, K, 0), labels)


def test_the_labels_given_are_not_changed_in_place(labels: torch.Tensor) -> None:
    before = labels.clone()
    result = noisy_labels(labels, 1.0, K, 0)
    assert torch.equal(labels, before)
    assert result.dtype == torch.int64


def test_full_noise_leaves_one_in_k_right(labels: torch.Tensor) -> None:
    right = (noisy_labels(labels, 1.0, K, 0) == labels).float().mean()
    assert float(right) == pytest.approx(1 / K, abs=0.01)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_a_fraction_of_noise_changes_that_share_but_for_lucky_draws(
    fraction: float, labels: torch.Tensor
) -> None:
    changed = (noisy_labels(labels, fraction, K, 0) != labels).float().mean()
    assert float(changed) == pytest.approx(fraction * (1 - 1 / K), abs=0.01)


def test_at_most_the_fraction_asked_for_is_replaced() -> None:
    # With a thousand classes a draw hardly ever hits the true one.
    zeros = torch.zeros(1000, dtype=torch.int64)
    assert 295 <= int((noisy_labels(zeros, 0.3, 1000, 0) != 0).sum()) <= 300


def test_the_noise_of_a_smaller_fraction_is_part_of_a_larger_one(labels: torch.Tensor) -> None:
    levels = [noisy_labels(labels, fraction, K, 4) for fraction in (0.2, 0.5, 1.0)]
    for less, more in pairwise(levels):
        changed = less != labels
        assert torch.equal(less[changed], more[changed])


def test_draws_are_uniform_over_the_classes(labels: torch.Tensor) -> None:
    counts = torch.bincount(noisy_labels(labels, 1.0, K, 0), minlength=K)
    assert chisquare(counts.numpy()).pvalue > 0.001


def test_draws_are_independent_of_the_true_labels(labels: torch.Tensor) -> None:
    drawn = noisy_labels(labels, 1.0, K, 0)
    counts = torch.bincount(labels * K + drawn, minlength=K * K).reshape(K, K)
    assert chi2_contingency(counts.numpy()).pvalue > 0.001


def test_labels_change_independently_of_the_class(labels: torch.Tensor) -> None:
    changed = noisy_labels(labels, 0.5, K, 0) != labels
    counts = torch.bincount(labels * 2 + changed, minlength=2 * K).reshape(K, 2)
    assert chi2_contingency(counts.numpy()).pvalue > 0.001


def test_the_same_seed_draws_the_same_labels(labels: torch.Tensor) -> None:
    torch.manual_seed(0)
    one = noisy_labels(labels, 0.5, K, 3)
    torch.manual_seed(1)
    assert torch.equal(noisy_labels(labels, 0.5, K, 3), one)


def test_another_seed_draws_other_labels(labels: torch.Tensor) -> None:
    one, other = noisy_labels(labels, 1.0, K, 3), noisy_labels(labels, 1.0, K, 4)
    assert float((one == other).float().mean()) == pytest.approx(1 / K, abs=0.01)
