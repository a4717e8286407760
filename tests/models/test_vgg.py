import pytest
import torch
from torch import nn

from featdyn_engine.domain import Task
from featdyn_engine.models.registry import build
from tests.models.cases import CIFAR10, images, made, network


@pytest.mark.parametrize(("name", "groups"), [("vgg11", "11222"), ("vgg16", "22333")])
def test_each_convolution_is_a_block_named_by_its_group(name: str, groups: str) -> None:
    with torch.device("meta"):
        names = build(network(name), CIFAR10).block_names
    convolutions = [f"conv{g}.{i}" for g, n in enumerate(groups, 1) for i in range(1, int(n) + 1)]
    assert names == [*convolutions, "head"]


@pytest.mark.parametrize(
    ("pixels", "sides"),
    [
        (32, [16, 8, 8, 4, 4, 2, 2, 1]),
        (8, [4, 2, 2, 1, 1, 1, 1, 1]),
        (28, [14, 7, 7, 3, 3, 1, 1, 1]),
        (1, [1] * 8),
    ],
)
def test_pooling_halves_the_map_until_a_pixel_is_left(pixels: int, sides: list[int]) -> None:
    of = Task(3, pixels, 10)
    with torch.device("meta"):
        network_ = build(network("vgg11"), of).eval()
        x = torch.empty(1, 3, pixels, pixels)
        found = []
        for block in network_[:-1]:
            x = block(x)
            found.append(x.shape[-1])
    assert found == sides


@torch.inference_mode()
def test_the_variance_of_features_is_kept_without_normalisation() -> None:
    # He et al. 2015: half of the second moment is lost in a rectification and given back.
    network_ = made("vgg16", "none")
    x = images(Task(3, 8, 10), n=32)
    moments = []
    for block in network_[:-1]:
        before = block.conv(x)
        moments.append(float(before.pow(2).mean()))
        x = block(x)
    # Max pooling adds to it, hence bounds; with the plain fan in it falls to 1e-8.
    assert all(0.5 < moment < 100 for moment in moments)


def test_convolutions_have_biases_only_without_normalisation() -> None:
    for norm_layer, has_bias in (("batch", False), ("group", False), ("none", True)):
        with torch.device("meta"):
            found = build(network("vgg11", norm_layer), CIFAR10)
        convolutions = [m for m in found.modules() if isinstance(m, nn.Conv2d)]
        assert [conv.bias is not None for conv in convolutions] == [has_bias] * 8
