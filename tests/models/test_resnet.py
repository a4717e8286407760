"""ResNets for small images: He et al. 2016, and without normalisation Fixup (Zhang et al. 2019)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine.domain import InputError, Task
from featdyn_engine.models.registry import build
from featdyn_engine.models.resnet import FixupBlock, Shift
from tests.models.cases import CIFAR10, images, made, network, parameters


def features(n: int, channels: int, pixels: int = 8) -> Tensor:
    """What a rectification gives: nothing below zero."""
    return images(Task(channels, pixels, 10), n).abs()


def test_the_blocks_come_in_the_order_of_the_paper() -> None:
    assert made("resnet20").block_names == [
        "stem",
        *("stage1.0", "stage1.1", "stage1.2"),
        *("stage2.0", "stage2.1", "stage2.2"),
        *("stage3.0", "stage3.1", "stage3.2"),
        "head",
    ]


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
@pytest.mark.parametrize("norm_layer", ["batch", "none"])
def test_the_depth_counts_convolutions_and_the_classifier(depth: int, norm_layer: str) -> None:
    layers = [
        module
        for module in made(f"resnet{depth}", norm_layer).modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    assert len(layers) == depth


@torch.inference_mode()
def test_stages_two_and_three_halve_the_resolution() -> None:
    resnet, shapes = made("resnet20"), {}
    x = images(CIFAR10)
    for name, block in zip(resnet.block_names, resnet, strict=True):
        x = block(x)
        shapes[name] = tuple(x.shape[1:])
    assert shapes["stem"] == shapes["stage1.2"] == (16, 32, 32)
    assert shapes["stage2.0"] == shapes["stage2.2"] == (32, 16, 16)
    assert shapes["stage3.0"] == shapes["stage3.2"] == (64, 8, 8)


@torch.inference_mode()
def test_shortcuts_keep_old_channels_in_the_middle_of_the_new_ones() -> None:
    # With the residual branch silenced, what is left of a block is its shortcut.
    block = made("resnet20")[4]
    block.norm2.weight.zero_()
    x = features(4, 16)
    expected = torch.zeros(4, 32, 4, 4)
    expected[:, 8:24] = x[:, :, ::2, ::2]
    assert torch.equal(block(x), expected)


@torch.inference_mode()
def test_a_block_adds_its_shortcut_before_the_last_rectification() -> None:
    block, x = made("resnet20")[1], features(4, 16)
    inner = block.norm1(block.conv1(x)).clamp(min=0)
    branch = block.norm2(block.conv2(inner))
    assert (branch < 0).any()
    torch.testing.assert_close(block(x), (branch + x).clamp(min=0))


@torch.inference_mode()
def test_the_head_classifies_the_mean_over_all_pixels() -> None:
    head, x = made("resnet20")[-1], features(3, 64)
    expected = x.flatten(2).mean(dim=2) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(x), expected)


def test_weights_start_from_normal_numbers_scaled_by_the_fan_out() -> None:
    # He et al.'s own code; the fan in would make the stem's weights four times as large here.
    weights = build(network("resnet20"), Task(1, 8, 10)).state_dict()
    for key, fan_out in (("stem.conv.weight", 16 * 9), ("stage3_2.conv2.weight", 64 * 9)):
        assert float(weights[key].std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.15)


# Options


def test_projections_are_convolutions_where_the_shape_changes() -> None:
    projected = made("resnet20", shortcut="projection")
    # 16 x 32 and 32 x 64 weights, and a scale and a shift for each new channel.
    assert parameters(projected) == 269_722 + 16 * 32 + 32 * 64 + 2 * (32 + 64)
    x = features(2, 16)
    block = projected[4]
    with torch.inference_mode():
        block.norm2.weight.zero_()
        expected = block.shortcut.norm(F.conv2d(x, block.shortcut.conv.weight, stride=2))
        torch.testing.assert_close(block(x), expected.clamp(min=0))


def test_projections_without_normalisation_have_no_scale_nor_shift() -> None:
    assert parameters(made("resnet20", "none", shortcut="projection")) == 268_393 + 512 + 2048


def test_another_shortcut_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"network\.options\.shortcut: expected one of identity, projection, got 'A'",
    ):
        made("resnet20", shortcut="A")


def test_groups_hold_eight_channels_each() -> None:
    norms = [m for m in made("resnet20", "group").modules() if isinstance(m, nn.GroupNorm)]
    assert [norm.num_channels // norm.num_groups for norm in norms] == [8] * 19


# Without normalisation


@pytest.mark.parametrize("depth", [20, 56])
@pytest.mark.parametrize("shortcut", ["identity", "projection"])
def test_fixup_starts_with_equal_logits_and_silent_branches(depth: int, shortcut: str) -> None:
    untrained = made(f"resnet{depth}", "none", shortcut=shortcut)
    x = images(Task(3, 8, 10), 4)
    with torch.inference_mode():
        assert not untrained(x).any()
        stem = untrained[0](x)
        assert torch.equal(untrained[1](stem), stem)


@pytest.mark.parametrize("depth", [20, 56])
def test_fixup_scales_the_first_convolutions_by_the_root_of_the_number_of_blocks(
    depth: int,
) -> None:
    blocks = [block for block in made(f"resnet{depth}", "none") if isinstance(block, FixupBlock)]
    assert len(blocks) == (depth - 2) // 2
    for block in (blocks[1], blocks[-1]):
        fan_in = block.conv1.weight[0].numel()
        expected = (2 / fan_in / len(blocks)) ** 0.5
        assert float(block.conv1.weight.detach().std()) == pytest.approx(expected, rel=0.1)
        assert not block.conv2.weight.any()


@torch.inference_mode()
def test_a_fixup_block_is_that_of_the_paper() -> None:
    block = FixupBlock(16, 16, 1, "identity")
    names = ("shift1a", "shift1b", "shift2a", "shift2b")
    biases = dict(zip(names, (0.3, -0.2, 0.1, 0.4), strict=True))
    unit = 0.1**0.5
    for name, value in biases.items():
        getattr(block, name).bias.fill_(value / unit)
    block.scale.fill_(0.5 / unit)
    x = features(2, 16)
    out = F.conv2d(x + 0.3, block.conv1.weight, padding=1)
    out = F.conv2d((out - 0.2).clamp(min=0) + 0.1, block.conv2.weight, padding=1)
    expected = (1.5 * out + 0.4 + x).clamp(min=0)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_scalars_move_at_a_tenth_of_the_learning_rate() -> None:
    shift, x = Shift(), torch.zeros(3, requires_grad=True)
    (5 * shift(x)[0]).backward()  # the gradient of the offset is 5
    torch.optim.SGD(shift.parameters(), lr=0.2).step()
    torch.testing.assert_close(shift(torch.zeros(3)), torch.full((3,), -0.2 * 5 / 10))
