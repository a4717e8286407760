"""torchvision's own networks are the oracles: the blocks compute what their forward computes."""

import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.domain import InputError, Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.registry import build
from featdyn_engine.vision import torchvision_models
from tests.models.cases import CIFAR10, images, made, network, parameters, task

# Where torchvision keeps what lies in these blocks.
PLACES = {
    "stem": "",
    "embed.pos_embedding": "encoder.pos_embedding",
    "embed": "",
    "encoder": "encoder.layers.encoder_layer",
    "head.ln": "encoder.ln",
    "head": "",
}


def theirs(key: str) -> str:
    """The name in torchvision of a tensor of ours: stem.conv1.weight is conv1.weight."""
    for ours, place in PLACES.items():
        if key.startswith((f"{ours}.", f"{ours}_")) or key == ours:
            rest = key.removeprefix(ours).removeprefix(".")
            return (f"{place}{rest}" if rest.startswith("_") else f"{place}.{rest}").strip(".")
    return key.replace("_", ".", 1)  # layer1_0.conv1.weight


def states(ours: BlockNetwork) -> dict[str, Tensor]:
    return {theirs(key): tensor for key, tensor in ours.state_dict().items()}


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_the_blocks_compute_what_torchvision_computes(name: str) -> None:
    ours, x = made(name, seed=1), images(task(name))
    size = {"image_size": 32} if name == "vit_b_16" else {}
    with torch.device("meta"):
        whole: nn.Module = getattr(torchvision_models(), name)(num_classes=10, **size)
    if name == "vit_b_16":
        # It starts at zero, which would hide what lies before it.
        nn.init.normal_(ours.get_parameter("head.heads.head.weight"))
    whole.load_state_dict(states(ours), strict=True, assign=True)
    with torch.inference_mode():
        assert torch.equal(ours(x), whole.eval()(x))


@pytest.mark.parametrize(
    ("name", "pixels", "expected"), [("resnet18", 224, 11_181_642), ("vit_b_16", 224, 85_806_346)]
)
def test_at_the_size_of_imagenet_the_counts_are_the_known_ones(
    name: str, pixels: int, expected: int
) -> None:
    with torch.device("meta"):
        assert parameters(build(network(name), Task(3, pixels, 10))) == expected


def test_each_residual_block_and_each_encoder_layer_is_a_block() -> None:
    with torch.device("meta"):
        resnet18, vit = (build(network(name), CIFAR10) for name in ("resnet18", "vit_b_16"))
    layers = [f"layer{stage}.{index}" for stage in range(1, 5) for index in range(2)]
    assert resnet18.block_names == ["stem", *layers, "head"]
    assert vit.block_names == ["embed", *(f"encoder.{k}" for k in range(12)), "head"]


@pytest.mark.parametrize(("name", "weight"), [("resnet18", "stem.conv1"), ("vit_b_16", None)])
def test_grey_images_get_a_first_layer_of_their_own(name: str, weight: str | None) -> None:
    with torch.device("meta"):
        grey, colour = (build(network(name), Task(channels, 32, 10)) for channels in (1, 3))
    taps = 7 * 7 * 64 if name == "resnet18" else 16 * 16 * 768
    assert parameters(colour) - parameters(grey) == 2 * taps
    if weight is not None:
        found = build(network(name), Task(1, 32, 10)).get_parameter(f"{weight}.weight")
        assert float(found.detach().std()) == pytest.approx((2 / (49 * 64)) ** 0.5, rel=0.1)


def test_images_that_patches_do_not_divide_are_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"network\.name: expected images of a multiple of 16 pixels for vit_b_16, got 28; "
        "take vit_small",
    ):
        build(network("vit_b_16"), Task(1, 28, 10))
