from collections.abc import Iterator

import pytest
import torch

from featdyn_engine.domain import InputError, NetworkConfig, Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.registry import MODELS, build, cuts, default_norm_layer
from featdyn_engine.training import cpu_threads

# Trainable numbers with 3 channels and 10 classes: another count is another network.
PARAMETERS = {"resnet20": 269_722}
NAMES = sorted(MODELS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the engine's workers: sums in one order, and no fight for cores."""
    with cpu_threads(1):
        yield


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def images(channels: int = 3, pixels: int = 8) -> torch.Tensor:
    return torch.randn(4, channels, pixels, pixels, generator=torch.Generator().manual_seed(0))


def usual(name: str) -> NetworkConfig:
    return NetworkConfig(name=name, norm_layer=default_norm_layer(name))


def made(name: str, channels: int = 3, classes: int = 10, seed: int = 0) -> BlockNetwork:
    return build(
        usual(name),
        Task(channels, 32, classes),
        seed,
    ).eval()


@torch.inference_mode()
def test_the_blocks_one_after_another_are_the_network(name: str) -> None:
    network, x = made(name), images()
    features = x
    for block in network:
        features = block(features)
    assert torch.equal(features, network(x))


def test_each_block_has_its_own_name(name: str) -> None:
    network = made(name)
    assert len(network.block_names) == len(network) == len(set(network.block_names))


def test_children_bear_the_names_of_their_blocks(name: str) -> None:
    network = made(name)
    children = [child for child, _ in network.named_children()]
    assert children == [block.replace(".", "_") for block in network.block_names]


def test_cuts_are_all_interior_ones_shallowest_first(name: str) -> None:
    network, found = (
        made(name),
        cuts(usual(name), Task(3, 32, 10)),
    )
    assert [cut.depth for cut in found] == list(range(1, len(network)))
    assert [cut.name for cut in found] == network.block_names[:-1]


@torch.inference_mode()
def test_a_cut_divides_the_network_behind_the_block_of_its_name(name: str) -> None:
    network, x = made(name), images()
    children = dict(network.named_children())
    for cut in cuts(usual(name), Task(3, 32, 10)):
        shallow, deep = network[: cut.depth], network[cut.depth :]
        assert shallow[-1] is children[cut.name.replace(".", "_")]
        assert torch.equal(deep(shallow(x)), network(x))


@torch.inference_mode()
def test_a_state_dict_carries_the_whole_network(name: str) -> None:
    network = made(name, seed=1).train()
    network(images())
    copy = made(name, seed=2)
    copy.load_state_dict(network.state_dict())
    assert torch.equal(copy(images()), network.eval()(images()))


def test_every_tensor_of_the_state_belongs_to_one_block(name: str) -> None:
    network = made(name)
    children = [child for child, _ in network.named_children()]
    assert {key.split(".")[0] for key in network.state_dict()} <= set(children)


def test_the_number_of_parameters_is_pinned(name: str) -> None:
    assert sum(parameter.numel() for parameter in made(name).parameters()) == PARAMETERS[name]


def test_the_same_seed_makes_the_same_weights(name: str) -> None:
    one, other = made(name, seed=3).state_dict(), made(name, seed=3).state_dict()
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_another_seed_makes_other_weights_in_every_layer(name: str) -> None:
    one, other = (dict(made(name, seed=seed).named_parameters()) for seed in (3, 4))
    weights = [key for key, tensor in one.items() if tensor.ndim > 1]
    assert weights
    assert not any(torch.equal(one[key], other[key]) for key in weights)


def test_building_leaves_the_global_generator_alone(name: str) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    made(name, seed=5)
    cuts(usual(name), Task(3, 32, 10))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_do_not_depend_on_the_global_generator(name: str) -> None:
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        states.append(made(name, seed=5).state_dict())
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())


@pytest.mark.parametrize("pixels", [8, 32])
@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 7)])
@torch.inference_mode()
def test_small_and_larger_images_give_one_logit_a_class(
    name: str, pixels: int, channels: int, classes: int
) -> None:
    logits = made(name, channels, classes)(images(channels, pixels))
    assert logits.shape == (4, classes)
    assert logits.isfinite().all()


@torch.inference_mode()
def test_examples_do_not_influence_each_other_in_evaluation_mode(name: str) -> None:
    network, x = made(name), images()
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-4, atol=1e-5)


def test_resnet20_has_its_blocks_in_order() -> None:
    assert made("resnet20").block_names == [
        "stem",
        "stage1.0",
        "stage1.1",
        "stage1.2",
        "stage2.0",
        "stage2.1",
        "stage2.2",
        "stage3.0",
        "stage3.1",
        "stage3.2",
        "head",
    ]


@torch.inference_mode()
def test_resnet20_halves_the_resolution_at_stages_two_and_three() -> None:
    network, shapes = made("resnet20"), {}
    features = images(pixels=32)
    for block_name, block in zip(network.block_names, network, strict=True):
        features = block(features)
        shapes[block_name] = tuple(features.shape[1:])
    assert shapes["stem"] == shapes["stage1.2"] == (16, 32, 32)
    assert shapes["stage2.0"] == shapes["stage2.2"] == (32, 16, 16)
    assert shapes["stage3.0"] == shapes["stage3.2"] == (64, 8, 8)


@torch.inference_mode()
def test_shortcuts_keep_old_channels_in_the_middle_of_the_new_ones() -> None:
    # With the residual branch silenced, what is left of a block is its shortcut.
    block = made("resnet20")[4]
    block.norm2.weight.zero_()
    x = images(channels=16).abs()
    expected = torch.zeros(4, 32, 4, 4)
    expected[:, 8:24] = x[:, :, ::2, ::2]
    assert torch.equal(block(x), expected)


def test_resnet20_starts_from_normal_weights_scaled_by_the_fan_out() -> None:
    # He et al.'s own code; the fan in would make the stem's weights four times as large here.
    weights = made("resnet20", channels=1).state_dict()
    for key, fan_out in (("stem.conv.weight", 16 * 9), ("stage3_2.conv2.weight", 64 * 9)):
        assert float(weights[key].std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.15)


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"network\.name: expected one of .*resnet20.*, got 'vgg'"):
        made("vgg")


def test_cuts_of_an_unknown_network_are_refused() -> None:
    with pytest.raises(InputError, match="got 'vgg'"):
        cuts(NetworkConfig(name="vgg", norm_layer="batch"), Task(3, 32, 10))


@torch.inference_mode()
def test_a_block_adds_its_shortcut_before_the_last_rectification() -> None:
    block, x = made("resnet20")[1], images(channels=16).abs()
    inner = block.norm1(block.conv1(x)).clamp(min=0)
    branch = block.norm2(block.conv2(inner))
    assert (branch < 0).any()
    torch.testing.assert_close(block(x), (branch + x).clamp(min=0))
