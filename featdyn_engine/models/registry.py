"""The networks that a study can name: one line each."""

from collections.abc import Callable

import torch

from featdyn_engine.domain import Cut, InputError, NetworkConfig, interior_cuts
from featdyn_engine.models import resnet
from featdyn_engine.models.blocks import BlockNetwork

MODELS: dict[str, Callable[[int, int], BlockNetwork]] = {
    "resnet20": resnet.resnet20,
}


def build(config: NetworkConfig, channels: int, classes: int, seed: int = 0) -> BlockNetwork:
    """Build a network with the initial weights of ``seed``; the global generator is left alone.

    Raises InputError for a name outside the registry.
    """
    if config.name not in MODELS:
        raise InputError(
            f"network.name: expected one of {', '.join(sorted(MODELS))}, got {config.name!r}"
        )
    # Layers draw their initial weights from the global generator: lend it, then give it back.
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the accelerators too.
        torch.default_generator.manual_seed(seed)
        return MODELS[config.name](channels, classes)


def cuts(config: NetworkConfig) -> list[Cut]:
    """List the interior cuts of a network, shallowest first; no weights are made."""
    with torch.device("meta"):
        return interior_cuts(build(config, channels=1, classes=2).block_names)
