"""Memory of a cube against slow oracles, closed forms, statsmodels and simulated coverage."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import t as student
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor, nn

from featdyn_engine.science import memory, tango
from featdyn_engine.science.cube import margins
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.intervals import Z
from featdyn_engine.science.memory import Estimates
from featdyn_engine.science.splice import compose
from tests.science.small import CUTS, convolutional, examples

T, N = 4, 60


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def cube() -> Tensor:
    """Whether each of 4 x 4 cells is right on each of 60 examples; later networks more often."""
    stream = torch.Generator().manual_seed(0)
    better = torch.linspace(0.4, 0.95, T)[None, :, None]
    return torch.rand(T, T, N, generator=stream) < better


def pairs() -> Iterator[tuple[int, int]]:
    yield from ((s, t) for s in range(T) for t in range(T))


# --- Particles ------------------------------------------------------------------------------


def test_flips_and_shares_are_those_counted_one_example_at_a_time(cube: Tensor) -> None:
    found, particle = memory.flips(cube), memory.particle_memory(cube)
    for s, t in pairs():
        cell, own = cube[s, t].tolist(), cube[t, t].tolist()
        lost = sum(b and not a for a, b in zip(cell, own, strict=True))
        gained = sum(a and not b for a, b in zip(cell, own, strict=True))
        assert found.right_to_wrong[s, t] == lost
        assert found.wrong_to_right[s, t] == gained
        assert particle.held[t] == sum(own)
        assert particle.kept[s, t] == sum(own) - lost
        assert particle.share.value[s, t] == pytest.approx(1 - lost / sum(own))


def test_the_p_value_is_the_exact_one_of_statsmodels(cube: Tensor) -> None:
    found = memory.flips(cube)
    for s, t in pairs():
        both = np.histogram2d(cube[s, t].numpy(), cube[t, t].numpy(), bins=2)[0]
        assert found.p[s, t] == pytest.approx(mcnemar(both, exact=True).pvalue)


def test_the_diagonal_has_no_flip_and_keeps_everything(cube: Tensor) -> None:
    found, particle = memory.flips(cube), memory.particle_memory(cube)
    every = np.arange(T)
    assert not found.right_to_wrong.diagonal().any()
    assert not found.wrong_to_right.diagonal().any()
    assert (found.p[every, every] == 1).all()
    assert (particle.share.value[every, every] == 1).all()


def test_the_interval_of_a_share_is_wilsons_over_the_held_examples(cube: Tensor) -> None:
    particle = memory.particle_memory(cube)
    for s, t in pairs():
        expected = proportion_confint(
            int(particle.kept[s, t]), int(particle.held[t]), method="wilson"
        )
        found = particle.share.low[s, t], particle.share.high[s, t]
        assert found == pytest.approx(expected)


def test_a_network_that_has_nothing_has_no_share(cube: Tensor) -> None:
    nothing = cube.clone()
    nothing[2, 2] = False
    share = memory.particle_memory(nothing).share
    for each in share:
        assert np.isnan(each[:, 2]).all()
        assert not np.isnan(np.delete(each, 2, axis=1)).any()


def test_the_order_of_the_examples_changes_nothing(cube: Tensor) -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    one, other = memory.flips(cube), memory.flips(cube[..., order])
    assert torch.equal(one.right_to_wrong, other.right_to_wrong)
    assert np.array_equal(one.p, other.p)


@pytest.mark.parametrize("depth", CUTS)
def test_margins_are_those_of_the_composed_networks(depth: int) -> None:
    networks = [convolutional(seed) for seed in range(3)]
    images, labels = examples(23)
    logits = {
        (s, t): compose(networks[s], networks[t], depth)(images).detach()
        for s in range(3)
        for t in range(3)
    }
    gamma = float(margins(logits[0, 1], labels).abs().median())
    found = memory.cells_that_have(networks, depth, images, labels, gamma, batch_size=7)
    for (s, t), each in logits.items():
        assert found[s, t].tolist() == (margins(each, labels) >= gamma).tolist()
    assert 0 < int(found.sum()) < found.numel()


# --- Empirical memory -----------------------------------------------------------------------


def test_the_bound_in_closed_form() -> None:
    assert memory.loss_bound(0, 10) == pytest.approx(math.log(10))
    assert memory.loss_bound(5, 10) == pytest.approx(math.log(1 + 9 * math.exp(-5)))
    assert memory.loss_bound(800, 1000) == 0


@pytest.mark.parametrize(
    ("gamma", "classes"), [(-0.1, 10), (math.inf, 10), (math.nan, 10), (1.0, 1)]
)
def test_the_bound_refuses_what_is_no_margin(gamma: float, classes: int) -> None:
    with pytest.raises(ValueError, match="gamma of 0 or more and K of 2 or more"):
        memory.loss_bound(gamma, classes)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 4.0])
def test_losses_at_this_margin_differ_by_no_more_than_the_bound(gamma: float) -> None:
    stream = torch.Generator().manual_seed(2)
    logits = 6 * torch.randn(2000, 10, generator=stream, dtype=torch.float64)
    labels = torch.randint(10, (2000,), generator=stream)
    # The true logit is lifted until the margin is gamma or more.
    lift = (gamma - margins(logits, labels)).clamp(min=0)
    logits[torch.arange(2000), labels] += lift
    assert float(margins(logits, labels).min()) >= gamma - 1e-9
    losses = F.cross_entropy(logits, labels, reduction="none")
    assert float(losses.min()) >= 0
    assert float(losses.max()) <= memory.loss_bound(gamma, 10) + 1e-12


def test_the_bound_is_reached_so_that_no_smaller_eps_follows() -> None:
    # All other logits exactly gamma below the true one, against a margin that costs nothing.
    gamma, classes = 2.0, 7
    least = torch.zeros(1, classes, dtype=torch.float64)
    least[0, 0] = gamma
    most = least.clone()
    most[0, 0] = 60.0
    label = torch.zeros(1, dtype=torch.int64)
    difference = F.cross_entropy(least, label) - F.cross_entropy(most, label)
    assert float(difference) == pytest.approx(memory.loss_bound(gamma, classes))


def test_a_loss_that_is_no_number_is_refused() -> None:
    loss = torch.tensor([[0.5, 1.0], [0.75, 0.25]], dtype=torch.float64)
    assert memory.loss_difference(loss).tolist() == [[0, 0.75], [0.25, 0]]
    for wrong in (math.nan, math.inf):
        loss[0, 1] = wrong
        with pytest.raises(ValueError, match="loss: expected finite numbers, got 1 not"):
            memory.loss_difference(loss)


# --- Forgetting and transfer ----------------------------------------------------------------


def test_the_drop_is_paired_and_its_limits_are_tangos(cube: Tensor) -> None:
    found = memory.flips(cube)
    drop = memory.accuracy_drop(found)
    accuracy = cube.double().mean(dim=-1)
    assert drop.value == pytest.approx((accuracy.diagonal() - accuracy).numpy())
    low, high = tango.limits(int(found.right_to_wrong[0, 3]), int(found.wrong_to_right[0, 3]), N, Z)
    assert (drop.low[0, 3], drop.high[0, 3]) == pytest.approx((float(low), float(high)))


def planted_drop(low: float) -> Estimates:
    return Estimates(*(np.full((2, 2), each) for each in (low + 0.1, low, low + 0.2)))


@pytest.mark.parametrize(
    ("ratio", "low", "shown"),
    [(0.95, 0.02, True), (0.95, 0.0, False), (0.85, 0.02, False), (0.9, 0.0101, True)],
)
def test_forgotten_is_what_was_good_and_surely_lost_more_than_eps(
    ratio: float, low: float, shown: bool
) -> None:
    relative = torch.full((2, 2), ratio, dtype=torch.float64)
    found = memory.forgetting(relative, planted_drop(low), eps=0.01, high=0.9)
    assert found.told.tolist() == [[False, True], [False, False]]
    assert found.shown.tolist() == [[False, shown], [False, False]]


def test_near_chance_nothing_is_said_to_be_forgotten() -> None:
    relative = torch.full((2, 2), torch.nan, dtype=torch.float64)
    found = memory.forgetting(relative, planted_drop(0.5), eps=0.01, high=0.9)
    assert not found.told.any()
    assert not found.shown.any()


def test_the_gap_is_the_difference_of_the_drops_and_its_limits_add_in_squares() -> None:
    train = Estimates(np.array([0.10]), np.array([0.07]), np.array([0.14]))
    other = Estimates(np.array([0.03]), np.array([-0.01]), np.array([0.06]))
    gap = memory.transfer_gap(train, other)
    assert gap.value[0] == pytest.approx(0.07)
    assert gap.low[0] == pytest.approx(0.07 - math.hypot(0.03, 0.03))
    assert gap.high[0] == pytest.approx(0.07 + math.hypot(0.04, 0.04))


def test_exchanging_the_laws_turns_the_gap_round() -> None:
    one = Estimates(np.array([0.2]), np.array([0.1]), np.array([0.4]))
    two = Estimates(np.array([0.3]), np.array([0.25]), np.array([0.5]))
    there, back = memory.transfer_gap(one, two), memory.transfer_gap(two, one)
    assert there.value == pytest.approx(-back.value)
    assert there.low == pytest.approx(-back.high)
    assert there.high == pytest.approx(-back.low)


@pytest.mark.parametrize(
    ("lost", "gained", "n", "most"),
    [
        ((0.02, 0.03), (0.005, 0.01), (500, 300), 0.96),
        ((0.3, 0.1), (0.05, 0.1), (300, 300), 0.96),
        ((0.002, 0.2), (0.0, 0.02), (500, 200), 0.96),
        # Half an example flips, or one: counts are too coarse for exactly 95 %.
        ((0.001, 0.003), (0.001, 0.001), (500, 300), 1.0),
    ],
)
def test_the_gap_covers_as_it_says(
    lost: tuple[float, float], gained: tuple[float, float], n: tuple[int, int], most: float
) -> None:
    draw = np.random.default_rng(0)
    drops = []
    for p_lost, p_gained, size in zip(lost, gained, n, strict=True):
        counts = draw.multinomial(size, [p_lost, p_gained, 1 - p_lost - p_gained], size=4000)
        low, high = tango.limits(counts[:, 0], counts[:, 1], size, Z)
        drops.append(Estimates((counts[:, 0] - counts[:, 1]) / size, low, high))
    truth = (lost[0] - gained[0]) - (lost[1] - gained[1])
    gap = memory.transfer_gap(*drops)
    covered = float(((gap.low <= truth) & (truth <= gap.high)).mean())
    assert 0.935 <= covered <= most


# --- Induction ------------------------------------------------------------------------------


def test_the_memory_of_an_example_is_its_weighted_share_of_pairs(cube: Tensor) -> None:
    weights = torch.rand(T, T, generator=torch.Generator().manual_seed(3)).double().triu(1)
    found = memory.example_memory(cube, weights)
    for i in range(N):
        due = [(s, t) for s, t in pairs() if s < t and cube[t, t, i]]
        whole = sum(float(weights[s, t]) for s, t in due)
        kept = sum(float(weights[s, t]) for s, t in due if cube[s, t, i])
        if whole:
            assert float(found[i]) == pytest.approx(kept / whole)
        else:
            assert math.isnan(float(found[i]))


def test_an_example_that_no_network_has_has_no_memory(cube: Tensor) -> None:
    never = cube.clone()
    never[..., 5] = False
    found = memory.example_memory(never, torch.ones(T, T, dtype=torch.float64).triu(1))
    assert math.isnan(float(found[5]))
    assert not found[torch.arange(N) != 5].isnan().any()


def test_the_mean_leaves_out_what_is_unknown_and_has_students_limits() -> None:
    values = torch.tensor([0.2, 0.4, math.nan, 0.9, 0.5], dtype=torch.float64)
    known = np.array([0.2, 0.4, 0.9, 0.5])
    expected = student.interval(
        0.95, len(known) - 1, loc=known.mean(), scale=known.std(ddof=1) / math.sqrt(len(known))
    )
    mean, low, high = memory.mean_over_examples(values)
    assert mean == pytest.approx(known.mean())
    assert (low, high) == pytest.approx((max(expected[0], 0), min(expected[1], 1)))


def test_one_example_has_no_mean() -> None:
    found = memory.mean_over_examples(torch.tensor([0.5, math.nan], dtype=torch.float64))
    assert all(math.isnan(each) for each in found)


def test_networks_stay_as_they_are() -> None:
    network = convolutional(0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images, labels = examples(5)
    memory.cells_that_have([network], 1, images, labels, 0.0, 5)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert isinstance(network, nn.Sequential)
