"""Checkpoints as float16: half the bytes, where no prediction of a check set changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from featdyn_engine import checkpoints
from featdyn_engine.api import load_run
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Checkpoint, EvalConfig
from featdyn_engine.models import registry as model_registry
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.science.splice import plain_predictions

CHECKED = 500
BATCH = 250


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round the float32 tensors of a state dict to float16 (11 bits instead of 24)."""
    return {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor
        for name, tensor in state.items()
    }


def halve(home: Path, out: Path, run_id: str, steps: Sequence[int]) -> list[Checkpoint]:
    """Write the checkpoints of a run to the home ``out`` in float16; return those written.

    A checkpoint that predicts another class for any of the first 500 test images is left out.
    That is no promise for splices, nor for other images.
    """
    config = load_run(home, run_id)
    images = evaluation.load(EvalConfig(data=config.data, split="test"), home).images[:CHECKED]
    network = model_registry.build(config.network, data_registry.load(config.data, home).task)
    folder = checkpoints.run_folder(home, run_id)
    epochs = {each.step: each.epoch for each in checkpoints.listing(folder)}
    written = []
    for step in steps:
        state = checkpoints.load(folder, step, rounded=True)
        rounded = halved(state)
        if torch.equal(_predicted(network, state, images), _predicted(network, rounded, images)):
            target = checkpoints.run_folder(out, run_id)
            written.append(checkpoints.save(target, step, epochs[step], rounded))
    return written


def _predicted(network: BlockNetwork, state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    network.load_state_dict(state)
    return plain_predictions([network.eval()], images, BATCH)
