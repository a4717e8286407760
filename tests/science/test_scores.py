from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from featdyn_engine.science.consistency import Pairs, pair_weights
from featdyn_engine.science.scores import Estimate, Scores, bootstrap
from tests.oracles import naive_chance

TOTAL = 100
KINDS = ("all", "final")


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights_on(steps: list[int], after: int | None = None) -> Tensor:
    at = torch.tensor(steps, dtype=torch.float64)
    found = [pair_weights(Pairs(kind, TOTAL, after=after), steps, at) for kind in KINDS]  # type: ignore[arg-type]
    return torch.stack([each for each in found if each is not None])


def grid(size: int) -> list[int]:
    return [10 + 10 * i for i in range(size)]


def random_cube(size: int, n: int, classes: int, seed: int, right: float = 0.7) -> Tensor:
    """Cells right on a share of examples, otherwise any class; labels are i mod classes."""
    generator = stream(seed)
    anything = torch.randint(classes, (size, size, n), generator=generator)
    hit = torch.rand(size, size, n, generator=generator) < right
    return torch.where(hit, balanced(n, classes), anything).to(torch.uint8)


def balanced(n: int, classes: int) -> Tensor:
    return torch.arange(n) % classes


def retained(steps: list[int], kept: Callable[[int, int], float], n: int = 4000) -> Tensor:
    """Cube of two balanced classes whose cells have exactly the retention ``kept(s, t)``.

    The first (1 - M) / 2 of the examples of each class are wrong: A - c = M / 2.
    """
    size = len(steps)
    cube = balanced(n, 2).repeat(size, size, 1)
    for s in range(size):
        for t in range(s + 1, size):
            wrong = 2 * round(n * (1 - kept(steps[s], steps[t])) / 4)
            cube[s, t, :wrong] = 1 - cube[s, t, :wrong]
    return cube.to(torch.uint8)


def score(cube: Tensor, weights: Tensor, targets: Tensor | None = None) -> Scores:
    labels = balanced(cube.shape[2], 2) if targets is None else targets
    return bootstrap(cube, labels, 2, weights, 50, stream())


@pytest.mark.parametrize("steps", [grid(8), [6, 7, 8, 10, 14, 30, 60, 100], list(range(0, 101, 4))])
def test_a_constant_retention_is_the_score_on_every_grid(steps: list[int]) -> None:
    found = score(retained(steps, lambda s, t: 0.6), weights_on(steps))
    assert found.accuracy.value.tolist() == pytest.approx([0.6, 0.6])
    # 20 % of the examples are wrong in every cell.
    assert found.agreement.value.tolist() == pytest.approx([0.8, 0.8])


def test_a_refined_grid_leaves_the_score_where_equal_pairs_would_move_it() -> None:
    def kept(s: int, t: int) -> float:
        return 1 - 0.9 * (t - s) / TOTAL

    even = list(range(6, 101, 2))
    refined = sorted({*range(6, 20), *even})
    widths, equal = [], []
    for steps in (even, refined):
        cube, weights = retained(steps, kept, 1000), weights_on(steps)
        widths.append(float(score(cube, weights).accuracy.value[0]))
        equal.append(float(score(cube, weights.ne(0).double()).accuracy.value[0]))
    # In the limit the mean lag is a third of the 94 steps.
    assert widths == pytest.approx([1 - 0.9 * 94 / 300] * 2, abs=0.015)
    assert abs(widths[0] - widths[1]) < 0.005
    assert abs(equal[0] - equal[1]) > 0.01


def test_a_cell_that_says_one_class_scores_zero_on_unbalanced_labels() -> None:
    targets = (torch.arange(600) % 3 == 0).long()
    size = 8
    cube = torch.zeros(size, size, 600, dtype=torch.uint8)
    cube.diagonal().copy_(targets[:, None].expand(600, size))
    found = score(cube, weights_on(grid(size)), targets)
    for values in (found.accuracy.value, found.accuracy.low, found.accuracy.high):
        assert values.tolist() == pytest.approx([0, 0], abs=1e-12)


def test_predictions_that_know_nothing_of_the_labels_score_near_zero() -> None:
    size, n = 8, 2000
    cube = random_cube(size, n, 5, seed=3, right=0.0)
    cube.diagonal().copy_(balanced(n, 5)[:, None].expand(n, size))
    found = bootstrap(cube, balanced(n, 5), 5, weights_on(grid(size)), 200, stream())
    assert found.accuracy.value.abs().max() < 0.02
    # Four standard errors: an interval of 95 % is four of them wide.
    assert (found.accuracy.value.abs() < found.accuracy.high - found.accuracy.low).all()


def test_a_run_at_chance_has_no_score_by_accuracy_but_one_by_agreement() -> None:
    cube = random_cube(8, 300, 5, seed=4, right=0.0)
    found = bootstrap(cube, balanced(300, 5), 5, weights_on(grid(8)), 100, stream())
    assert found.accuracy.value.isnan().all()
    assert found.accuracy.low.isnan().all()
    assert found.agreement.value.tolist() == pytest.approx([0.2, 0.2], abs=0.03)


def test_identical_cubes_score_one_and_have_no_excess_at_all() -> None:
    size, n = 8, 200
    row = random_cube(1, n, 4, seed=5)[0, 0]
    cube = row.repeat(size, size, 1)
    found = bootstrap(cube, balanced(n, 4), 4, weights_on(grid(size)), 100, stream(), cube.clone())
    assert found.accuracy_excess is not None
    assert found.agreement_excess is not None
    for each in (found.accuracy, found.agreement):
        for values in (each.value, each.low, each.high):
            assert values.tolist() == pytest.approx([1, 1])
    for each in (found.accuracy_excess, found.agreement_excess):
        for values in (each.value, each.low, each.high):
            assert values.tolist() == [0, 0]


def naive(cube: Tensor, control: Tensor, targets: Tensor, weights: Tensor, drawn: Tensor) -> float:
    """The control's score on drawn examples, cell by cell."""

    def above(predicted: Tensor) -> float:
        guesses, labels = predicted[drawn].tolist(), targets[drawn].tolist()
        n = len(labels)
        right = sum(a == b for a, b in zip(guesses, labels, strict=True)) / n
        return float(right - naive_chance(labels, guesses))

    top, bottom = 0.0, 0.0
    for s, t in weights.nonzero().tolist():
        weight = float(weights[s, t])
        top += weight * above(control[s, t])
        bottom += weight * above(cube[t, t])
    return top / bottom


def test_value_and_limits_are_those_of_a_bootstrap_cell_by_cell() -> None:
    size, n, resamples = 8, 90, 30
    cube, control = random_cube(size, n, 3, 6), random_cube(size, n, 3, 7, right=0.4)
    targets = torch.randint(3, (n,), generator=stream(8))
    targets[:60] = balanced(n, 3)[:60]
    weights = weights_on(grid(size))
    found = bootstrap(cube, targets, 3, weights, resamples, stream(9), control)
    assert found.accuracy_excess is not None
    every = torch.arange(n)
    own = naive(cube, cube, targets, weights[0], every)
    other = naive(cube, control, targets, weights[0], every)
    assert float(found.accuracy.value[0]) == pytest.approx(other)
    assert float(found.accuracy_excess.value[0]) == pytest.approx(own - other)
    draws = torch.randint(n, (resamples, n), generator=stream(9))
    others = [naive(cube, control, targets, weights[0], each) for each in draws]
    owns = [naive(cube, cube, targets, weights[0], each) for each in draws]
    gaps = [a - b for a, b in zip(owns, others, strict=True)]
    for values, estimate in ((others, found.accuracy), (gaps, found.accuracy_excess)):
        points = torch.tensor(values, dtype=torch.float64).quantile(
            torch.tensor([0.025, 0.975], dtype=torch.float64)
        )
        limits = [float(estimate.low[0]), float(estimate.high[0])]
        assert limits == pytest.approx(points.tolist())


def test_the_asymmetry_is_the_score_minus_that_of_the_same_pairs_the_other_way_round() -> None:
    size, n, resamples = 8, 90, 30
    cube, targets = random_cube(size, n, 3, 6), balanced(n, 3)
    cube[torch.ones(size, size).tril(-1).bool()] = random_cube(1, n, 3, 7, right=0.3)[0, 0]
    weights = weights_on(grid(size))
    found = bootstrap(cube, targets, 3, weights, resamples, stream(9), asymmetry=True)
    plain = bootstrap(cube, targets, 3, weights, resamples, stream(9))
    assert found.accuracy.low.tolist() == pytest.approx(plain.accuracy.low.tolist())
    assert plain.accuracy_asymmetry is None
    assert found.accuracy_asymmetry is not None

    def gap(drawn: Tensor) -> float:
        there = naive(cube, cube, targets, weights[0], drawn)
        return there - naive(cube, cube, targets, weights[0].T, drawn)

    assert float(found.accuracy_asymmetry.value[0]) == pytest.approx(gap(torch.arange(n)))
    draws = torch.randint(n, (resamples, n), generator=stream(9))
    points = torch.tensor([gap(each) for each in draws], dtype=torch.float64).quantile(
        torch.tensor([0.025, 0.975], dtype=torch.float64)
    )
    limits = [float(found.accuracy_asymmetry.low[0]), float(found.accuracy_asymmetry.high[0])]
    assert limits == pytest.approx(points.tolist())


def test_a_cube_that_is_the_same_both_ways_has_no_asymmetry() -> None:
    cube = random_cube(8, 120, 4, 12)
    same = torch.where(torch.ones(8, 8).triu().bool()[..., None], cube, cube.transpose(0, 1))
    for t in range(8):
        same[t, t] = same[0, 0]
    found = bootstrap(same, balanced(120, 4), 4, weights_on(grid(8)), 20, stream(), asymmetry=True)
    assert found.accuracy_asymmetry is not None
    assert found.accuracy_asymmetry.value[0] == pytest.approx(0)
    assert found.accuracy_asymmetry.high[0] == pytest.approx(0)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cube, weights = random_cube(8, 300, 3, 10), weights_on(grid(8))
    whole = bootstrap(cube, balanced(300, 3), 3, weights, 20, stream())
    assert whole.accuracy.value.isfinite().all()
    monkeypatch.setattr("featdyn_engine.science.scores.CHUNK", 1000)
    pieces = bootstrap(cube, balanced(300, 3), 3, weights, 20, stream())
    torch.testing.assert_close(pieces.accuracy.value, whole.accuracy.value)
    torch.testing.assert_close(pieces.agreement.low, whole.agreement.low)
    torch.testing.assert_close(pieces.accuracy.high, whole.accuracy.high)


def test_cells_before_a_twin_branched_are_not_read() -> None:
    steps = list(range(10, 101, 5))
    cube = random_cube(len(steps), 100, 4, 11)
    weights = weights_on(steps, after=30)
    other = cube.clone()
    other[: steps.index(30) + 1] = 0
    found = bootstrap(cube, balanced(100, 4), 4, weights, 20, stream(), other)
    assert found.accuracy_excess is not None
    assert found.accuracy_excess.value.tolist() == [0, 0]


def test_classes_by_another_name_change_nothing() -> None:
    cube, weights, targets = random_cube(8, 120, 4, 12), weights_on(grid(8)), balanced(120, 4)
    name = torch.tensor([2, 0, 3, 1], dtype=torch.uint8)
    one = bootstrap(cube, targets, 4, weights, 20, stream())
    other = bootstrap(name[cube.long()], name[targets].long(), 4, weights, 20, stream())
    torch.testing.assert_close(one.accuracy.value, other.accuracy.value)
    torch.testing.assert_close(one.accuracy.low, other.accuracy.low)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"control": torch.zeros(2, 2, 5, dtype=torch.uint8)}, r"control: expected \(8, 8, 30\)"),
        ({"weights": torch.ones(1, 3, 3)}, r"weights: expected \(P, 8, 8\), got \(1, 3, 3\)"),
        ({"targets": torch.full((30,), 4)}, "targets: expected 30 labels of 0 to 3"),
        ({"targets": torch.zeros(29).long()}, "targets: expected 30 labels of 0 to 3"),
    ],
)
def test_shapes_that_do_not_match_are_refused(change: dict[str, Tensor], words: str) -> None:
    given = {
        "cube": random_cube(8, 30, 4, 13),
        "targets": balanced(30, 4),
        "weights": weights_on(grid(8)),
    }
    with pytest.raises(ValueError, match=words):
        bootstrap(**(given | change), classes=4, resamples=5, generator=stream())


def population(size: int, classes: int, kept: float, other: float, seed: int) -> tuple[Tensor, ...]:
    """A large population: cube, control, labels; examples differ in how easy they are.

    Errors are shared between cells, as those of one run are: a cell is wrong where its noise,
    mostly the example's own, exceeds the example's ease.
    """
    generator, n = stream(seed), 40_000
    labels = torch.multinomial(torch.arange(1.0, classes + 1), n, True, generator=generator)
    ease = torch.randn(n, generator=generator)
    usual = (labels + 1) % classes

    def cells(level: float) -> Tensor:
        noise = torch.randn(size, size, n, generator=generator)
        right = ease + 0.7 * noise < level
        return torch.where(right, labels, usual).to(torch.uint8)

    cube, control = cells(kept), cells(other)
    own = cells(1.5)
    for t in range(size):
        cube[t, t] = own[t, t]
    return cube, control, labels


def covers(estimate: Estimate, truth: Tensor) -> list[bool]:
    return ((estimate.low <= truth) & (truth <= estimate.high)).tolist()


def coverage(levels: tuple[float, float], n: int, repeats: int, seed: int) -> list[float]:
    """Shares of samples whose interval holds the population's score: score, then excess."""
    size, classes = 8, 3
    cube, control, labels = population(size, classes, *levels, seed)
    weights = weights_on(grid(size))[:1]
    whole = bootstrap(cube, labels, classes, weights, 2, stream(), control)
    own = bootstrap(cube, labels, classes, weights, 2, stream())
    assert whole.accuracy_excess is not None
    generator = stream(seed + 1)
    hits = []
    for _ in range(repeats):
        drawn = torch.randint(len(labels), (n,), generator=generator)
        part, null, target = cube[..., drawn], control[..., drawn], labels[drawn]
        score_of_run = bootstrap(part, target, classes, weights, 200, generator)
        both = bootstrap(part, target, classes, weights, 200, generator, null)
        assert both.accuracy_excess is not None
        hits.append(
            covers(score_of_run.accuracy, own.accuracy.value)
            + covers(both.accuracy_excess, whole.accuracy_excess.value)
        )
    return torch.tensor(hits).double().mean(dim=0).tolist()


def test_intervals_hold_the_score_and_the_excess_of_the_population() -> None:
    # One population, few samples: 150 of them leave a standard error of 1.8 points.
    assert min(coverage((1.0, 0.5), n=200, repeats=150, seed=20)) >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("levels", [(1.0, 0.5), (1.4, 0.0), (0.3, 0.2), (1.5, 1.45)])
@pytest.mark.parametrize("n", [300, 1000])
def test_intervals_cover_in_93_percent(levels: tuple[float, float], n: int) -> None:
    assert min(coverage(levels, n, repeats=1000, seed=30)) >= 0.93
