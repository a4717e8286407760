"""A multilayer perceptron: ``depth`` hidden layers of one width, ReLU, one linear layer."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from featdyn_engine.domain import STRICT, Count, Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.layers import norm1d
from featdyn_engine.models.options import whole_numbers

NORM_LAYERS = ("none", "batch", "layer")


@dataclass(frozen=True, kw_only=True)
class Options:
    """``depth`` hidden layers of ``width`` units each."""

    __pydantic_config__: ClassVar = STRICT
    width: Count = 512
    depth: Count = 3


def build(task: Task, norm_layer: str, options: Options) -> BlockNetwork:
    """Build the blocks ``layer1`` (N, C, H, W) to (N, width), ``layer2`` ..., ``head``.

    The first block flattens the images. Hidden layers start from He et al.'s normal
    initialisation (arXiv 1502.01852, fan in) with biases at zero, so that deep ones train
    without normalisation.
    """
    whole_numbers(options, "width", "depth")
    plain, before = norm_layer == "none", task.channels * task.pixels**2
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(1, options.depth + 1):
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if index == 1:
            parts["flatten"] = nn.Flatten()
        # BatchNorm would take a bias away again.
        linear = nn.Linear(before, options.width, bias=norm_layer != "batch")
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
        parts["linear"] = linear
        if not plain:
            parts["norm"] = norm1d(norm_layer, options.width)
        parts["act"] = nn.ReLU()
        blocks[f"layer{index}"] = nn.Sequential(parts)
        before = options.width
    blocks["head"] = nn.Linear(before, task.classes)
    return BlockNetwork(blocks)
