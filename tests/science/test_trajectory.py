import math

import pytest
import torch

from featdyn_engine.randomness import generator
from featdyn_engine.science.displacement import relative_displacement
from featdyn_engine.science.trajectory import displacements, speeds, turning_cosines


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator("test trajectory", *shape), dtype=torch.float64)


def test_the_mean_square_is_the_displacement_between_neighbouring_checkpoints() -> None:
    features = normal(4, 30, 7)
    flat = features.flatten(1)
    pairs = relative_displacement(flat @ flat.T, features.sum(dim=1), 30)
    squares = displacements(features).square().mean(dim=1)
    assert squares[1:].tolist() == pytest.approx(pairs.diagonal(1).tolist())


def test_a_rotation_a_shift_and_a_scale_of_the_space_change_nothing() -> None:
    features = normal(5, 20, 6)
    turned = 3 * features @ torch.linalg.qr(normal(6, 6)).Q + normal(6)
    for measure in (displacements, turning_cosines):
        assert torch.allclose(measure(features), measure(turned), equal_nan=True)


def test_a_planted_rotation_is_smooth_and_a_planted_jump_stands_out() -> None:
    angles = torch.linspace(0, 1, 9, dtype=torch.float64)
    places = normal(40, 2)
    turns = torch.stack(
        [torch.stack([angles.cos(), -angles.sin()]), torch.stack([angles.sin(), angles.cos()])]
    )
    smooth = torch.einsum("nf,gft->tng", places, turns)
    found = displacements(smooth)[1:]
    assert torch.allclose(found, found[0].expand_as(found))
    assert torch.allclose(turning_cosines(smooth)[1:-1], torch.tensor(math.cos(1 / 8)).double())
    jumping = smooth.clone()
    jumping[5:, 7] += 10
    moved = displacements(jumping)
    assert int(moved[5].argmax()) == 7
    assert moved[5, 7] > 5 * moved[4, 7]
    assert int(moved[1:, 7].argmax()) + 1 == 5


def test_turning_is_minus_a_half_for_independent_jitter() -> None:
    jitter = normal(40, 3000) + normal(12, 40, 3000) / 10
    assert float(turning_cosines(jitter).nanmean()) == pytest.approx(-0.5, abs=0.005)


def test_turning_is_zero_for_a_random_walk_and_one_on_a_line() -> None:
    walk = normal(12, 40, 3000).cumsum(dim=0)
    assert float(turning_cosines(walk).nanmean()) == pytest.approx(0, abs=0.005)
    line = torch.arange(5.0)[:, None, None] * normal(1, 3, 4)
    assert torch.allclose(turning_cosines(line)[1:-1], torch.ones(3, 3).double())


def test_the_first_and_the_last_checkpoint_have_what_they_can_have() -> None:
    features = normal(4, 5, 3)
    assert displacements(features).isnan().all(dim=1).tolist() == [True, False, False, False]
    assert turning_cosines(features).isnan().all(dim=1).tolist() == [True, False, False, True]


def test_features_without_spread_have_no_displacement_and_still_ones_no_turning() -> None:
    features = normal(4, 5, 3)
    features[2] = 1.5
    assert displacements(features).isnan().all(dim=1).tolist() == [True, False, True, False]
    still = normal(1, 5, 3).expand(3, 5, 3)
    assert turning_cosines(still).isnan().all()


def test_speed_is_per_cumulative_learning_rate_and_unknown_where_it_stands_still() -> None:
    moved = torch.tensor([[math.nan, math.nan], [1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]).double()
    found = speeds(moved, torch.tensor([0.0, 0.5, 0.5, 2.5], dtype=torch.float64))
    assert found[1].tolist() == [2.0, 4.0]
    assert found[2].isnan().all()
    assert found[3].tolist() == [1.5, 2.0]
    assert torch.equal(speeds(moved[:, 0], torch.arange(4.0))[1:], moved[1:, 0])


def test_other_shapes_are_refused() -> None:
    for measure in (displacements, turning_cosines):
        with pytest.raises(ValueError, match=r"features: expected \(T, N, F\)"):
            measure(normal(4, 1, 3))
    with pytest.raises(ValueError, match="positions: expected 4 of them"):
        speeds(displacements(normal(4, 5, 3)), torch.arange(3.0))
