"""Arms that are recorded or imported runs: nothing is trained, what a study names is added."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from featdyn_engine import checkpoints
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    UNTOLD,
    DataConfig,
    Device,
    InputError,
    NetworkConfig,
    RunConfig,
    Seeds,
    Task,
)
from featdyn_engine.factories import allow, is_factory
from featdyn_engine.files import RECORDING_LOCK, lock_is_free
from featdyn_engine.identity import identity
from featdyn_engine.models import registry as model_registry
from featdyn_engine.study_file import Arm, Compute

# What a training that is over can't be given any more.
OF_A_TRAINING = ("training", "label_noise", "seeds", "branch", "freeze", "replay")
SHOWN = 3


@dataclass(frozen=True)
class RecordedArm:
    """An arm with the study's tables over it: ``data`` and ``network`` as they were written.

    ``place`` begins its errors.
    """

    arm: Arm
    place: str
    data: DataConfig | None
    network: dict[str, Any]
    compute: Compute


def _recorded(run_id: str, arm: RecordedArm, home: Path) -> RunConfig:
    """Return the run with the checkpoints that are there. Raises InputError where it can't be."""
    folder = checkpoints.run_folder(home, run_id)
    config = checkpoints.configuration(folder)
    if config is None or config.recorded is None:
        known = [
            path.parent.name
            for path in sorted(home.glob("runs/*/config.json"))
            if (found := checkpoints.configuration(path.parent)) and found.recorded
        ]
        raise InputError(
            f"{arm.place}.run: expected a recorded or imported run of {home} "
            f"({', '.join(known) or 'it has none'}), got {run_id!r}"
        )
    if not lock_is_free(folder / RECORDING_LOCK):
        raise InputError(
            f"{arm.place}.run: expected a training that is over, got {run_id}, which is being "
            "recorded; wait for its end"
        )
    steps = tuple(each.step for each in checkpoints.listing(folder))
    if len(steps) < 2:
        raise InputError(
            f"{arm.place}.run: expected two checkpoints or more, got {len(steps)} in {run_id}"
        )
    recipe = replace(config.recipe, steps=max(steps[-1], 1))
    return replace(config, checkpoints=steps, recipe=recipe)


def _data(config: RunConfig, arm: RecordedArm) -> DataConfig:
    if arm.data is None:
        if config.data == UNTOLD:
            raise InputError(
                f"{arm.place}: expected [data], as run {config.run_id} says none, got none; add it"
            )
        return config.data
    if config.data != UNTOLD and identity(config.data) != identity(arm.data):
        raise InputError(
            f"{arm.place}.data: expected that of run {config.run_id}, {_told(config.data)}, got "
            f"{_told(arm.data)}; name other examples in the evaluations of an analysis"
        )
    return arm.data


def _told(data: DataConfig) -> str:
    plain = asdict(DataConfig(name=data.name))
    said = {key: value for key, value in asdict(data).items() if value != plain[key]}
    said.pop("folder", None)
    return ", ".join([data.name, *(f"{key} {value}" for key, value in said.items())])


def _network(config: RunConfig, arm: RecordedArm) -> NetworkConfig:
    """Return the run's network, or that which the study names instead, whose module is allowed."""
    named = replace(config.network, **arm.network) if arm.network else config.network
    if not is_factory(named.name):
        raise InputError(
            f"{arm.place}.network.name: expected module:factory for a recorded run, got "
            f"{named.name!r}"
        )
    if "name" in arm.network:
        allow(named.name)
    return named


def _check_weights(config: RunConfig, task: Task, arm: RecordedArm, home: Path) -> None:
    """Raise InputError unless the network has the tensors that the checkpoints have."""
    network = model_registry.build(config.network, task)
    wanted = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    folder = checkpoints.run_folder(home, config.run_id)
    with safe_open(checkpoints.path_of(folder, config.checkpoints[0]), "pt") as file:
        stored = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    if stored == wanted:
        return
    odd = [key for key in {**wanted, **stored} if wanted.get(key) != stored.get(key)]
    told = ", ".join(
        f"{key} ({wanted.get(key, 'not in the network')}, "
        f"{stored.get(key, 'not in the checkpoints')})"
        for key in odd[:SHOWN]
    )
    raise InputError(
        f"{arm.place}.network: expected {config.network.name} to make the network of run "
        f"{config.run_id}, with the same blocks and options, got {len(odd)} tensors that differ: "
        f"{told}"
    )


def recorded_runs(arm: RecordedArm, home: Path, device: Device) -> list[tuple[RunConfig, int]]:
    """Return the runs that an arm names, each with the size of its training set.

    Raises InputError for a run that isn't
    there, isn't over, or doesn't fit the data and network named.
    """
    for name in OF_A_TRAINING:
        if getattr(arm.arm, name) not in (None, {}):
            raise InputError(
                f"{arm.place}.{name}: expected none beside run, whose training is over, got some; "
                "take it out"
            )
    names = [arm.arm.run] if isinstance(arm.arm.run, str) else list(arm.arm.run or ())
    found = []
    for number, run_id in enumerate(names):
        config = _recorded(run_id, arm, home)
        config = replace(
            config,
            data=_data(config, arm),
            network=_network(config, arm),
            # Runs of one arm are told apart as seeds are.
            seeds=Seeds(init=number, order=number, labels=number),
            device=device,
            threads=arm.compute.threads,
        )
        dataset = data_registry.load(config.data, home)
        _check_weights(config, dataset.task, arm, home)
        found.append((config, len(dataset.train_labels)))
    return found
