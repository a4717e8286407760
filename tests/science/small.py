"""Networks small enough to be evaluated in a millisecond, whose every number matters."""

import copy

import torch
from torch import Tensor, nn

CLASSES = 5
# Blocks of ``convolutional``: three convolutions, a linear head.
CUTS = (1, 2, 3)


@torch.no_grad()
def lively(network: nn.Module, seed: int) -> nn.Module:
    """Move affine parameters and running statistics of all layers off their neutral values."""
    stream = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=stream)
        if name.endswith("running_var"):
            tensor.mul_((0.3 * noise).exp())
        elif tensor.ndim == 1:
            tensor.add_(0.2 * noise)
    return network


def convolutional(
    seed: int, batch_norm: bool = True, channels: int = 1, classes: int = CLASSES
) -> nn.Sequential:
    """Three blocks of convolution, BatchNorm and ReLU, and a head. Images of any size."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        blocks = []
        for before, width in ((channels, 6), (6, 8), (8, 8)):
            layers: list[nn.Module] = [nn.Conv2d(before, width, 3, padding=1)]
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            blocks.append(nn.Sequential(*layers, nn.ReLU()))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes))
    network = lively(nn.Sequential(*blocks, head), seed).eval()
    with torch.no_grad():
        logits = network(examples(100, seed, channels=channels)[0])
        # Every class is predicted, and clearly.
        head[2].bias -= logits.mean(dim=0)
        head[2].weight *= (3 / logits.std(dim=0))[:, None]
        head[2].bias *= 3 / logits.std(dim=0)
    return network  # type: ignore[return-value]


def examples(
    n: int, seed: int = 0, pixels: int = 6, channels: int = 1, classes: int = CLASSES
) -> tuple[Tensor, Tensor]:
    """Images (n, channels, pixels, pixels), some bright, some of high contrast; labels (n,)."""
    stream = torch.Generator().manual_seed(seed)
    images = torch.randn(n, channels, pixels, pixels, generator=stream)
    images *= torch.randn(n, 1, 1, 1, generator=stream).exp()
    images += torch.randn(n, channels, 1, 1, generator=stream)
    return images, torch.randint(classes, (n,), generator=stream)


def states(networks: list[nn.Sequential]) -> list[dict[str, Tensor]]:
    """Copy all tensors of networks, to see later whether they were left alone."""
    return [copy.deepcopy(network.state_dict()) for network in networks]


def untouched(networks: list[nn.Sequential], before: list[dict[str, Tensor]]) -> bool:
    """Whether all tensors are as they were, and all modules in evaluation mode."""
    return all(
        torch.equal(tensor, state[key])
        for network, state in zip(networks, before, strict=True)
        for key, tensor in network.state_dict().items()
    ) and not any(module.training for network in networks for module in network.modules())
