import copy
import math

import pytest
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor

from featdyn_engine.domain import NetworkConfig
from featdyn_engine.models.registry import build
from featdyn_engine.science.controls import (
    mirror,
    moved_isotropically,
    other_example,
    partners,
    random_features,
)
from tests.cases import DIGITS

TARGETS = torch.tensor([2, 0, 1, 0, 2, 2, 0, 0, 1, 2, 0])


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed))


def candidates(example: int, same_class: bool) -> list[int]:
    """The law of a partner, from the definition alone."""
    targets = TARGETS.tolist()
    return [
        j
        for j in range(len(targets))
        if j != example and (targets[j] == targets[example]) == same_class
    ]


def distance(a: Tensor, b: Tensor) -> list[float]:
    """Euclidean distance of each pair of examples, in double precision."""
    rows = zip(a.double(), b.double(), strict=True)
    return [math.sqrt(sum(x * x for x in (u - v).flatten().tolist())) for u, v in rows]


@pytest.mark.parametrize("same_class", [True, False])
def test_partners_are_uniform_over_the_others_of_the_same_or_of_other_classes(
    same_class: bool,
) -> None:
    numbers, draws = stream(), 2000
    drawn = torch.stack([partners(TARGETS, same_class, numbers) for _ in range(draws)])
    assert drawn.dtype == torch.int64
    for example in range(len(TARGETS)):
        counts = torch.bincount(drawn[:, example], minlength=len(TARGETS))
        allowed = candidates(example, same_class)
        assert int(counts[allowed].sum()) == draws
        if len(allowed) > 1:
            # 22 tests of one seeded draw: at 0.05 % each, one in a hundred seeds would fail.
            assert chisquare(counts[allowed].numpy()).pvalue > 5e-4


def test_partners_are_drawn_independently_of_each_other() -> None:
    numbers = stream(1)
    drawn = torch.stack([partners(TARGETS, True, numbers) for _ in range(3000)])
    # Examples 1 and 3 of class 0 have four candidates each: 16 pairs, all equally likely.
    pairs = drawn[:, 1] * len(TARGETS) + drawn[:, 3]
    counts = pairs.unique(return_counts=True)[1]
    assert len(counts) == 16
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_two_of_a_class_are_each_others_partners() -> None:
    assert partners(torch.tensor([7, 3, 7, 3]), True, stream()).tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("same_class", [True, False])
def test_a_large_draw_is_right_for_every_example(same_class: bool) -> None:
    targets = torch.randint(10, (5000,), generator=stream(2))
    drawn = partners(targets, same_class, stream(3))
    assert bool(((targets[drawn] == targets) == same_class).all())
    assert not bool((drawn == torch.arange(5000)).any())


def test_partners_repeat_with_their_stream_alone() -> None:
    again = partners(TARGETS, False, stream(5))
    assert torch.equal(partners(TARGETS, False, stream(5)), again)
    assert not torch.equal(partners(TARGETS, False, stream(6)), again)


def test_a_class_of_one_has_no_partner_of_its_own_class() -> None:
    targets = torch.tensor([0, 0, 4, 1, 1])
    with pytest.raises(ValueError, match=r"expected at least two .* got one of class 4; take more"):
        partners(targets, True, stream())
    assert int(targets[partners(targets, False, stream())[2]]) != 4


def test_one_class_has_no_partners_of_another() -> None:
    with pytest.raises(ValueError, match="expected examples of at least two classes, got 1; take"):
        partners(torch.zeros(5, dtype=torch.int64), False, stream())


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 5, 8), (6, 12)])
def test_other_example_goes_as_far_as_x_in_the_direction_of_its_partner(
    shape: tuple[int, ...],
) -> None:
    h_s, h_t, partner_s, partner_t = (features(*shape, seed=seed) for seed in range(4))
    partner_s = partner_t + 1e-3 * partner_s  # the partner's own distance doesn't matter
    e = other_example(h_s, h_t, partner_s, partner_t) - h_t
    assert distance(e, torch.zeros(shape)) == pytest.approx(distance(h_s, h_t), rel=1e-5)
    cosine = torch.cosine_similarity(e.flatten(1), (partner_s - partner_t).flatten(1))
    torch.testing.assert_close(cosine, torch.ones(6))


def test_other_example_with_x_itself_as_its_partner_is_the_splice() -> None:
    h_s, h_t = features(5, 4, 3, 3), features(5, 4, 3, 3, seed=1)
    torch.testing.assert_close(other_example(h_s, h_t, h_s, h_t), h_s)


def test_each_example_keeps_its_own_length() -> None:
    h_t = torch.zeros(2, 2)
    h_s = torch.tensor([[3.0, 4.0], [0.0, 0.5]])
    partner_s = torch.tensor([[0.0, 10.0], [-2.0, 0.0]])
    expected = torch.tensor([[0.0, 5.0], [-0.5, 0.0]])
    torch.testing.assert_close(other_example(h_s, h_t, partner_s, torch.zeros(2, 2)), expected)


def test_nothing_moves_where_the_partner_or_x_did_not() -> None:
    h_s, h_t, partner = features(3, 8), features(3, 8, seed=1), features(3, 8, seed=2)
    assert torch.equal(other_example(h_s, h_t, partner, partner), h_t)
    assert torch.equal(other_example(h_t, h_t, h_s, partner), h_t)
    assert torch.equal(random_features(h_t, h_t, stream()), h_t)
    assert torch.equal(mirror(h_t, h_t), h_t)


def test_mirror_is_equal_and_opposite() -> None:
    h_s, h_t = features(4, 3, 2, 2), features(4, 3, 2, 2, seed=1)
    torch.testing.assert_close(mirror(h_s, h_t) - h_t, h_t - h_s)
    torch.testing.assert_close(mirror(mirror(h_s, h_t), h_t), h_s)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 5, 8), (6, 12)])
def test_random_features_are_as_far_as_s(shape: tuple[int, ...]) -> None:
    h_s, h_t = features(*shape), features(*shape, seed=1)
    made = random_features(h_s, h_t, stream(2))
    assert distance(made, h_t) == pytest.approx(distance(h_s, h_t), rel=1e-5)


def test_bfloat16_features_stay_so_and_keep_the_norm_to_their_digits() -> None:
    shape = (4, 64, 8, 8)
    h_s, h_t, p_s, p_t = (features(*shape, seed=seed).bfloat16() for seed in range(4))
    for made in (random_features(h_s, h_t, stream()), other_example(h_s, h_t, p_s, p_t)):
        assert made.dtype == torch.bfloat16
        assert distance(made, h_t) == pytest.approx(distance(h_s, h_t), rel=0.01)


def test_random_directions_are_isotropic() -> None:
    n, width = 20_000, 6
    scale = torch.tensor([1.0, 0.1, 0.1, 0.1, 0.1, 0.1])  # the true displacement is not
    e = random_features(features(n, width) * scale, torch.zeros(n, width), stream(1)).double()
    units = e / e.norm(dim=1, keepdim=True)
    # A coordinate has variance 1/p; five standard errors of the mean, and of second moments.
    assert float(units.mean(dim=0).abs().max()) < 5 * (1 / width / n) ** 0.5
    moments = units.T @ units / n
    expected = torch.eye(width, dtype=torch.float64) / width
    assert float((moments - expected).abs().max()) < 5 * (2 / width**2 / n) ** 0.5


def test_random_features_repeat_with_their_stream_alone() -> None:
    h_s, h_t = features(4, 8), features(4, 8, seed=1)
    again = random_features(h_s, h_t, stream(5))
    assert torch.equal(random_features(h_s, h_t, stream(5)), again)
    assert not torch.equal(random_features(h_s, h_t, stream(6)), again)


def states() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of ResNet-20 with other initial weights, and other running statistics; a head that stays."""
    networks = [build(NetworkConfig(name="resnet20"), DIGITS, seed) for seed in (0, 1)]
    with torch.no_grad():
        networks[0](features(8, 1, 8, 8))
        networks[1].head.load_state_dict(networks[0].head.state_dict())
    theta_t, theta_s = (network.state_dict() for network in networks)
    theta_s["stem.norm.weight"] += 0.25
    return theta_t, theta_s


def test_each_parameter_moves_as_far_as_that_of_s_and_buffers_stay() -> None:
    theta_t, theta_s = states()
    before = copy.deepcopy(theta_t)
    moved = moved_isotropically(theta_t, theta_s, stream())
    assert list(moved) == list(theta_t)
    for name, tensor in before.items():
        assert torch.equal(theta_t[name], tensor), name
        assert moved[name].dtype == tensor.dtype
        assert moved[name].data_ptr() != theta_t[name].data_ptr()
        away = float((moved[name].double() - tensor.double()).norm())
        if name.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked"):
            assert away == 0, name
        else:
            expected = float((theta_s[name].double() - tensor.double()).norm())
            assert away == pytest.approx(expected, rel=1e-5), name
    assert not torch.equal(theta_t["stem.norm.running_mean"], theta_s["stem.norm.running_mean"])
    assert not torch.equal(moved["stem.norm.weight"], theta_t["stem.norm.weight"])
    assert torch.equal(moved["head.linear.weight"], theta_t["head.linear.weight"])


def test_a_moved_state_loads() -> None:
    theta_t, theta_s = states()
    network = build(NetworkConfig(name="resnet20"), DIGITS, seed=2)
    network.load_state_dict(moved_isotropically(theta_t, theta_s, stream()))


def test_parameters_move_isotropically_whatever_the_true_direction() -> None:
    p = 5000
    theta_t = {"w": features(50, 100)}
    theta_s = {"w": theta_t["w"].clone()}
    theta_s["w"][0, 0] += 3.0  # one coordinate alone
    e = (moved_isotropically(theta_t, theta_s, stream(3))["w"] - theta_t["w"]).flatten()
    # Coordinates of a uniform point on a sphere of many dimensions are normal.
    assert kstest((e * p**0.5 / 3.0).numpy(), "norm").pvalue > 0.01


def test_small_tensors_move_isotropically_too() -> None:
    theta_t, theta_s = {"w": torch.zeros(2)}, {"w": torch.tensor([1.0, 0.0])}
    numbers = stream(4)
    drawn = torch.stack([moved_isotropically(theta_t, theta_s, numbers)["w"] for _ in range(2000)])
    angles = torch.atan2(drawn[:, 1], drawn[:, 0])
    assert kstest((angles / (2 * math.pi) + 0.5).numpy(), "uniform").pvalue > 0.01


def test_moved_parameters_repeat_with_their_stream_alone() -> None:
    theta_t, theta_s = {"w": features(4, 8)}, {"w": features(4, 8, seed=1)}
    again = moved_isotropically(theta_t, theta_s, stream(5))["w"]
    assert torch.equal(moved_isotropically(theta_t, theta_s, stream(5))["w"], again)
    assert not torch.equal(moved_isotropically(theta_t, theta_s, stream(6))["w"], again)


@pytest.mark.parametrize("other", [{"v": torch.zeros(3)}, {"w": torch.zeros(1)}])
def test_states_of_two_architectures_are_refused(other: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"expected tensors of the names and shapes .* take two"):
        moved_isotropically({"w": torch.zeros(3)}, other, stream())
