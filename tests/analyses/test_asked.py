"""What analyses are asked for: checkpoints spread over those stored, or named."""

import pytest

from featdyn_engine.analyses.asked import spread_out, wanted_steps
from featdyn_engine.domain import InputError
from tests.recipes.runs import PERCEPTRON


def test_steps_are_spread_evenly_with_both_ends() -> None:
    assert spread_out((0, 1, 2), 8) == (0, 1, 2)
    found = spread_out(tuple(range(0, 100, 2)), 8)
    assert len(found) == 8
    assert (found[0], found[-1]) == (0, 98)
    assert spread_out((5, 6, 7), 1) == (5,)
    assert spread_out((4,), 3) == (4,)


def test_named_steps_come_once_and_in_order() -> None:
    stored = PERCEPTRON.stored_steps
    assert wanted_steps((stored[-1], stored[0], stored[-1]), PERCEPTRON, "noise") == (
        stored[0],
        stored[-1],
    )
    with pytest.raises(InputError, match=r"noise.steps: expected checkpoints among .* got 12345"):
        wanted_steps((12345,), PERCEPTRON, "noise")
