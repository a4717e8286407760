"""The networks that a study can name: one line each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from featdyn_engine.domain import Cut, InputError, NetworkConfig, Task, interior_cuts
from featdyn_engine.models import resnet
from featdyn_engine.models.blocks import BlockNetwork


@dataclass(frozen=True)
class NoOptions:
    """For an architecture without options of its own."""


@dataclass(frozen=True)
class Architecture:
    """How to build a network: ``build(task, norm_layer, options)``, an ``Options`` among them.

    ``norm_layers``: those that it can be built with, the usual one first.
    """

    build: Callable[[Task, str, Any], BlockNetwork]
    norm_layers: tuple[str, ...]
    Options: type = NoOptions


MODELS: dict[str, Architecture] = {
    "resnet20": Architecture(resnet.resnet20, ("batch", "group", "none"), resnet.Options),
}


def architecture(name: str) -> Architecture:
    """Look a network up. Raises InputError for a name outside the registry."""
    if name not in MODELS:
        raise InputError(
            f"network.name: expected one of {', '.join(sorted(MODELS))}, got {name!r}"
        )
    return MODELS[name]


def build(config: NetworkConfig, task: Task, seed: int = 0) -> BlockNetwork:
    """Build a network with the initial weights of ``seed``; the global generator is left alone.

    Raises InputError for a name outside the registry, a normalisation or a size of image that
    the architecture doesn't have.
    """
    found = architecture(config.name)
    if config.norm_layer not in found.norm_layers:
        raise InputError(
            f"network.norm_layer: expected one of {', '.join(found.norm_layers)} for "
            f"{config.name}, got {config.norm_layer!r}"
        )
    # Layers draw their initial weights from the global generator: lend it, then give it back.
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the accelerators too.
        torch.default_generator.manual_seed(seed)
        return found.build(task, config.norm_layer, found.Options(**config.options))


def cuts(config: NetworkConfig, task: Task) -> list[Cut]:
    """List the interior cuts of a network, shallowest first; no weights are made."""
    with torch.device("meta"):
        return interior_cuts(build(config, task).block_names)
