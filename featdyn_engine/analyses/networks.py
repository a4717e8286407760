"""What analyses load of a run: its stored networks, and training images for re-estimation."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from featdyn_engine import checkpoints
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Norm, RunConfig
from featdyn_engine.models import registry as model_registry
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.science.execution import without_in_place
from featdyn_engine.science.recalibration import (
    RECALIBRATION_IMAGES,
    batch_norms,
    chosen_images,
    mini_batches,
)

# Expected work in forward passes of one image: estimating statistics anew, in training mode.
RECALIBRATION_COST = 1.3 * RECALIBRATION_IMAGES


def stored_steps(run: RunConfig, home: Path) -> list[int]:
    """List the steps of a run's checkpoints, as they are on disk.

    A run that ended early has fewer than were planned.
    """
    folder = checkpoints.run_folder(home, run.run_id)
    return [each.step for each in checkpoints.listing(folder)]


def network_of(
    run: RunConfig, step: int, home: Path, device: torch.device | None = None
) -> BlockNetwork:
    """Return the network of a stored step, in evaluation mode on ``device``: None, the run's."""
    network = model_registry.build(run.network, data_registry.load(run.data, home).task)
    network.load_state_dict(checkpoints.load(checkpoints.run_folder(home, run.run_id), step))
    without_in_place(network)
    return network.to(device or torch.device(run.device)).eval().requires_grad_(False)


def stored_networks(run: RunConfig, home: Path) -> tuple[list[int], list[BlockNetwork]]:
    """Return the steps of a run's checkpoints and their networks (``network_of``)."""
    steps = stored_steps(run, home)
    return steps, [network_of(run, step, home) for step in steps]


def own_norm(network: BlockNetwork) -> Norm:
    """Name the mode in which a network keeps its own statistics: ``none`` where it has none."""
    return "inherit" if batch_norms(network) else "none"


def training_images(
    run: RunConfig,
    home: Path,
    count: int = RECALIBRATION_IMAGES,
    device: torch.device | None = None,
) -> Tensor:
    """Return ``count`` fixed training images, or all where there are fewer.

    On ``device``: None, the run's.

    float32 (N, C, H, H), normalised. The same for every run on the same training set.
    """
    dataset = data_registry.load(run.data, home)
    chosen = chosen_images(len(dataset.train_images), count)
    return dataset.normalise(dataset.train_images[chosen].to(device or torch.device(run.device)))


def training_batches(
    run: RunConfig, home: Path, device: torch.device | None = None
) -> Sequence[Tensor]:
    """Return the mini-batches of training images on which BatchNorm statistics are estimated."""
    return mini_batches(training_images(run, home, device=device))
