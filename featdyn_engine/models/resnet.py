"""ResNets for small images: He et al., "Deep Residual Learning" (arXiv 1512.03385), section 4.2.

A 3x3 stem with 16 channels, three stages of n basic blocks with 16, 32 and 64 channels, the
second and third halving the resolution, global average pooling, one linear layer: 6n + 2
layers. Where a block changes the shape its shortcut is, by choice, free of parameters (option A:
strided subsampling, zeros for new channels) or a 1x1 convolution (option B, ``projection``).

Without normalisation the blocks are those of Fixup (``FixupBlock``), which train at the usual
learning rates, ResNet-56 too.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine.domain import STRICT, Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.layers import PooledHead, norm2d
from featdyn_engine.models.options import one_of

NORM_LAYERS = ("batch", "group", "none")
WIDTHS = (16, 32, 64)
Shortcut = Literal["identity", "projection"]
# Fixup's authors give scalars a tenth of the learning rate. In units of sqrt(1/10) they take, by
# gradient descent, the same path at the full rate, so that a recipe needs one rate only. Without
# that, 4 of 18 trainings on digits at rate 0.1 diverged (none with it).
SCALAR_UNIT = 0.1**0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """``shortcut``: what leads around a block that changes the shape of its features."""

    __pydantic_config__: ClassVar = STRICT
    shortcut: Shortcut = "identity"


class ConvNormAct(nn.Sequential):
    """The stem: 3x3 convolution, normalisation, ReLU. (N, C, H, W) to (N, width, H, W)."""

    def __init__(self, channels: int, width: int, norm_layer: str) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(channels, width, 3, padding=1, bias=False),
                norm=Shift() if norm_layer == "none" else norm2d(norm_layer, width),
                act=nn.ReLU(),
            )
        )


class Subsampling(nn.Module):
    """Option A: every s-th pixel, zeros for new channels. (N, C, H, W) to (N, C', H/s, W/s)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = width - channels

    def forward(self, x: Tensor) -> Tensor:
        kept = x[:, :, :: self.stride, :: self.stride]
        half = self.new_channels // 2
        return F.pad(kept, (0, 0, 0, 0, half, self.new_channels - half))


def _shortcut(channels: int, width: int, stride: int, norm_layer: str, kind: str) -> nn.Module:
    if stride == 1 and width == channels:
        return nn.Identity()
    if kind == "identity":
        return Subsampling(channels, width, stride)
    conv = nn.Conv2d(channels, width, 1, stride=stride, bias=False)
    if norm_layer == "none":
        return conv
    return nn.Sequential(OrderedDict(conv=conv, norm=norm2d(norm_layer, width)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. (N, C, H, W) to (N, C', H/s, W/s)."""

    def __init__(
        self, channels: int, width: int, stride: int, norm_layer: str, shortcut: str
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norm2d(norm_layer, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = norm2d(norm_layer, width)
        self.shortcut = _shortcut(channels, width, stride, norm_layer, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class Shift(nn.Module):
    """Add one learned number, 0 at the start, to all features. Any shape, unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + SCALAR_UNIT * self.bias


class FixupBlock(nn.Module):
    """A basic block without normalisation. (N, C, H, W) to (N, C', H/s, W/s).

    Fixup (Zhang, Dauphin & Ma, arXiv 1901.09321): a scalar bias before each convolution and
    each ReLU, a scalar multiplier on the branch; the first convolution starts scaled by
    L^(-1/2) for L blocks, the second at zero, so that an update changes the network's function
    by the same order at any depth.

    **At step 0** all residual branches are therefore silent and, as the classifier starts at
    zero too, all logits are equal: the untrained network has chance accuracy exactly, and the
    deep part of a checkpoint of step 0 gives the same answer over any shallow part.
    """

    def __init__(self, channels: int, width: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.shift1a = Shift()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.shift1b = Shift()
        self.shift2a = Shift()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.zeros(1))  # of the multiplier, what it is above 1
        self.shift2b = Shift()
        self.shortcut = _shortcut(channels, width, stride, "none", shortcut)

    def forward(self, x: Tensor) -> Tensor:
        shifted = self.shift1a(x)
        out = F.relu(self.shift1b(self.conv1(shifted)))
        out = self.conv2(self.shift2a(out)) * (1 + SCALAR_UNIT * self.scale)
        out = self.shift2b(out)
        # A projection is a convolution too, so it reads shifted features.
        around = shifted if isinstance(self.shortcut, nn.Conv2d) else x
        return F.relu(out + self.shortcut(around))


class FixupHead(PooledHead):
    """The head with a scalar bias before the classifier. (N, C, H, W) to logits (N, K)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes)
        self.shift = Shift()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.shift(x))


def _initialise(network: BlockNetwork, plain: bool) -> None:
    # What a fan out makes of the stem's features, shrunk by 5 for 3 channels, BatchNorm undoes.
    mode: Literal["fan_in", "fan_out"] = "fan_in" if plain else "fan_out"
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
    residual = [block for block in network if isinstance(block, FixupBlock)]
    for block in residual:
        with torch.no_grad():
            block.conv1.weight.mul_(len(residual) ** -0.5)
        nn.init.zeros_(block.conv2.weight)
    head = network[-1]
    if isinstance(head, FixupHead):
        nn.init.zeros_(head.linear.weight)
        nn.init.zeros_(head.linear.bias)


def build(depth: int, task: Task, norm_layer: str, options: Options) -> BlockNetwork:
    """Build ResNet-20, 32, 44 or 56: blocks ``stem``, ``stage1.0`` ... ``stage3.{n-1}``, ``head``.

    Convolutions start from He et al.'s normal initialisation (fan out), as in their code.
    ResNet-20 (n = 3) with 3 input channels and 10 classes has 269,722 parameters. Images may
    have any size.
    """
    one_of(options, "shortcut", get_args(Shortcut))
    plain = norm_layer == "none"
    blocks: OrderedDict[str, nn.Module] = OrderedDict(
        stem=ConvNormAct(task.channels, WIDTHS[0], norm_layer)
    )
    before = WIDTHS[0]
    for stage, width in enumerate(WIDTHS, start=1):
        for index in range((depth - 2) // 6):
            stride = 2 if stage > 1 and index == 0 else 1
            blocks[f"stage{stage}.{index}"] = (
                FixupBlock(before, width, stride, options.shortcut)
                if plain
                else BasicBlock(before, width, stride, norm_layer, options.shortcut)
            )
            before = width
    blocks["head"] = (FixupHead if plain else PooledHead)(before, task.classes)
    network = BlockNetwork(blocks)
    _initialise(network, plain)
    return network
