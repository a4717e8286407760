"""VGG for small images: Simonyan & Zhang, "Very Deep Convolutional Networks" (arXiv 1409.1556).

Configurations A (VGG-11) and D (VGG-16): 3x3 convolutions in five groups, each followed by a
2x2 max pooling. As is usual for CIFAR, global average pooling and one linear layer take the
place of the paper's three fully connected ones.
"""

from collections import OrderedDict

from torch import nn

from featdyn_engine.domain import Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.layers import PooledHead, norm2d

NORM_LAYERS = ("batch", "group", "none")
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
WIDTHS = (64, 128, 256, 512, 512)


def _layer(channels: int, width: int, norm_layer: str, pool: bool, pixels: int) -> nn.Sequential:
    """Convolution, normalisation, ReLU, perhaps pooling. (N, C, H, W) to (N, width, H, W)."""
    plain = norm_layer == "none"
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    # Normalisation brings a bias of its own.
    conv = parts["conv"] = nn.Conv2d(channels, width, 3, padding=1, bias=plain)
    _initialise(conv, pixels)
    if not plain:
        parts["norm"] = norm2d(norm_layer, width)
    parts["act"] = nn.ReLU()
    if pool:
        parts["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(parts)


def _initialise(conv: nn.Conv2d, pixels: int) -> None:
    """He et al.'s normal initialisation by the fan in, padding not counted (arXiv 1502.01852).

    It keeps the variance of the features from layer to layer, which the networks without
    normalisation need. On a map of 2x2 or 1x1 most of a 3x3 kernel lies on the padding: with
    the whole kernel as fan in, VGG-16 would not learn images of 8 pixels.
    """
    taps = ((3 * pixels - 2) / pixels) ** 2
    nn.init.normal_(conv.weight, std=(2 / (conv.in_channels * taps)) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def build(depth: int, task: Task, norm_layer: str, options: object) -> BlockNetwork:  # noqa: ARG001
    """Build VGG-11 or VGG-16: one block a convolution, ``conv1.1`` to ``conv5.3``, and ``head``.

    A pooling belongs to the block before it; it is left out once the map is a single pixel, so
    that images of any size from 1 pixel on pass. For the initial weights see ``_initialise``.
    """
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    before, pixels = task.channels, task.pixels
    for group, (count, width) in enumerate(zip(CONVOLUTIONS[depth], WIDTHS, strict=True), start=1):
        for index in range(1, count + 1):
            pool = index == count and pixels > 1
            blocks[f"conv{group}.{index}"] = _layer(before, width, norm_layer, pool, pixels)
            before = width
        pixels = max(pixels // 2, 1)
    blocks["head"] = PooledHead(before, task.classes)
    return BlockNetwork(blocks)
