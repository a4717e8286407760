import math
from collections.abc import Sequence

import pytest
import torch

from featdyn_engine.science.consistency import chance, retention
from tests.oracles import naive_chance, naive_retention

UNIFORM = torch.full((10,), 0.1, dtype=torch.float64)


def shares(values: Sequence[int], classes: int) -> torch.Tensor:
    return torch.bincount(torch.tensor(values), minlength=classes).double() / len(values)


def table(values: Sequence[Sequence[float | None]]) -> torch.Tensor:
    plain = [[math.nan if value is None else value for value in row] for row in values]
    return torch.tensor(plain, dtype=torch.float64)


def test_balanced_labels_give_one_over_k_whatever_is_predicted() -> None:
    predicted = torch.tensor([0.7, 0.3] + [0.0] * 8, dtype=torch.float64)
    assert float(chance(UNIFORM, predicted)) == pytest.approx(0.1)


def test_balanced_predictions_give_one_over_k_whatever_the_labels() -> None:
    labels = torch.tensor([0.7, 0.3] + [0.0] * 8, dtype=torch.float64)
    assert float(chance(labels, UNIFORM)) == pytest.approx(0.1)


def test_predicting_the_majority_gives_its_share() -> None:
    labels = torch.tensor([0.196, 0.304, 0.5], dtype=torch.float64)
    assert float(chance(labels, torch.tensor([0.0, 0.0, 1.0]))) == pytest.approx(0.5)


def test_a_class_that_is_never_the_label_adds_nothing() -> None:
    labels = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert float(chance(labels, torch.tensor([0.25, 0.75]))) == 0.25


def test_chance_is_the_mean_accuracy_over_all_pairings() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (60,), generator=generator).tolist()
    cells = [
        [torch.randint(1 + s + t, (60,), generator=generator).tolist() for t in range(3)]
        for s in range(2)
    ]
    predicted = torch.stack([torch.stack([shares(cell, 5) for cell in row]) for row in cells])
    expected = [[naive_chance(labels, cell) for cell in row] for row in cells]
    torch.testing.assert_close(chance(shares(labels, 5), predicted), table(expected))


def test_retention_matches_plain_arithmetic() -> None:
    n, size = 400, 6
    generator = torch.Generator().manual_seed(1)
    correct = torch.randint(0, n + 1, (size, size), generator=generator)
    correct.diagonal().copy_(torch.tensor([400, 40, 100, 180, 320, 130]))
    level = 0.05 + 0.2 * torch.rand(size, size, generator=generator, dtype=torch.float64)
    expected = table(naive_retention(correct.tolist(), n, level.tolist()))
    kept = ~expected.isnan()
    assert kept.any()
    assert not kept.all()
    torch.testing.assert_close(retention(correct, n, level), expected, equal_nan=True)


def test_the_diagonal_is_one_where_it_is_kept() -> None:
    correct = torch.tensor([[300, 10, 40], [250, 390, 50], [20, 100, 45]])
    level = torch.full((3, 3), 0.1, dtype=torch.float64)
    diagonal = retention(correct, 400, level).diagonal()
    assert diagonal[:2].tolist() == [1.0, 1.0]
    assert diagonal[2].isnan()


def test_a_cell_at_its_own_chance_retains_nothing() -> None:
    correct = torch.tensor([[360, 80], [40, 360]])
    level = torch.tensor([[0.1, 0.2], [0.1, 0.1]], dtype=torch.float64)
    values = retention(correct, 400, level)
    assert values[0, 1] == 0
    assert values[1, 0] == 0


def test_a_cell_below_chance_is_negative_and_one_above_the_diagonal_exceeds_one() -> None:
    correct = torch.tensor([[300, 10], [320, 350]])
    values = retention(correct, 400, torch.full((2, 2), 0.1, dtype=torch.float64))
    assert values[0, 1] < 0
    assert values[1, 0] > 1


@pytest.mark.parametrize(("right", "kept"), [(54, False), (55, True)])
def test_a_column_is_kept_from_nine_standard_errors_on(right: int, kept: bool) -> None:
    # 54 of 100 over a chance of 10 %: 8.83 standard errors; 55: 9.04.
    level = torch.full((1, 1), 0.1, dtype=torch.float64)
    value = retention(torch.tensor([[right]]), 100, level)
    assert bool(value.isfinite()) is kept


def test_a_refused_column_is_null_as_a_whole_and_leaves_the_others_alone() -> None:
    correct = torch.tensor([[390, 400], [380, 60]])
    values = retention(correct, 400, torch.full((2, 2), 0.1, dtype=torch.float64))
    assert values[:, 1].isnan().all()
    assert values[:, 0].isfinite().all()


def test_a_perfect_network_is_kept() -> None:
    level = torch.full((1, 1), 0.1, dtype=torch.float64)
    assert float(retention(torch.tensor([[40]]), 40, level)) == 1.0


def test_a_network_that_is_always_wrong_is_refused() -> None:
    level = torch.zeros((1, 1), dtype=torch.float64)
    assert retention(torch.tensor([[0]]), 1000, level).isnan()


def test_a_constant_network_on_one_class_is_refused_though_always_right() -> None:
    level = torch.ones((1, 1), dtype=torch.float64)
    assert retention(torch.tensor([[40]]), 40, level).isnan()
