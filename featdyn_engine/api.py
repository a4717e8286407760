"""For notebooks and oracles: stored networks and evaluation sets, read from files alone.

``evaluate`` alone does more: it runs analyses on recorded and imported runs, and reaches up to the
pipeline for that, when it is called.
"""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from torch import Tensor

from featdyn_engine import checkpoints
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import EvalConfig, InputError, RunConfig
from featdyn_engine.models import registry as model_registry
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.parts import part_path

# Of runs and evaluation sets: what anything else names, a path say, the home doesn't have.
IDENTITY = re.compile(r"[0-9a-f]{12}")


def load_run(home: str | Path, run_id: str) -> RunConfig:
    """Return the configuration of a run. Raises InputError where the home has no such run."""
    folder = checkpoints.run_folder(Path(home), run_id)
    config = checkpoints.configuration(folder) if IDENTITY.fullmatch(run_id) else None
    if config is None:
        known = sorted(folder.name for folder in (Path(home) / "runs").glob("*"))
        raise InputError(
            f"expected a run of {home} ({', '.join(known) or 'it has none'}), got {run_id!r}"
        )
    return config


def load_network(home: str | Path, run_id: str, step: int) -> BlockNetwork:
    """Return the network of a run after ``step`` updates, in evaluation mode, on the CPU.

    It is an ``nn.Sequential`` of its blocks: ``net[:depth]`` is the shallow part of a cut,
    ``net[depth:]`` the deep part, ``net.block_names`` their names.

    Raises InputError for a run or a step that the home doesn't have.
    """
    config = load_run(home, run_id)
    folder = checkpoints.run_folder(Path(home), run_id)
    steps = [checkpoint.step for checkpoint in checkpoints.listing(folder)]
    if step not in steps:
        raise InputError(f"expected a checkpoint step of run {run_id} ({steps}), got {step}")
    task = data_registry.load(config.data, Path(home)).task
    network = model_registry.build(config.network, task)
    network.load_state_dict(checkpoints.load(folder, step, rounded=True))
    return network.eval()


def load_evaluation(home: str | Path, eval_id: str) -> EvalConfig:
    """Return what an evaluation set is. Raises InputError for one that the home doesn't have."""
    path = part_path(Path(home), "evaluations", eval_id)
    if not IDENTITY.fullmatch(eval_id) or not path.is_file():
        raise InputError(f"expected an evaluation set of {home}, got {eval_id!r}")
    return EvalConfig.from_json(json.loads(pq.read_table(path)["config"][0].as_py()))


def load_eval(home: str | Path, eval_id: str) -> tuple[Tensor, Tensor]:
    """Return an evaluation set: images as the network takes them (N, C, H, W), labels (N,).

    Images are float32 and normalised; labels are int64, those the stored scores count.
    Raises InputError for a set that the home doesn't have.
    """
    examples = evaluation.load(load_evaluation(home, eval_id), Path(home))
    return examples.images, examples.labels


def __getattr__(name: str) -> Any:
    if name == "evaluate":
        from featdyn_engine.evaluating import evaluate

        return evaluate
    raise AttributeError(name)
