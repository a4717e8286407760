import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import binom

from featdyn_engine.domain import Recipe
from featdyn_engine.recipes.schedules import learning_rate
from featdyn_engine.science.consistency import (
    Pairs,
    asymmetry,
    chance,
    cumulative_learning_rate,
    first_decay,
    memory_horizon,
    not_worse,
    pair_weights,
    retention,
    retention_under,
    trapezoid_widths,
)
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


def test_retention_of_other_rows_is_that_of_the_whole_matrix() -> None:
    generator = torch.Generator().manual_seed(2)
    correct = torch.randint(200, 401, (4, 4), generator=generator)
    level = 0.1 + 0.1 * torch.rand(4, 4, generator=generator, dtype=torch.float64)
    above = (correct.double() / 400 - level)[1:3]
    rows = retention_under(above, correct.diagonal(), level.diagonal(), 400)
    torch.testing.assert_close(rows, retention(correct, 400, level)[1:3])


def test_asymmetry_is_antisymmetric_and_null_where_either_is() -> None:
    kept = table([[1.0, 0.8, None], [0.5, 1.0, 0.9], [0.2, 0.7, 1.0]])
    found = asymmetry(kept)
    assert float(found[0, 1]) == pytest.approx(0.3)
    assert float(found[1, 0]) == pytest.approx(-0.3)
    assert found[0, 2].isnan()
    assert found[2, 0].isnan()


def test_trapezoid_widths_integrate_a_line_exactly() -> None:
    x = torch.tensor([0.0, 1.0, 4.0, 4.5, 10.0], dtype=torch.float64)
    assert trapezoid_widths(x).tolist() == [0.5, 2.0, 1.75, 3.0, 2.75]
    assert float(trapezoid_widths(x) @ (3 * x + 2)) == pytest.approx(3 * 50 + 20)


def test_cumulative_learning_rate_sums_the_updates_before_a_step() -> None:
    rates = torch.tensor([0.1, 0.1, 0.01, 0.01], dtype=torch.float64)
    found = cumulative_learning_rate(rates, (0, 1, 3, 4))
    assert found.tolist() == pytest.approx([0.0, 0.1, 0.21, 0.22])


def rates_of(recipe: Recipe) -> torch.Tensor:
    return torch.tensor([learning_rate(recipe, step) for step in range(recipe.steps)])


@pytest.mark.parametrize(
    ("recipe", "step"),
    [
        (Recipe(steps=100), 50),
        (Recipe(steps=100, warmup=0.1, milestones=(0.3, 0.6)), 30),
        (Recipe(steps=100, gamma=0.6), None),
        (Recipe(steps=100, schedule="constant"), None),
        (Recipe(steps=100, schedule="cosine"), None),
        (Recipe(steps=100, schedule="one_cycle"), None),
    ],
)
def test_the_first_decay_is_a_milestone_never_the_end_of_a_cosine(
    recipe: Recipe, step: int | None
) -> None:
    assert first_decay(rates_of(recipe)) == step


STEPS = list(range(0, 101, 5))


def counted(pairs: Pairs) -> set[tuple[int, int]]:
    weights = pair_weights(pairs, STEPS, torch.tensor(STEPS).double())
    assert weights is not None
    return {(STEPS[s], STEPS[t]) for s, t in weights.nonzero().tolist()}


@pytest.mark.parametrize(
    ("pairs", "low", "high"),
    [
        # Step 5 is 5 % of the steps, not past them.
        (Pairs("all", 100), 10, 100),
        (Pairs("all", 100, after=30), 35, 100),
        (Pairs("before_decay", 100, decay=50), 10, 50),
        (Pairs("after_decay", 100, decay=50), 50, 100),
    ],
)
def test_pairs_are_the_forward_ones_between_two_steps(pairs: Pairs, low: int, high: int) -> None:
    inside = [step for step in STEPS if low <= step <= high]
    assert counted(pairs) == {(s, t) for s in inside for t in inside if s < t}


def test_the_final_pairs_have_the_last_deep_step() -> None:
    assert counted(Pairs("final", 100)) == {(step, 100) for step in STEPS[2:-1]}


def test_no_width_reaches_past_a_decay() -> None:
    at = torch.tensor([*STEPS[:-1], 10_000]).double()
    near = pair_weights(Pairs("before_decay", 100, decay=95), STEPS, at)
    assert near is not None
    # Widths of 2.5 at the ends, 5 inside: a sum over pairs of (85^2 - sum of squares) / 2.
    assert float(near.sum()) == pytest.approx((85**2 - 16 * 25 - 2 * 2.5**2) / 2)


@pytest.mark.parametrize("kind", ["before_decay", "after_decay"])
def test_without_a_decay_there_are_no_pairs_around_it(kind: str) -> None:
    pairs = Pairs(kind, 100)  # type: ignore[arg-type]
    assert not pairs.checkpoints(STEPS).any()
    assert pair_weights(pairs, STEPS, torch.tensor(STEPS).double()) is None


@pytest.mark.parametrize(("count", "refused"), [(7, True), (8, False)])
def test_eight_checkpoints_past_the_burn_in_are_needed(count: int, refused: bool) -> None:
    steps = [0, 1, 2, *range(100 - count + 1, 101)]
    weights = pair_weights(Pairs("all", 100), steps, torch.tensor(steps).double())
    assert (weights is None) is refused


def test_a_rate_of_zero_throughout_is_refused() -> None:
    assert pair_weights(Pairs("all", 100), STEPS, torch.zeros(len(STEPS))) is None


def planted(wrong: Sequence[Sequence[int]], n: int = 1000) -> torch.Tensor:
    """Correct but for the first ``wrong[s][t]`` examples of each cell: (T, T, N)."""
    return torch.arange(n) >= torch.tensor(wrong)[:, :, None]


def test_the_horizon_ends_at_the_first_part_that_costs_more() -> None:
    # Deep step 30: 20 costs 1 %, 10 costs 20 %, 0 nothing again. Backward cells are never read.
    wrong = [[0, 0, 900, 0], [9, 0, 0, 200], [9, 9, 0, 10], [9, 9, 9, 0]]
    found = memory_horizon(planted(wrong), [0, 10, 20, 30], 0.05)
    assert found.horizon.tolist() == [0, 10, 10, 10]
    assert found.censored.tolist() == [True, True, False, False]


def test_a_horizon_is_shorter_for_a_smaller_loss() -> None:
    wrong = [[0, 30], [0, 0]]
    assert memory_horizon(planted(wrong), [0, 7], 0.05).horizon.tolist() == [0, 7]
    assert memory_horizon(planted(wrong), [0, 7], 0.01).horizon.tolist() == [0, 0]


@pytest.mark.parametrize(("n", "holds"), [(260, False), (280, True)])
def test_equal_predictions_on_few_examples_show_no_difference_of_a_point(
    n: int, holds: bool
) -> None:
    # No discordant example: the limit is 2.71 / (N + 2.71), a point at N = 268.
    found = memory_horizon(torch.ones(2, 2, n, dtype=torch.bool), [0, 5], 0.01)
    assert found.censored.tolist() == [True, holds]


def test_a_later_part_that_gains_holds_too() -> None:
    assert memory_horizon(planted([[0, 0], [0, 100]]), [3, 5], 0.01).horizon.tolist() == [0, 2]


@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1])
def test_eps_is_a_share(eps: float) -> None:
    with pytest.raises(ValueError, match="eps: expected a share above 0 and below 1"):
        memory_horizon(planted([[0]]), [0], eps)


@pytest.mark.parametrize("n", [200, 280, 1000, 2000])
@pytest.mark.parametrize("eps", [0.01, 0.05])
def test_a_loss_of_eps_passes_in_seven_percent_at_most(n: int, eps: float) -> None:
    # The exact probability, summed over all counts that matter.
    for gained in (0.0, 0.0005, 0.002, 0.01, 0.05, 0.2):
        lost = gained + eps
        most = [int(n * share + 6 * math.sqrt(n * share) + 12) for share in (gained, lost)]
        up, down = np.meshgrid(*(np.arange(min(n, each) + 1) for each in most), indexing="ij")
        chances = binom.pmf(up, n, gained)
        chances *= binom.pmf(down, np.maximum(n - up, 0), lost / (1 - gained))
        passes = not_worse(torch.from_numpy(up), torch.from_numpy(down), n, eps).numpy()
        assert chances.sum() == pytest.approx(1, abs=1e-4)
        assert chances[passes].sum() <= 0.07


def test_no_loss_at_all_passes_on_enough_examples() -> None:
    assert not_worse(torch.tensor([50]), torch.tensor([50]), 10_000, 0.01).all()
