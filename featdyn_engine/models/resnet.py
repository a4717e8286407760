"""ResNets for small images: He et al., "Deep Residual Learning" (arXiv 1512.03385), section 4.2.

A 3x3 stem with 16 channels, three stages of n basic blocks with 16, 32 and 64 channels, the
second and third halving the resolution, global average pooling, one linear layer: 6n + 2
layers. Shortcuts have no parameters (option A): strided subsampling, zeros for new channels.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine.models.blocks import BlockNetwork


class ConvNormAct(nn.Sequential):
    """The stem: 3x3 convolution, BatchNorm, ReLU. (N, C, H, W) to (N, width, H, W)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(channels, width, 3, padding=1, bias=False),
                norm=nn.BatchNorm2d(width),
                act=nn.ReLU(),
            )
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut. (N, C, H, W) to (N, C', H/s, W/s)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.new_channels = width - channels

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        half = self.new_channels // 2
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, half, self.new_channels - half))
        return F.relu(out + shortcut)


class Head(nn.Module):
    """Global average pooling and the classifier. (N, C, H, W) to logits (N, K)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def resnet(blocks_per_stage: int, channels: int, classes: int) -> BlockNetwork:
    """Build a CIFAR ResNet: blocks ``stem``, ``stage1.0`` ... ``stage3.{n-1}``, ``head``.

    Convolutions start from He et al.'s normal initialisation (fan out), as in their code.
    ResNet-20 (n = 3) with 3 input channels and 10 classes has 269,722 parameters.
    """
    widths = (16, 32, 64)
    blocks: OrderedDict[str, nn.Module] = OrderedDict(stem=ConvNormAct(channels, widths[0]))
    before = widths[0]
    for stage, width in enumerate(widths, start=1):
        for index in range(blocks_per_stage):
            stride = 2 if stage > 1 and index == 0 else 1
            blocks[f"stage{stage}.{index}"] = BasicBlock(before, width, stride)
            before = width
    blocks["head"] = Head(before, classes)
    network = BlockNetwork(blocks)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def resnet20(channels: int, classes: int) -> BlockNetwork:
    """ResNet-20: eleven blocks, hence ten interior cuts."""
    return resnet(3, channels, classes)
