from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.domain import NetworkConfig
from featdyn_engine.models.registry import build
from featdyn_engine.science.displacement import cka_distances, displacements
from tests.cases import DIGITS

N, WIDTH = 23, 6
Measure = Callable[[Sequence[nn.Sequential], Sequence[int], Tensor, int], Tensor]
BOTH = pytest.mark.parametrize("measure", [displacements, cka_distances])


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def affine(weight: Tensor, bias: Tensor | None = None) -> nn.Sequential:
    """A network whose only interior cut shows x W' + b."""
    block, head = nn.Linear(weight.shape[1], weight.shape[0]), nn.Linear(weight.shape[0], 2)
    with torch.no_grad():
        block.weight.copy_(weight)
        block.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return nn.Sequential(block, head).eval()


def orthogonal(size: int) -> Tensor:
    return torch.linalg.qr(numbers(size, size, seed=5)).Q


def perceptrons(count: int) -> list[nn.Sequential]:
    config = NetworkConfig(name="mlp", norm_layer="batch", options={"width": 9, "depth": 3})
    networks: list[nn.Sequential] = []
    for seed in range(count):
        network = build(config, DIGITS, seed)
        # Running statistics of their own: features are those under them.
        network(2 * numbers(40, 1, 8, 8, seed=seed) + seed)
        networks.append(network.eval())
    return networks


def features_of(network: nn.Sequential, depth: int, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        return network[:depth](images).flatten(1).double().numpy()


def naive_displacement(one: np.ndarray, other: np.ndarray) -> float:
    moved = [float(np.sum((a - b) ** 2)) for a, b in zip(one, other, strict=True)]
    mean = sum(other) / len(other)
    spread = [float(np.sum((b - mean) ** 2)) for b in other]
    return (sum(moved) / len(moved)) / (sum(spread) / len(spread))


def naive_cka(one: np.ndarray, other: np.ndarray) -> float:
    """From the definition: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), H the centring matrix."""
    n = len(one)
    h = np.eye(n) - np.ones((n, n)) / n
    k, m = h @ (one @ one.T) @ h, h @ (other @ other.T) @ h
    return float(np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m)))


def test_every_pair_at_every_cut_is_what_the_definitions_say() -> None:
    networks, images, depths = perceptrons(3), numbers(N, 1, 8, 8), [1, 2, 3]
    moved = displacements(networks, depths, images, 10)
    turned = cka_distances(networks, depths, images, 10)
    assert moved.shape == turned.shape == (3, 3, 3)
    assert moved.dtype == turned.dtype == torch.float64
    for d, depth in enumerate(depths):
        features = [features_of(network, depth, images) for network in networks]
        for s in range(3):
            for t in range(3):
                expected = naive_displacement(features[s], features[t])
                assert float(moved[d, s, t]) == pytest.approx(expected, rel=1e-5, abs=1e-12)
                expected = 1 - naive_cka(features[s], features[t])
                assert float(turned[d, s, t]) == pytest.approx(expected, abs=1e-6)
    assert (turned[:, 0, 1] > 0.1).all()


def test_convolutional_features_count_every_place() -> None:
    networks = [build(NetworkConfig(name="resnet20"), DIGITS, seed).eval() for seed in (0, 1)]
    images = numbers(6, 1, 8, 8)
    one, other = (features_of(network, 4, images) for network in networks)
    found = displacements(networks, [4], images, 4)[0, 0, 1]
    assert float(found) == pytest.approx(naive_displacement(one, other), rel=1e-5)
    found = cka_distances(networks, [4], images, 4)[0, 0, 1]
    assert float(found) == pytest.approx(1 - naive_cka(one, other), abs=1e-6)


@BOTH
def test_a_network_has_not_moved_from_itself(measure: Measure) -> None:
    network, other = perceptrons(2)
    found = measure([network, other, network], [1, 3], numbers(N, 1, 8, 8), 10)
    for t in range(3):
        assert (found[:, t, t] == 0).all()
    assert (found[:, 0, 2] < 1e-12).all()
    assert (found[:, 0, 1] > 0.01).all()


@BOTH
def test_neither_memory_nor_mini_batches_change_the_numbers(measure: Measure) -> None:
    networks, images, depths = perceptrons(3), numbers(N, 1, 8, 8), [1, 2, 3]
    wide = measure(networks, depths, images, N)
    # Room for one cut's features, or for one cut's Gram matrices and features, but not for two.
    room = 4 * 9 * 4 * 7 * 3 if measure is displacements else 8 * 3 * N**2 + 4 * 9 * 4 * N
    narrow = measure(networks, depths, images, 7, room)  # type: ignore[call-arg]
    torch.testing.assert_close(narrow, wide, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="memory: expected room for"):
        measure(networks, depths, images, 7, room - 1)  # type: ignore[call-arg]


@pytest.mark.parametrize("size", [0.01, 3.0])
def test_a_shift_of_all_features_is_a_displacement_in_units_of_their_spread(size: float) -> None:
    images = numbers(N, WIDTH)
    direction = numbers(WIDTH, seed=3)
    direction *= size / direction.norm()
    networks = [affine(torch.eye(WIDTH), direction), affine(torch.eye(WIDTH))]
    spread = float((images - images.mean(dim=0)).square().sum(dim=1).mean())
    found = displacements(networks, [1], images, 10)[0]
    assert float(found[0, 1]) == pytest.approx(size**2 / spread, rel=1e-4)
    # Spread is the same at both ends, and CKA sees no shift.
    assert float(found[1, 0]) == pytest.approx(float(found[0, 1]))
    assert float(cka_distances(networks, [1], images, 10)[0, 0, 1]) == pytest.approx(0, abs=1e-10)


def test_isotropic_noise_of_each_example_is_a_displacement_of_its_variance() -> None:
    # The last coordinates carry noise of deviation 0.3, which only the first network adds.
    n = 4000
    images = torch.cat([numbers(n, WIDTH), 0.3 * numbers(n, WIDTH, seed=1)], dim=1)
    signal, noise = torch.eye(WIDTH), torch.zeros(WIDTH, WIDTH)
    noisy = affine(torch.cat([signal, signal], dim=1))
    clean = affine(torch.cat([signal, noise], dim=1))
    found = displacements([noisy, clean], [1], images, 1000)[0]
    assert float(found[0, 1]) == pytest.approx(0.09, rel=0.05)
    assert float(found[1, 0]) == pytest.approx(0.09 / 1.09, rel=0.05)


@pytest.mark.parametrize("factor", [0.25, 7.0])
def test_cka_sees_neither_a_rotation_nor_a_scale(factor: float) -> None:
    images, weight = numbers(N, WIDTH), numbers(WIDTH, WIDTH, seed=2)
    networks = [affine(weight), affine(factor * orthogonal(WIDTH) @ weight)]
    assert float(cka_distances(networks, [1], images, 10)[0, 0, 1]) == pytest.approx(0, abs=1e-6)
    assert float(displacements(networks, [1], images, 10)[0, 0, 1]) > 0.5


def test_cka_sees_a_stretch_of_some_directions() -> None:
    networks = [affine(torch.eye(WIDTH)), affine(torch.diag(torch.tensor([9.0, 1, 1, 1, 1, 1])))]
    assert float(cka_distances(networks, [1], numbers(N, WIDTH), 10)[0, 0, 1]) > 0.2


def test_scaling_by_a_factor_moves_features_by_the_rest_of_it() -> None:
    # Centred images: E||c h - h||^2 = (c - 1)^2 E||h||^2.
    images = numbers(N, WIDTH)
    images = images - images.mean(dim=0)
    networks = [affine(torch.eye(WIDTH)), affine(3 * torch.eye(WIDTH))]
    found = displacements(networks, [1], images, 10)[0]
    assert float(found[1, 0]) == pytest.approx(4, rel=1e-5)
    assert float(found[0, 1]) == pytest.approx(4 / 9, rel=1e-5)


def test_a_permutation_of_channels_is_a_displacement_that_cka_does_not_see() -> None:
    network = perceptrons(1)[0]
    other = build(
        NetworkConfig(name="mlp", norm_layer="batch", options={"width": 9, "depth": 3}), DIGITS
    )
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    state = network.state_dict()
    for name in state:
        if name.startswith("layer1.") and state[name].ndim:
            state[name] = state[name][order]
    other.load_state_dict(state)
    networks, images = [network, other.eval()], numbers(N, 1, 8, 8)
    assert float(displacements(networks, [1], images, 10)[0, 0, 1]) > 0.1
    assert float(cka_distances(networks, [1], images, 10)[0, 0, 1]) == pytest.approx(0, abs=1e-6)


def test_features_that_are_all_the_same_have_no_measure() -> None:
    constant = affine(torch.zeros(WIDTH, WIDTH), torch.full((WIDTH,), 0.1))
    networks, images = [affine(torch.eye(WIDTH)), constant], numbers(N, WIDTH)
    moved = displacements(networks, [1], images, 10)[0]
    assert moved.isnan().tolist() == [[False, True], [False, True]]
    turned = cka_distances(networks, [1], images, 10)[0]
    assert turned.isnan().tolist() == [[False, True], [True, True]]


@BOTH
def test_what_can_not_be_measured_is_refused(measure: Measure) -> None:
    networks, images = perceptrons(2), numbers(N, 1, 8, 8)
    with pytest.raises(ValueError, match="depth: expected 1 to 3, got 4"):
        measure(networks, [4], images, 10)
    with pytest.raises(ValueError, match="expected at least two, got 1"):
        measure(networks, [1], images[:1], 10)
    with pytest.raises(ValueError, match="evaluation mode"):
        measure([networks[0].train(), networks[1]], [1], images, 10)


@BOTH
def test_progress_ends_at_one(measure: Measure) -> None:
    heard: list[float] = []
    measure(perceptrons(2), [1, 2], numbers(N, 1, 8, 8), 5, progress=heard.append)  # type: ignore[call-arg]
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)
