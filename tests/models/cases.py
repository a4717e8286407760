"""Every network of the registry with every normalisation, at a size that keeps tests quick."""

import torch
from torch import Tensor

from featdyn_engine.domain import NetworkConfig, NormLayer, Task
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.registry import MODELS, build

# With 3 channels, 32 x 32 pixels and 10 classes: another count is another network.
# ResNets with BatchNorm: the counts that He et al.'s architecture is known by. VGG: the
# convolutions of torchvision's vgg11 and vgg16 (9,220,480 and 14,714,688), and a linear layer.
PARAMETERS: dict[tuple[str, NormLayer], int] = {
    ("resnet20", "batch"): 269_722,
    ("resnet20", "group"): 269_722,
    ("resnet20", "none"): 268_393,
    ("resnet32", "batch"): 464_154,
    ("resnet32", "group"): 464_154,
    ("resnet32", "none"): 461_959,
    ("resnet44", "batch"): 658_586,
    ("resnet44", "group"): 658_586,
    ("resnet44", "none"): 655_525,
    ("resnet56", "batch"): 853_018,
    ("resnet56", "group"): 853_018,
    ("resnet56", "none"): 849_091,
    ("vgg11", "batch"): 9_228_362,
    ("vgg11", "group"): 9_228_362,
    ("vgg11", "none"): 9_225_610,
    ("vgg16", "batch"): 14_724_042,
    ("vgg16", "group"): 14_724_042,
    ("vgg16", "none"): 14_719_818,
    ("mlp", "none"): 2_103_818,
    ("mlp", "batch"): 2_105_354,
    ("mlp", "layer"): 2_106_890,
    ("vit_small", "layer"): 2_693_194,
    ("resnet18", "batch"): 11_181_642,
    ("vit_b_16", "layer"): 85_658_890,
}
CIFAR10 = Task(channels=3, pixels=32, classes=10)
# torchvision's networks divide an image by 32 or 16; the others take 8 pixels in good order.
PIXELS = {"resnet18": 32, "vit_b_16": 32}


def task(name: str, channels: int = 3, classes: int = 10) -> Task:
    return Task(channels, PIXELS.get(name, 8), classes)


def made(
    name: str, norm_layer: str | None = None, seed: int = 0, **options: object
) -> BlockNetwork:
    """A network for small images of three colours, in evaluation mode."""
    config = network(name, norm_layer, **options)
    return build(config, task(name), seed).eval()


def network(name: str, norm_layer: str | None = None, **options: object) -> NetworkConfig:
    chosen: object = norm_layer or MODELS[name].norm_layers[0]
    return NetworkConfig(name=name, norm_layer=chosen, options=options)  # type: ignore[arg-type]


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def images(of: Task, n: int = 2, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, of.channels, of.pixels, of.pixels, generator=stream)
