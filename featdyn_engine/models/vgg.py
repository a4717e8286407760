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


def _layer(channels: int, width: int, norm_layer: str, pool: bool) -> nn.Sequential:
    """Convolution, normalisation, ReLU, perhaps pooling. (N, C, H, W) to (N, width, H, W)."""
    plain = norm_layer == "none"
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    # Normalisation would take a bias away again.
    parts["conv"] = nn.Conv2d(channels, width, 3, padding=1, bias=plain)
    if not plain:
        parts["norm"] = norm2d(norm_layer, width)
    parts["act"] = nn.ReLU()
    if pool:
        parts["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(parts)


def build(depth: int, task: Task, norm_layer: str, options: object) -> BlockNetwork:  # noqa: ARG001
    """Build VGG-11 or VGG-16: one block a convolution, ``conv1.1`` to ``conv5.3``, and ``head``.

    A pooling belongs to the block before it; it is left out once the map is a single pixel, so
    that images of any size from 1 pixel on pass. Convolutions start from He et al.'s normal
    initialisation, by the fan in: it keeps the variance of the features from layer to layer,
    which the networks without normalisation need (the fan out would shrink it twentyfold at
    the first layer alone).
    """
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    before, pixels = task.channels, task.pixels
    for group, (count, width) in enumerate(zip(CONVOLUTIONS[depth], WIDTHS, strict=True), start=1):
        for index in range(1, count + 1):
            pool = index == count and pixels > 1
            blocks[f"conv{group}.{index}"] = _layer(before, width, norm_layer, pool)
            before = width
        pixels = max(pixels // 2, 1)
    blocks["head"] = PooledHead(before, task.classes)
    network = BlockNetwork(blocks)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
