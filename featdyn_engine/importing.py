"""A folder of somebody's own checkpoints, as a run.

Files are safetensors, or PyTorch's state dicts, which are read in a process of their own
(``foreign_weights``). Layouts of Lightning (``state_dict``, ``model.`` before every key) and of
Hugging Face (``checkpoint-500/model.safetensors``) are known. Keys are matched strictly.
"""

import hashlib
import re
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from featdyn_engine import checkpoints, factories, learning_rates
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    UNTOLD,
    DataConfig,
    InputError,
    NetworkConfig,
    Recipe,
    Recorded,
    RunConfig,
    Task,
)
from featdyn_engine.files import write_json
from featdyn_engine.foreign_files import (
    by_its_library,
    check_keys,
    found_files,
    read_state,
    readable,
    without_prefix,
)
from featdyn_engine.models import factory, whole
from featdyn_engine.models.blocks import BlockNetwork


@dataclass(frozen=True)
class Asked:
    """What to import: a folder, who makes the network, and what there is to know of the training.

    ``pattern``: names of files under the folder, with {step} or {epoch}; None: found.
    """

    folder: Path
    model: str
    options: Mapping[str, Any]
    blocks: tuple[str, ...] | None = None
    pattern: str | None = None
    name: str | None = None
    data: DataConfig = UNTOLD
    task: Task | None = None
    shape: tuple[int, ...] | None = None
    steps_per_epoch: float = 1.0


@dataclass(frozen=True)
class Words:
    """The options of the command line, as they were typed."""

    model: str
    pattern: str | None = None
    blocks: str | None = None
    option: Sequence[str] = ()
    data: str | None = None
    data_folder: Path | None = None
    shape: str | None = None
    name: str | None = None


def _option(text: str) -> tuple[str, Any]:
    """Read KEY=VALUE, the value as TOML where it is, as text where it isn't."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise InputError(f"--option: expected KEY=VALUE, got {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def asked(folder: Path, words: Words, steps_per_epoch: float, home: Path) -> Asked:
    """Read the options of the command line, whose user allows the module that ``--model`` names.

    Raises InputError for words that are none of those expected.
    """
    if not factory.is_factory(words.model):
        raise InputError(f"--model: expected module:factory, got {words.model!r}")
    factories.allow(words.model)
    if steps_per_epoch <= 0:
        raise InputError(f"--steps-per-epoch: expected more than 0, got {steps_per_epoch}")
    shape = None
    if words.shape is not None:
        if not re.fullmatch(r"\d+x\d+x\d+", words.shape):
            raise InputError(
                f"--shape: expected channels x height x width as 3x32x32, got {words.shape!r}"
            )
        shape = tuple(int(part) for part in words.shape.split("x"))
    data, task = UNTOLD, None
    if words.data is not None:
        if factory.is_factory(words.data):
            factories.allow(words.data)
        place = None if words.data_folder is None else str(words.data_folder.resolve())
        data = data_registry.identified(DataConfig(name=words.data, folder=place), home)
        task = data_registry.load(data, home).task
    return Asked(
        folder=folder,
        model=words.model,
        options=dict(map(_option, words.option)),
        blocks=None if words.blocks is None else tuple(words.blocks.split(",")),
        pattern=words.pattern,
        name=words.name,
        data=data,
        task=task,
        shape=shape,
        steps_per_epoch=steps_per_epoch,
    )


def _network(asked: Asked) -> tuple[nn.Module, BlockNetwork, dict[str, str]]:
    """Return the whole network, its blocks, and for each key of these the network's own."""
    task = asked.task
    offered = (
        {"channels": task.channels, "pixels": task.pixels, "classes": task.classes} if task else {}
    )
    made = factory.made_by(asked.model, offered, asked.options)
    if not isinstance(made, nn.Module):
        raise InputError(
            f"--model: expected {asked.model} to return the network whose checkpoints these are, "
            f"got {type(made).__name__}"
        )
    shape = asked.shape or ((task.channels, task.pixels, task.pixels) if task else None)
    network, keys = whole.divided_copy(made, asked.blocks, shape)
    return made, network, keys


def _in_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: each.float() if each.is_floating_point() else each for key, each in state.items()}


def _config(asked: Asked, steps: tuple[int, ...], token: str) -> RunConfig:
    return RunConfig(
        data=asked.data,
        network=NetworkConfig(
            name=asked.model, norm_layer="own", options=dict(asked.options), blocks=asked.blocks
        ),
        recipe=Recipe(steps=max(steps[-1], 1), optimizer="other", schedule="constant"),
        checkpoints=steps,
        recorded=Recorded(name=asked.name or asked.folder.resolve().name, token=token, by="import"),
    )


def run_of(
    asked: Asked, home: Path, say: Callable[[str], None] = lambda line: None
) -> tuple[RunConfig, BlockNetwork]:
    """Import the checkpoints of a folder into a home; return the run and its network.

    All files are read and checked before anything is written. The same files give the same run.
    ``say`` hears what is under way. Raises InputError for files or a network that don't fit.
    """
    files = found_files(asked.folder, asked.pattern, asked.steps_per_epoch)
    model, network, keys = _network(asked)
    wanted = model.state_dict()
    with tempfile.TemporaryDirectory() as spare:
        sources = readable(files, Path(spare))

        def state_of(step: int) -> dict[str, Tensor]:
            state = without_prefix(read_state(sources[step]), wanted)
            if state.keys() != wanted.keys():
                state = by_its_library(model, files[step]) or state
            check_keys(files[step], state, wanted)
            return state

        digest = hashlib.sha256()
        for step in files:
            for key, tensor in sorted(_in_float32(state_of(step)).items()):
                digest.update(f"{step} {key}".encode() + tensor.contiguous().numpy().data)
        config = _config(asked, tuple(files), digest.hexdigest())
        folder = checkpoints.run_folder(home, config.run_id)
        for step, path in files.items():
            say(f"step {step}: {path}")
            state = state_of(step)
            kept = {own: state[key] for own, key in keys.items()}
            checkpoints.save(folder, step, step / asked.steps_per_epoch, _in_float32(kept))
    learning_rates.save(folder, [])
    write_json(folder / "config.json", asdict(config))
    return config, network
