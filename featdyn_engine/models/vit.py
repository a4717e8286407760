"""A small Vision Transformer: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2010.11929).

Pre-norm blocks, learned position embedding. In place of the class token the mean of all tokens
is classified, which serves small networks at least as well (Beyer, Zhai & Kolesnikov, "Better
plain ViT baselines", arXiv 2205.01580), and leaves every block the same (N, tokens, width).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine.domain import STRICT, Count, InputError, Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.options import whole_numbers

NORM_LAYERS = ("layer",)
EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class Options:
    """Side of a patch in pixels (None: about an eighth of the image), and the encoder's size.

    With None it is the divisor of the image's side nearest to an eighth of it: 4 for 32 pixels
    (64 tokens), 4 for 28 (49 tokens), 1 for 8.
    """

    __pydantic_config__: ClassVar = STRICT
    patch: Count | None = None
    width: Count = 192
    depth: Count = 6
    heads: Count = 3


class Embedding(nn.Module):
    """Cut into patches, project, add positions. (N, C, H, W) to (N, tokens, width)."""

    def __init__(self, channels: int, pixels: int, patch: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, patch, stride=patch)
        self.positions = nn.Parameter(torch.zeros(1, (pixels // patch) ** 2, width))

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.project(x).flatten(2).transpose(1, 2)
        return tokens + self.positions


class Attention(nn.Module):
    """Multi-head self-attention. (N, tokens, width), unchanged.

    Written out: the fused kernel has no rule for ``torch.func.vmap`` or forward derivatives on
    a CPU, needs not be deterministic on a GPU, and at 64 tokens is no faster.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return mixed


class EncoderBlock(nn.Module):
    """Attention, then two layers for each token, both residual. (N, tokens, width), unchanged."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, EXPANSION * width)
        self.linear2 = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return out


class Head(nn.Module):
    """Normalise, take the mean of the tokens, classify. (N, tokens, width) to logits (N, K)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(x).mean(dim=1))
        return logits


def _patch(pixels: int, wanted: int | None) -> int:
    divisors = [side for side in range(1, pixels + 1) if pixels % side == 0]
    if wanted is None:
        return min(divisors, key=lambda side: abs(side - pixels / 8))
    if wanted not in divisors:
        raise InputError(f"network.options.patch: expected a divisor of {pixels}, got {wanted}")
    return wanted


def build(task: Task, norm_layer: str, options: Options) -> BlockNetwork:  # noqa: ARG001
    """Build the blocks ``embed``, ``block.0`` ... ``block.{depth-1}``, ``head``.

    Linear layers and positions start from normal numbers of standard deviation 0.02, cut off at
    2, biases at zero, as is usual for vision transformers. Images may have any size that a
    patch divides. Raises InputError for another size, or a width that the heads don't divide.
    """
    whole_numbers(options, "width", "depth", "heads")
    if options.patch is not None:
        whole_numbers(options, "patch")
    if options.width % options.heads:
        raise InputError(
            f"network.options.heads: expected a divisor of the width, {options.width}, "
            f"got {options.heads}"
        )
    patch = _patch(task.pixels, options.patch)
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    blocks["embed"] = Embedding(task.channels, task.pixels, patch, options.width)
    for index in range(options.depth):
        blocks[f"block.{index}"] = EncoderBlock(options.width, options.heads)
    blocks["head"] = Head(options.width, task.classes)
    network = BlockNetwork(blocks)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, Embedding):
            nn.init.trunc_normal_(module.positions, std=0.02)
    return network
