"""Schedules against their closed forms; spacings of checkpoints as a property of random counts."""

import math
import random
from itertools import pairwise
from typing import Any

import pytest

from featdyn_engine.domain import Recipe
from featdyn_engine.recipes.schedules import evenly_spaced, learning_rate, log_spaced


def rates(schedule: str, steps: int = 100, **options: Any) -> list[float]:
    recipe = Recipe(steps=steps, lr=0.5, schedule=schedule, **options)  # type: ignore[arg-type]
    return [learning_rate(recipe, step) for step in range(steps)]


def test_constant_stays() -> None:
    assert rates("constant") == [0.5] * 100


def test_steps_fall_at_their_marks_and_not_before() -> None:
    found = rates("step", milestones=(0.5, 0.75), gamma=0.1)
    assert found == pytest.approx([0.5] * 50 + [0.05] * 25 + [0.005] * 25)


@pytest.mark.parametrize(("steps", "mark", "first"), [(30, 0.3, 9), (10, 0.7, 7), (7, 0.5, 4)])
def test_a_mark_is_the_first_step_at_or_past_its_share(steps: int, mark: float, first: int) -> None:
    found = rates("step", steps, milestones=(mark,), gamma=0.5)
    assert found == [0.5] * first + [0.25] * (steps - first)


def test_cosine_is_half_a_cosine() -> None:
    expected = [0.25 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    assert rates("cosine") == pytest.approx(expected)


def test_one_cycle_climbs_for_three_tenths_and_falls_to_zero() -> None:
    found = rates("one_cycle")
    assert found[0] == pytest.approx(0.5 / 25)
    assert found[15] == pytest.approx((0.5 / 25 + 0.5) / 2)
    assert found[30] == pytest.approx(0.5) == max(found)
    assert found[65] == pytest.approx(0.25)
    assert found[:31] == sorted(found[:31])
    assert found[30:] == sorted(found[30:], reverse=True)
    assert 0 < found[-1] < 0.001


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
def test_every_schedule_warms_up_in_a_straight_line(schedule: str) -> None:
    found = rates(schedule, warmup=0.2)
    assert found[:20] == pytest.approx(
        [0.5 / 25 + (0.5 - 0.5 / 25) * step / 20 for step in range(20)]
    )
    assert found[20] == pytest.approx(0.5)


def test_no_warm_up_can_be_asked_of_one_cycle() -> None:
    assert rates("one_cycle", warmup=0.0) == pytest.approx(rates("cosine"))


def test_log_spacing_by_hand() -> None:
    assert log_spaced(5, 1000) == (0, 1, 10, 100, 1000)
    assert log_spaced(4, 3) == (0, 1, 2, 3)


def test_even_spacing_by_hand() -> None:
    assert evenly_spaced(5, 1000) == (0, 250, 500, 750, 1000)
    assert evenly_spaced(3, 5) == (0, 2, 5)


def test_any_spacing_holds_first_and_last_and_no_step_twice() -> None:
    draw = random.Random(0)
    for _ in range(3000):
        count = draw.randint(2, 60)
        last = draw.choice([1, 2, draw.randint(1, 100), draw.randint(1, 100_000)])
        for spaced in (evenly_spaced, log_spaced):
            found = spaced(count, last)
            case = f"{spaced.__name__}({count}, {last}) = {found}"
            assert (found[0], found[-1]) == (0, last), case
            assert list(found) == sorted(set(found)), case
            # Three always lie on a logarithmic scale: 0, 1 and the last.
            assert len(found) <= max(count, 3), case
            if count <= last + 1:
                assert len(found) >= count, case


def test_even_differences_are_as_equal_as_whole_numbers_can_be() -> None:
    draw = random.Random(1)
    for _ in range(500):
        count = draw.randint(2, 60)
        steps = evenly_spaced(count, draw.randint(count, 100_000))
        gaps = [later - earlier for earlier, later in pairwise(steps)]
        assert max(gaps) - min(gaps) <= 2
