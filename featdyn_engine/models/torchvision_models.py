"""torchvision's ResNet-18 and ViT-B/16, untrained, cut into blocks.

The blocks hold torchvision's own modules, so that one after another they compute what its
forward computes, to the bit. torchvision is imported when such a network is built.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from featdyn_engine.domain import InputError, Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.vision import torchvision_models

RESNET_NORM_LAYERS = ("batch",)
VIT_NORM_LAYERS = ("layer",)
PATCH = 16


def resnet18(task: Task, norm_layer: str, options: object) -> BlockNetwork:  # noqa: ARG001
    """Build ResNet-18 for ImageNet (He et al., 1512.03385): ``stem``, ``layer1.0`` ..., ``head``.

    Stem and pooling divide the resolution by 4, stages 2 to 4 by 2 each; images may have any
    size, yet of those below 33 pixels a single pixel is left at the end.
    """
    whole = torchvision_models().resnet18(weights=None, num_classes=task.classes)
    if task.channels != 3:
        whole.conv1 = nn.Conv2d(task.channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(whole.conv1.weight, mode="fan_out", nonlinearity="relu")
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    blocks["stem"] = _chain(whole, "conv1", "bn1", "relu", "maxpool")
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for index, block in enumerate(getattr(whole, stage)):
            blocks[f"{stage}.{index}"] = block
    blocks["head"] = nn.Sequential(
        OrderedDict(avgpool=whole.avgpool, flatten=nn.Flatten(), fc=whole.fc)
    )
    return BlockNetwork(blocks)


def _chain(whole: nn.Module, *names: str) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, getattr(whole, name)) for name in names))


class Embedding(nn.Module):
    """Patches, class token, positions. (N, C, H, W) to (N, 1 + tokens, width)."""

    def __init__(self, conv: nn.Conv2d, class_token: nn.Parameter, positions: nn.Parameter) -> None:
        super().__init__()
        self.conv_proj = conv
        self.class_token = class_token
        self.pos_embedding = positions

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.conv_proj(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(len(x), -1, -1)
        return torch.cat([token, tokens], dim=1) + self.pos_embedding


class Head(nn.Module):
    """Normalise, classify the class token. (N, 1 + tokens, width) to logits (N, K)."""

    def __init__(self, norm: nn.Module, heads: nn.Module) -> None:
        super().__init__()
        self.ln = norm
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.heads(self.ln(x)[:, 0])
        return logits


def vit_b_16(task: Task, norm_layer: str, options: object) -> BlockNetwork:  # noqa: ARG001
    """Build ViT-B/16 (Dosovitskiy et al., 2010.11929): ``embed``, ``encoder.0`` ..., ``head``.

    The classifier starts at zero, as torchvision has it: at step 0 all logits are equal. Its
    dropout, of probability 0, is left out. Raises InputError unless 16 divides the image.
    """
    if task.pixels % PATCH:
        raise InputError(
            f"network.name: expected images of a multiple of {PATCH} pixels for vit_b_16, got "
            f"{task.pixels}; take vit_small, which has smaller patches"
        )
    whole = torchvision_models().vit_b_16(
        weights=None, num_classes=task.classes, image_size=task.pixels
    )
    if task.channels != 3:
        conv = nn.Conv2d(task.channels, whole.hidden_dim, PATCH, stride=PATCH)
        # As torchvision: standard deviation by the fan in.
        nn.init.trunc_normal_(conv.weight, std=(task.channels * PATCH**2) ** -0.5)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
        whole.conv_proj = conv
    encoder = whole.encoder
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    blocks["embed"] = Embedding(whole.conv_proj, whole.class_token, encoder.pos_embedding)
    for index, layer in enumerate(encoder.layers):
        blocks[f"encoder.{index}"] = layer
    blocks["head"] = Head(encoder.ln, whole.heads)
    return BlockNetwork(blocks)
