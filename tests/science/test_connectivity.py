import copy
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import DataConfig, NetworkConfig
from featdyn_engine.models.registry import build
from featdyn_engine.science.comparators import Score, score
from featdyn_engine.science.connectivity import barrier, interpolated, point_scores
from featdyn_engine.science.recalibration import recalibrate
from featdyn_engine.science.splice import compose
from tests.cases import DIGITS, HERE

DEPTHS = [1, 2]
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def perceptron(norm_layer: str, seed: int = 0) -> nn.Sequential:
    config = NetworkConfig(
        name="mlp",
        norm_layer=norm_layer,  # type: ignore[arg-type]
        options={"width": 24, "depth": 2},
    )
    return build(config, DIGITS, seed)


def trained(norm_layer: str, steps: Sequence[int]) -> list[nn.Sequential]:
    images, labels = digits()
    network = perceptron(norm_layer)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    result = []
    for step in range(max(steps) + 1):
        if step in steps:
            result.append(copy.deepcopy(network).eval())
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return result


def digits() -> tuple[Tensor, Tensor]:
    dataset = data_registry.load(DataConfig(name="digits", train_size=96), HERE)
    return dataset.normalise(dataset.train_images), dataset.train_labels


def batches() -> list[Tensor]:
    return list(digits()[0].split(32))


def own_score(network: nn.Sequential, recalibrated: bool = True) -> Score:
    images, labels = digits()
    network = copy.deepcopy(network)
    if recalibrated:
        recalibrate(network, batches())
    with torch.no_grad():
        return score(network(images), labels)


def along(
    towards: nn.Sequential, origin: nn.Sequential, alpha: float
) -> tuple[Score, dict[int, Score]]:
    return point_scores(towards, origin, alpha, DEPTHS, *digits(), batches(), 40)


def close(one: Score, other: Score) -> bool:
    return (one.n, one.correct) == (other.n, other.correct) and one.loss == pytest.approx(
        other.loss, rel=1e-5
    )


@pytest.mark.parametrize("norm_layer", ["batch", "none"])
def test_the_ends_of_the_paths_are_networks_and_splices_recalibrated(norm_layer: str) -> None:
    early, late = trained(norm_layer, (3, 12))
    whole, spliced = along(early, late, 0.0)
    assert close(whole, own_score(late))
    assert all(close(spliced[depth], own_score(late)) for depth in DEPTHS)
    whole, spliced = along(early, late, 1.0)
    assert close(whole, own_score(early))
    for depth in DEPTHS:
        assert close(spliced[depth], own_score(compose(early, late, depth)))
    assert not close(own_score(early), own_score(late))


def test_statistics_are_estimated_anew_wherever_there_are_any() -> None:
    early, late = trained("batch", (3, 12))
    assert not close(along(early, late, 0.0)[0], own_score(late, recalibrated=False))
    before = copy.deepcopy((early.state_dict(), late.state_dict()))
    along(early, late, 0.5)
    for network, state in zip((early, late), before, strict=True):
        assert all(torch.equal(network.state_dict()[name], state[name]) for name in state)
    plain = trained("none", (3, 12))
    assert close(along(*plain, 0.0)[0], own_score(plain[1], recalibrated=False))


@pytest.mark.parametrize("norm_layer", ["batch", "none"])
@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_points_between_are_the_whole_composite_recalibrated(norm_layer: str, alpha: float) -> None:
    early, late = trained(norm_layer, (3, 12))
    between = perceptron(norm_layer).eval()
    state = late.state_dict()
    for name, tensor in early.state_dict().items():
        if tensor.is_floating_point():
            state[name] = state[name] + alpha * (tensor - state[name])
    between.load_state_dict(state)
    whole, spliced = along(early, late, alpha)
    assert close(whole, own_score(between))
    for depth in DEPTHS:
        assert close(spliced[depth], own_score(compose(between, late, depth)))


def test_interpolated_weights_are_exact_at_both_ends() -> None:
    early, late = trained("batch", (3, 12))
    for alpha, end in ((0.0, late), (1.0, early)):
        found = interpolated(early, late, alpha)
        for mine, its in zip(found.parameters(), end.parameters(), strict=True):
            assert torch.equal(mine, its)
        assert not found.training


def test_a_path_to_itself_is_flat() -> None:
    (network,) = trained("batch", (6,))
    losses = [along(network, network, alpha)[0].loss for alpha in ALPHAS]
    assert barrier(ALPHAS, losses) == pytest.approx(0, abs=1e-5)


def permuted(network: nn.Sequential) -> nn.Sequential:
    """The same function with the units of both hidden layers in another order."""
    result = copy.deepcopy(network)
    state = network.state_dict()
    orders = [torch.randperm(24, generator=torch.Generator().manual_seed(k)) for k in (1, 2)]
    for name, tensor in state.items():
        if not tensor.ndim:
            continue
        if name.startswith("layer1."):
            state[name] = tensor[orders[0]]
        elif name.startswith("layer2."):
            tensor = tensor[:, orders[0]] if tensor.ndim == 2 else tensor
            state[name] = tensor[orders[1]]
        elif name == "head.weight":
            state[name] = tensor[:, orders[1]]
    result.load_state_dict(state)
    return result


@pytest.mark.parametrize("norm_layer", ["batch", "none"])
def test_a_permuted_copy_is_equal_at_the_ends_with_a_barrier_between(norm_layer: str) -> None:
    (network,) = trained(norm_layer, (30,))
    other = permuted(network)
    points = [along(other, network, alpha)[0] for alpha in ALPHAS]
    assert close(points[0], points[-1])
    assert points[0].correct > 80
    assert barrier(ALPHAS, [point.loss for point in points]) > 0.1
    assert points[2].loss > points[0].loss + 0.1


def test_a_convex_loss_has_no_barrier() -> None:
    # Softmax regression: cross-entropy is convex in the weights.
    images, labels = digits()
    networks = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks.append(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    losses = [
        point_scores(*networks, alpha, [], images, labels, [], 96)[0].loss for alpha in ALPHAS
    ]
    assert min(losses) < max(losses[0], losses[-1])
    assert barrier(ALPHAS, losses) == 0


def test_a_barrier_by_hand() -> None:
    # Above the line from 1 to 3: 1.5 at 0.25, 2 at 0.5.
    assert barrier((0, 0.25, 0.5, 1), (1, 2.75, 3, 3)) == pytest.approx(1.25)
    assert barrier((1, 0.5, 0.25, 0), (3, 3, 2.75, 1)) == pytest.approx(1.25)
    assert barrier((0, 0.5, 1), (1, 1.5, 3)) == 0
    assert barrier((0, 1), (4, 2)) == 0


def test_a_barrier_needs_both_ends() -> None:
    with pytest.raises(ValueError, match="expected 0 and 1 among them"):
        barrier((0, 0.5), (1, 2))


def test_what_has_no_path_is_refused() -> None:
    (network,) = trained("batch", (0,))
    images, labels = digits()
    with pytest.raises(ValueError, match="depth: expected 1 to 2, got 3"):
        point_scores(network, network, 0.5, [3], images, labels, batches(), 40)
    with pytest.raises(ValueError, match="evaluation mode"):
        point_scores(network.train(), network, 0.5, [1], images, labels, batches(), 40)
