"""A network as its owner has it, before it is divided: unwrapped, and the images that it takes."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from featdyn_engine.domain import InputError
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.found_blocks import divided, keys

# Tried in turn where nothing says which images a network takes.
SIZES = (32, 224, 28, 64, 96, 8, 16, 48, 128, 256, 299, 384)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network within wrappers of torch.compile and of parallel training."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
        if isinstance(inner, nn.Module):
            model = inner
        elif isinstance(model, parallel):
            model = model.module
        else:
            return model


def _told(model: nn.Module) -> Iterator[tuple[int, ...]]:
    """Shapes that libraries note on their networks: timm's, and Hugging Face's config."""
    config = getattr(model, "pretrained_cfg", None)
    if isinstance(config, dict) and config.get("input_size"):
        yield tuple(config["input_size"])
    hub = getattr(model, "config", None)
    channels, size = getattr(hub, "num_channels", None), getattr(hub, "image_size", None)
    if isinstance(channels, int) and isinstance(size, int):
        yield channels, size, size


def _guesses(model: nn.Module) -> Iterator[tuple[int, ...]]:
    yield from _told(model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            yield from ((module.in_channels, size, size) for size in SIZES)
            return
        if isinstance(module, nn.Linear):
            for channels in (1, 3):
                size = round((module.in_features / channels) ** 0.5)
                if channels * size**2 == module.in_features:
                    yield channels, size, size
            return


@torch.no_grad()
def shape_of(model: nn.Module) -> tuple[int, ...]:
    """Find a shape (C, H, W) of images that a network in evaluation mode takes.

    Raises InputError where none of the usual ones passes.
    """
    for shape in _guesses(model):
        try:
            model(torch.zeros(2, *shape))
        except Exception:  # of other people's code: not this shape
            continue
        return shape
    raise InputError(
        f"shape: expected {type(model).__name__} to take images of a usual size, got none that "
        "passes; give shape (C, H, W)"
    )


def divided_copy(
    model: nn.Module, names: Sequence[str] | None, shape: tuple[int, ...] | None
) -> tuple[BlockNetwork, dict[str, str]]:
    """Divide a copy of a network on the CPU, and leave the network itself alone.

    Returns the blocks, and for each key of theirs the network's own. Raises InputError as
    ``divided`` does.
    """
    try:
        whole: Any = copy.deepcopy(model)
    except Exception as problem:
        text = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise InputError(
            f"model: expected a network that can be copied, got {text}; record it before it is "
            "wrapped or run"
        ) from None
    whole = whole.cpu().float().eval()
    network = divided(whole, shape or shape_of(whole), names)
    return network, keys(whole, network)
