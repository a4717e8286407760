"""Small runs for tests of recipes: a perceptron with BatchNorm on a few digits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from featdyn_engine import checkpoints
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe, RunConfig
from featdyn_engine.recipes.schedules import steps_per_epoch

# Five updates an epoch, four examples left over. Blocks: layer1, layer2, layer3, head.
PERCEPTRON = RunConfig(
    data=DataConfig(name="digits", train_size=44),
    network=NetworkConfig(name="mlp", norm_layer="batch", options={"width": 16, "depth": 3}),
    recipe=Recipe(steps=10, batch_size=8, lr=0.05, schedule="constant"),
    checkpoints=tuple(range(11)),
)
PER_EPOCH = steps_per_epoch(44, 8)
BLOCKS = ("layer1", "layer2", "layer3", "head")


def with_recipe(run: RunConfig = PERCEPTRON, **options: object) -> RunConfig:
    """Return the run with other options in its recipe."""
    return replace(run, recipe=replace(run.recipe, **options))  # type: ignore[arg-type]


def state(home: Path, run: RunConfig, step: int) -> dict[str, Tensor]:
    """Stored tensors of a step."""
    return checkpoints.load(checkpoints.run_folder(home, run.run_id), step)


def block(home: Path, run: RunConfig, step: int, name: str) -> dict[str, Tensor]:
    """Stored tensors of one block."""
    found = {
        key: tensor for key, tensor in state(home, run, step).items() if key.startswith(f"{name}.")
    }
    assert found
    return found


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two groups of tensors are the same to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def hashes(home: Path, run: RunConfig) -> dict[int, str]:
    """Hash of every stored checkpoint."""
    folder = checkpoints.run_folder(home, run.run_id)
    return {each.step: each.sha256 for each in checkpoints.listing(folder)}


class KilledError(Exception):
    """Stands for the end of the process."""


def kill_after(step: int, run: RunConfig = PERCEPTRON) -> Callable[[float], None]:
    """Return a progress listener that ends the training after the update that makes ``step``."""

    def progress(share: float) -> None:
        if round(share * run.recipe.steps) == step:
            raise KilledError

    return progress
