"""From a study to its units of work: what there is to do, what is done, what it will take."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from featdyn_engine.analyses.registry import ANALYSES
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Device, InputError, Unit
from featdyn_engine.models import registry as model_registry
from featdyn_engine.parts import part_path
from featdyn_engine.study import Study
from featdyn_engine.training import cpu_threads
from featdyn_engine.units import evaluation_unit, training_unit

BYTES_PER_ROW = 60


@dataclass(frozen=True)
class Plan:
    """Units of a study in the order of their needs, and which of them have their part already."""

    study: Study
    units: tuple[Unit, ...]
    finished: frozenset[str]

    @property
    def waiting(self) -> tuple[Unit, ...]:
        """Units that still have to run."""
        return tuple(unit for unit in self.units if unit.unit_id not in self.finished)


@dataclass(frozen=True)
class Forecast:
    """What running a plan would take: bytes on disk, and seconds on this machine."""

    checkpoints: int
    bytes: int
    seconds: float


def resolve_device(asked: str) -> Device:
    """Turn ``auto`` into the best device here. Raises InputError for one that isn't here."""
    here: dict[str, Device] = {"cpu": "cpu"}
    if torch.backends.mps.is_available():
        here = {"mps": "mps", **here}
    if torch.cuda.is_available():
        here = {"cuda": "cuda", **here}
    if asked == "auto":
        return next(iter(here.values()))
    if asked not in here:
        raise InputError(f"--device: expected one of {', '.join(['auto', *here])}, got {asked}")
    return here[asked]


def plan(study: Study, home: Path) -> Plan:
    """List every unit of a study once: trainings, evaluation sets, then analyses."""
    units: dict[str, Unit] = {}
    for run in study.runs:
        label = f"train {run.name}"
        units[run.config.run_id] = training_unit(run.config, label, run.train_size)
    for kind, settings in study.analyses:
        for run in study.runs:
            for config in ANALYSES[kind].evaluation_sets(settings, run.config):
                units[config.eval_id] = evaluation_unit(config)
    arm_of = {run.config.run_id: run.name for run in study.runs}
    analyses = study.units()
    # The longest first: two workers then end together.
    for unit in sorted(analyses, key=lambda unit: -unit.cost):
        units[unit.unit_id] = _named(unit, arm_of[unit.run_id or ""])
    finished = {key for key, unit in units.items() if part_path(home, unit.kind, key).exists()}
    return Plan(study, tuple(units.values()), frozenset(finished))


def _named(unit: Unit, run_name: str) -> Unit:
    return replace(unit, label=f"{run_name}: {unit.label}")


def forecast(plan: Plan, workers: int) -> Forecast:
    """Estimate disk and time of what waits, from a second of timing the first run's network."""
    per_run: dict[str, int] = {}
    seconds_per_forward = 0.0
    for run in plan.study.runs:
        dataset = data_registry.load(run.config.data)
        network = model_registry.build(run.config.network, dataset.channels, dataset.classes)
        tensors = network.state_dict().values()
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        per_run[run.config.run_id] = size * len(run.config.checkpoints)
        if not seconds_per_forward and plan.waiting:
            images = dataset.train_images[:250]
            seconds_per_forward = _time_forward(network.eval(), images) / len(images)
    trainings = [unit for unit in plan.waiting if unit.kind == "metrics"]
    rows = sum(
        len(unit.spec.run.checkpoints) ** 2 for unit in plan.waiting if unit.kind in ANALYSES
    )
    disk = sum(per_run[unit.unit_id] for unit in trainings) + rows * BYTES_PER_ROW
    count = sum(len(run.config.checkpoints) for run in plan.study.runs)
    work = sum(unit.cost for unit in plan.waiting)
    return Forecast(count, disk, work * seconds_per_forward / workers)


@torch.inference_mode()
def _time_forward(network: torch.nn.Module, images: torch.Tensor) -> float:
    with cpu_threads(1):
        network(images)
        started = time.monotonic()
        repeats = 0
        while time.monotonic() - started < 1:
            network(images)
            repeats += 1
        return (time.monotonic() - started) / repeats
