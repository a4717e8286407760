"""What holds for every network of the registry, with each normalisation that it can have."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featdyn_engine.domain import InputError, NetworkConfig, Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.registry import MODELS, architecture, build, cuts
from featdyn_engine.science.execution import cpu_threads
from tests.models.cases import CIFAR10, PARAMETERS, images, made, network, parameters, task

NAMES = sorted({name for name, _ in PARAMETERS})
ALL = [(name, norm) for name, found in MODELS.items() for norm in found.norm_layers]
PLAIN = [name for name, norm in ALL if norm == "none"]


class Case(NamedTuple):
    name: str
    norm_layer: str
    network: BlockNetwork

    @property
    def config(self) -> NetworkConfig:
        return network(self.name, self.norm_layer)

    @property
    def images(self) -> Tensor:
        return images(task(self.name))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the engine's workers: sums in one order, and no fight for cores."""
    with cpu_threads(1):
        yield


# One network at a time in memory. The last of its tests moves its running statistics.
@pytest.fixture(scope="module", params=ALL, ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    name, norm_layer = request.param
    network = made(name, norm_layer)
    # Where a classifier starts at zero all would be equal behind it: move everything a little.
    stream = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=stream))
    return Case(name, norm_layer, network)


@torch.inference_mode()
def test_the_blocks_one_after_another_are_the_network(case: Case) -> None:
    features = case.images
    for block in case.network:
        features = block(features)
    assert torch.equal(features, case.network(case.images))
    assert features.shape == (2, 10)
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


def test_children_bear_the_names_of_their_blocks(case: Case) -> None:
    children = [child for child, _ in case.network.named_children()]
    assert children == [block.replace(".", "_") for block in case.network.block_names]
    assert len(set(children)) == len(case.network)


@torch.inference_mode()
def test_a_cut_divides_the_network_behind_the_block_of_its_name(case: Case) -> None:
    children, expected = dict(case.network.named_children()), case.network(case.images)
    found = cuts(case.config, task(case.name))
    assert [cut.depth for cut in found] == list(range(1, len(case.network)))
    assert [cut.name for cut in found] == case.network.block_names[:-1]
    shallow = case.images
    for cut in found:
        last = case.network[cut.depth - 1]
        assert last is children[cut.name.replace(".", "_")]
        shallow = last(shallow)
        # Deep parts of the first, a middle and the last cut: all would cost L times as much.
        if cut.depth in (1, len(found) // 2, len(found)):
            assert torch.equal(case.network[cut.depth :](shallow), expected)


def test_a_state_dict_carries_the_whole_network(case: Case) -> None:
    with torch.device("meta"):
        copy = build(case.config, task(case.name)).eval()
    state = case.network.state_dict()
    copy.load_state_dict(state, strict=True, assign=True)
    with torch.inference_mode():
        assert torch.equal(copy(case.images), case.network(case.images))
    children = {child for child, _ in case.network.named_children()}
    assert {key.split(".")[0] for key in state} <= children


def test_no_tensor_is_shared_between_blocks(case: Case) -> None:
    places = [tensor.data_ptr() for tensor in case.network.state_dict().values()]
    assert len(set(places)) == len(places)


@torch.inference_mode()
def test_examples_do_not_influence_each_other_in_evaluation_mode(case: Case) -> None:
    together, alone = case.network(case.images)[:1], case.network(case.images[:1])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_every_parameter_learns_from_every_batch(case: Case) -> None:
    case.network.train()
    loss = F.cross_entropy(case.network(case.images), torch.tensor([0, 1]))
    gradients = torch.autograd.grad(loss, list(case.network.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    silent = [
        key
        for (key, _), gradient in zip(case.network.named_parameters(), gradients, strict=True)
        if not gradient.any()
    ]
    case.network.eval()
    assert not silent


# Counts and seeds need no forward pass


@pytest.mark.parametrize(("name", "norm_layer"), ALL)
def test_the_number_of_parameters_is_pinned(name: str, norm_layer: str) -> None:
    with torch.device("meta"):
        found = build(network(name, norm_layer), CIFAR10)
    assert parameters(found) == PARAMETERS[name, norm_layer]  # type: ignore[index]


def test_every_pinned_network_is_registered() -> None:
    assert set(PARAMETERS) == set(ALL)


# Of a family one network will do: the heavy ones cost seconds.
SEEDED = ["resnet20", "vgg11", "mlp", "vit_small", "resnet18"]


@pytest.mark.parametrize("name", SEEDED)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    one = made(name, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    same, other = made(name, seed=3), made(name, seed=4)
    for (key, tensor), again, another in zip(
        one.named_parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(tensor, again)
        assert tensor.ndim < 2 or not torch.equal(tensor, another), key


@pytest.mark.parametrize("name", MODELS)
def test_listing_cuts_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    cuts(network(name), task(name))
    assert torch.equal(torch.get_rng_state(), before)


# From a single pixel, or patch, to the 96 pixels of STL-10
SIZES = [
    *(("resnet20", pixels) for pixels in (1, 7, 28, 96)),
    *(("vgg11", pixels) for pixels in (1, 7, 28, 96)),
    *(("mlp", pixels) for pixels in (1, 28)),
    *(("vit_small", pixels) for pixels in (1, 7, 8, 28, 96)),
    *(("resnet18", pixels) for pixels in (1, 28, 96)),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "pixels"), SIZES)
@torch.inference_mode()
def test_images_of_other_sizes_and_channels_give_one_logit_a_class(
    name: str, pixels: int, channels: int
) -> None:
    of = Task(channels, pixels, classes=7)
    logits = build(network(name), of).eval()(images(of))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


# Rates and numbers of steps: VGG is wide and has large gradients at the start.
TRIALS = {"resnet": (0.1, 12), "vgg": (0.001, 6), "mlp": (0.02, 12)}


@pytest.mark.parametrize("name", PLAIN)
def test_without_normalisation_a_few_steps_fit_a_batch_better(name: str) -> None:
    found = made(name, "none").train()
    assert not [m for m in found.modules() if "norm" in type(m).__module__]
    lr, steps = next(trial for family, trial in TRIALS.items() if name.startswith(family))
    x, labels = images(task(name), n=16), torch.arange(16) % 10
    optimizer = torch.optim.SGD(found.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(found(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert max(losses) <= 1.1 * losses[0]  # NaN isn't either
    assert losses[-1] < 0.9 * losses[0]


# Refusals


@pytest.mark.parametrize("ask", ["build", "cuts", "architecture"])
def test_an_unknown_network_is_refused_with_the_known_ones(ask: str) -> None:
    with pytest.raises(
        InputError,
        match=r"network\.name: expected one of mlp, resnet18.* or module:factory, got 'vgg'",
    ):
        {
            "build": lambda: build(NetworkConfig(name="vgg"), CIFAR10),
            "cuts": lambda: cuts(NetworkConfig(name="vgg"), CIFAR10),
            "architecture": lambda: architecture("vgg"),
        }[ask]()


@pytest.mark.parametrize("name", MODELS)
def test_a_normalisation_that_a_network_does_not_have_is_refused(name: str) -> None:
    known = ", ".join(architecture(name).norm_layers)
    with pytest.raises(
        InputError, match=f"network.norm_layer: expected one of {known} for {name}, got 'own'"
    ):
        build(NetworkConfig(name=name, norm_layer="own"), task(name))


def test_the_usual_normalisation_comes_first() -> None:
    usual = {"resnet20": "batch", "mlp": "none", "vit_small": "layer"}
    assert {name: architecture(name).norm_layers[0] for name in usual} == usual


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet20", "shortcut"), ("mlp", "width or depth"), ("vgg11", "no options")],
)
def test_an_option_that_a_network_does_not_have_is_refused(name: str, expected: str) -> None:
    config = NetworkConfig(name=name, norm_layer=MODELS[name].norm_layers[0], options={"x": 1})  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=f"network.options.x: expected {expected} for {name}, got 'x'"
    ):
        build(config, CIFAR10)
