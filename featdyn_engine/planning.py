"""From a study to its units of work: what there is to do, what is done, what it will take."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from featdyn_engine import checkpoints, restored
from featdyn_engine.analyses.asked import evaluation_sets
from featdyn_engine.analyses.registry import ANALYSES
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Device, InputError, Job, RunConfig, Unit
from featdyn_engine.factories import is_factory
from featdyn_engine.models import registry as model_registry
from featdyn_engine.parts import part_path, parts_of
from featdyn_engine.science.consistency import BURN_IN, MIN_CHECKPOINTS, Pairs
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.study import Study
from featdyn_engine.units import evaluation_unit, training_unit

BYTES_PER_ROW = 60
# In the part and in the database together, rounded up from the table in docs/store.md.
BYTES_PER_PREDICTION = 1
# Forward passes of one image, about a quarter of an hour of ResNet-20 on a core: what a kill may
# cost at most, unless a single unit is longer.
MOST_AT_ONCE = 400_000.0


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

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What waits, as workers take it: a bundle in one go, unless it is too long a work."""
        found: dict[str, list[list[Unit]]] = {}
        for unit in self.waiting:
            groups = found.setdefault(unit.bundle or unit.unit_id, [[]])
            if groups[-1] and sum(each.cost for each in groups[-1]) + unit.cost > MOST_AT_ONCE:
                groups.append([])
            groups[-1].append(unit)
        return tuple(Job(tuple(group)) for groups in found.values() for group in groups)


@dataclass(frozen=True)
class Forecast:
    """What running a plan would take: bytes on disk, and seconds on this machine."""

    checkpoints: int
    bytes: int
    seconds: float


def devices_here() -> tuple[Device, ...]:
    """List where networks can run on this machine, the best first."""
    found: list[Device] = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def resolve_device(asked: str, devices: Sequence[Device] | None = None) -> Device:
    """Turn ``auto`` into the best of ``devices``, by default those of this machine.

    Raises InputError for one that isn't among them.
    """
    known = {str(device): device for device in devices or devices_here()}
    if asked == "auto":
        return next(iter(known.values()))
    if asked not in known:
        raise InputError(f"--device: expected one of {', '.join(['auto', *known])}, got {asked}")
    return known[asked]


def plan(study: Study, home: Path) -> Plan:
    """List every unit of a study once: trainings, evaluation sets, then analyses."""
    units: dict[str, Unit] = {}
    for run in (*study.runs, *study.control_runs()):
        label = f"{'train' if run.config.recorded is None else 'score'} {run.name}"
        units[run.config.run_id] = training_unit(run.config, label, run.train_size)
    for _, settings, run in study.measurements:
        for config in evaluation_sets(settings, run.config, home):
            units[config.eval_id] = evaluation_unit(config)
    arm_of = {run.config.run_id: run.name for run in study.runs}
    analyses = study.units(home)
    # The longest first: two workers then end together.
    for unit in sorted(analyses, key=lambda unit: -unit.cost):
        units[unit.unit_id] = _named(unit, arm_of[unit.run_id or ""])
    finished = {key for key, unit in units.items() if _is_finished(unit, home)}
    return Plan(study, tuple(units.values()), frozenset(finished))


def _is_finished(unit: Unit, home: Path) -> bool:
    """Whether a unit has its parts; where weights stayed behind in a snapshot, its own is enough.

    Predictions stayed there too, then, and can't be made anew.
    """
    if not part_path(home, unit.kind, unit.unit_id).exists():
        return False
    if all(path.exists() for path in parts_of(home, unit)):
        return True
    note = restored.of(checkpoints.run_folder(home, unit.run_id)) if unit.run_id else None
    return note is not None and not note.whole


def remarks(plan: Plan) -> tuple[str, ...]:
    """Say what a plan will do but hardly as meant: scores that will be refused, and in which arms.

    A score needs ``MIN_CHECKPOINTS`` past the first ``BURN_IN`` of the steps (docs/notation.md).
    """
    arms = {run.config.run_id: run.arm for run in plan.study.runs}
    few: dict[int, dict[str, None]] = {}
    for unit in plan.units:
        if unit.kind == "consistency":
            run: RunConfig = unit.spec.run
            pairs = Pairs("all", run.recipe.steps)
            count = int(pairs.checkpoints(run.stored_steps).sum())
            if count < MIN_CHECKPOINTS:
                few.setdefault(count, {})[arms[run.run_id]] = None
    return tuple(
        f"{', '.join(names)}: expected {MIN_CHECKPOINTS} checkpoints past {BURN_IN:.0%} of the "
        f"steps for a score, got {count}: consistency will have retentions and horizons alone; "
        "store more checkpoints"
        for count, names in few.items()
    )


def _named(unit: Unit, run_name: str) -> Unit:
    return replace(unit, label=f"{run_name}: {unit.label}")


def _state_bytes(run: RunConfig, home: Path) -> int:
    """Bytes of one checkpoint; no weights are made, but by a factory."""
    with torch.device("cpu" if is_factory(run.network.name) else "meta"):
        network = model_registry.build(run.network, data_registry.load(run.data, home).task)
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def _bytes_needed(plan: Plan, home: Path) -> int:
    """Bytes that what waits will write: checkpoints not there yet, resume points, rows."""
    needed, sizes = 0, dict[str, int]()
    for unit in plan.waiting:
        if unit.kind == "metrics" and unit.spec.recorded is None:
            run: RunConfig = unit.spec
            stored = len(checkpoints.listing(checkpoints.run_folder(home, run.run_id)))
            # The resume point, which is written anew beside the old one, holds the weights and
            # up to two moments of each.
            states = len(run.stored_steps) - stored + 6 + (run.swa_from is not None)
            needed += _state_bytes(run, home) * max(states, 0)
        elif unit.kind in ANALYSES:
            row = BYTES_PER_ROW
            if "predictions" in unit.companions:
                examples = unit.spec.evaluation
                if examples.eval_id not in sizes:
                    sizes[examples.eval_id] = evaluation.size(examples, home)
                row += sizes[examples.eval_id] * BYTES_PER_PREDICTION
            needed += len(unit.spec.run.stored_steps) ** 2 * row
    return needed


def check_room(plan: Plan, home: Path) -> int:
    """Return the bytes that a plan still needs. Raises InputError where the disk lacks them."""
    needed = _bytes_needed(plan, home)
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"{home}: expected {needed / 1e6:,.0f} MB free for this study, got "
            f"{free / 1e6:,.0f} MB; make room, store fewer checkpoints, or set FEATDYN_HOME to "
            "another disk"
        )
    return needed


def forecast(plan: Plan, home: Path, workers: int) -> Forecast:
    """Estimate disk and time of what waits, from a second of timing the first run's network.

    Raises InputError where the disk lacks room.
    """
    seconds_per_forward = 0.0
    if plan.waiting:
        first = plan.study.runs[0].config
        dataset = data_registry.load(first.data, home)
        network = model_registry.build(first.network, dataset.task)
        images = dataset.normalise(dataset.train_images[:250])
        seconds_per_forward = _time_forward(network.eval(), images, plan.study.threads)
        seconds_per_forward /= len(images)
    runs = (*plan.study.runs, *plan.study.control_runs())
    count = sum(len(run.config.stored_steps) for run in runs)
    work = sum(unit.cost for unit in plan.waiting)
    return Forecast(count, check_room(plan, home), work * seconds_per_forward / workers)


@torch.inference_mode()
def _time_forward(network: torch.nn.Module, images: torch.Tensor, threads: int) -> float:
    with cpu_threads(threads):
        network(images)
        started = time.monotonic()
        repeats = 0
        while time.monotonic() - started < 1:
            network(images)
            repeats += 1
        return (time.monotonic() - started) / repeats
