"""Recording somebody's own training loop: checkpoints as featdyn's own trainings leave them.

recorder = Recorder(model, home="var", schedule=30, steps=total)
for images, labels in loader:
    ...                                     # forward, backward, optimizer.step()
    recorder.step(optimizer.param_groups[0]["lr"])
recorder.finish()
"""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.optim import Optimizer

from featdyn_engine import checkpoints, learning_rates
from featdyn_engine.data import own
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    UNTOLD,
    DataConfig,
    InputError,
    NetworkConfig,
    Recipe,
    Recorded,
    RunConfig,
    RunFailedError,
)
from featdyn_engine.files import RECORDING_LOCK, write_json
from featdyn_engine.models import whole
from featdyn_engine.parts import part_path
from featdyn_engine.recipes.schedules import log_spaced

OPTIMIZERS = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw", "Muon": "muon"}


def _home(home: str | Path | None) -> Path:
    return Path(home or os.environ.get("FEATDYN_HOME") or "var").absolute()


def _planned(schedule: int | Sequence[int], steps: int | None, start: int) -> tuple[int, ...]:
    """Return the steps to store. Raises InputError for none, or a count without a last step."""
    if not isinstance(schedule, int):
        if not schedule or any(type(step) is not int or step < 0 for step in schedule):
            raise InputError(f"schedule: expected steps, numbers of updates, got {schedule!r}")
        return tuple(sorted(set(schedule)))
    if schedule < 2:
        raise InputError(f"schedule: expected 2 checkpoints or more, got {schedule}")
    if steps is None or steps <= start:
        raise InputError(
            f"steps: expected the number of updates of the whole training beside a count of "
            f"checkpoints, got {steps}; give steps, or a schedule of steps"
        )
    return log_spaced(schedule, steps)


def name_of(factory: str | Callable[..., nn.Module]) -> str:
    """Return ``module:factory`` of a function or class, or as given.

    Raises InputError for a text that isn't of that form.
    """
    if not isinstance(factory, str):
        return f"{factory.__module__}:{getattr(factory, '__qualname__', type(factory).__name__)}"
    if ":" not in factory:
        raise InputError(f"factory: expected module:factory, got {factory!r}")
    return factory


def data_config(data: Any, home: Path) -> DataConfig:
    """Return how a study names the data: named, kept as tensors, or not told.

    Raises InputError for data of another kind, and as its source does.
    """
    if data is None:
        return UNTOLD
    if isinstance(data, str):
        data = DataConfig(name=data)
    if isinstance(data, DataConfig):
        return data_registry.identified(data, home)
    if isinstance(data, tuple | list) and len(data) == 2:
        return own.keep(data[0], data[1], home / "data")
    raise InputError(
        "data: expected the name of a data set, a DataConfig or (train, test), got "
        f"{type(data).__name__}"
    )


def _recipe(
    optimizer: Optimizer | None, batch_size: int | None, steps: int
) -> tuple[Recipe, tuple[str, ...]]:
    """Return what is known of a recipe, and which of its fields these are."""
    told: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    if optimizer is not None:
        kind = OPTIMIZERS.get(type(optimizer).__name__)
        group = optimizer.param_groups[0]
        # Steps of these are not those of the optimiser that has the name.
        if kind is not None and not group.get("amsgrad") and not group.get("maximize"):
            told["optimizer"] = kind
            if "betas" in group:
                first, second = group["betas"]
                told |= {"betas": (float(first), float(second)), "eps": float(group["eps"])}
        told |= {
            key: group[key] for key in ("momentum", "nesterov", "weight_decay") if key in group
        }
    recipe = Recipe(**{"optimizer": "other", "schedule": "constant", "steps": steps, **told})
    return recipe, tuple(told)


def _is_first_process() -> bool:
    distributed = torch.distributed
    there = distributed.is_available() and distributed.is_initialized()
    return not there or distributed.get_rank() == 0


class Recorder:
    """Stores checkpoints of a network while its owner trains it.

    ``schedule``: steps (numbers of updates done), or a number of checkpoints, log-spaced over
    ``steps`` updates; the beginning and the end are stored always. ``blocks``: modules that end a
    block; None: found (``found_blocks``). ``data``: the name of a data set, a DataConfig, or
    (train, test), two torch datasets, which are kept in the home; a study may name it later.
    ``factory``, with ``options``: who makes such a network, for later; by default its class.
    ``optimizer`` tells the learning rate of every step, and with ``batch_size`` what SGD noise
    needs. ``steps_per_epoch`` turns steps into epochs; by default a step counts as one. ``shape``:
    of one image, (C, H, W); by default the data's, or one that passes. ``resume`` goes on with a
    run that was interrupted, from ``start`` updates on.

    Of a parallel training the first process alone records. Raises InputError for what can't be,
    before anything is written.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        home: str | Path | None = None,
        name: str = "recorded",
        schedule: int | Sequence[int] = 30,
        steps: int | None = None,
        blocks: Sequence[str] | None = None,
        data: Any = None,
        factory: str | Callable[..., nn.Module] | None = None,
        options: Mapping[str, Any] | None = None,
        optimizer: Optimizer | None = None,
        batch_size: int | None = None,
        steps_per_epoch: float = 1,
        shape: tuple[int, ...] | None = None,
        start: int = 0,
        resume: str | None = None,
    ) -> None:
        self.home = _home(home)
        self._model = whole.unwrapped(model)
        self._active = _is_first_process()
        self._optimizer = optimizer
        self._per_epoch = steps_per_epoch
        self._step = start
        self._planned = _planned(schedule, steps, start)
        self._wanted = frozenset(self._planned)
        if steps_per_epoch <= 0:
            raise InputError(f"steps_per_epoch: expected more than 0, got {steps_per_epoch}")
        if not self._active:
            self.run_id = ""
            return
        told = data_config(data, self.home)
        if shape is None and told != UNTOLD:
            task = data_registry.load(told, self.home).task
            shape = (task.channels, task.pixels, task.pixels)
        self.network, self._keys = whole.divided_copy(self._model, blocks, shape)
        recipe, known = _recipe(optimizer, batch_size, max(self._planned[-1], 1))
        self.config = RunConfig(
            data=told,
            network=NetworkConfig(
                name=name_of(type(self._model) if factory is None else factory),
                norm_layer="own",
                options=dict(options or {}),
                blocks=None if blocks is None else tuple(blocks),
            ),
            recipe=recipe,
            checkpoints=tuple(sorted({start, *self._planned})),
            recorded=Recorded(name=name, token=uuid.uuid4().hex[:12], by="recorder", told=known),
        )
        self._rates: list[learning_rates.Held] = []
        if resume is not None:
            self._take_up(resume)
        self.run_id = self.config.run_id
        self.folder = checkpoints.run_folder(self.home, self.run_id)
        self._lock = FileLock(self.folder / RECORDING_LOCK)
        self._begin()

    def _take_up(self, run_id: str) -> None:
        folder = checkpoints.run_folder(self.home, run_id)
        before = checkpoints.configuration(folder)
        if before is None or before.recorded is None:
            raise InputError(f"resume: expected a recorded run of {self.home}, got {run_id!r}")
        stored = checkpoints.listing(folder)
        if self._step and not any(each.step <= self._step for each in stored):
            raise InputError(f"start: expected a step of run {run_id}, got {self._step}")
        self.config = replace(self.config, recorded=before.recorded)
        self._rates = [held for held in learning_rates.load(folder) if held[0] < self._step]

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"resume: expected a run that nobody records, got {self.run_id}, which another "
                "process holds"
            ) from None
        # What a killed training stored past the step that it goes on from is of another one.
        checkpoints.remove_past(self.folder, self._step)
        part_path(self.home, "metrics", self.run_id).unlink(missing_ok=True)
        write_json(self.folder / "config.json", asdict(self.config))
        if self._step not in self._stored():
            self._save()

    def _stored(self) -> list[int]:
        return [each.step for each in checkpoints.listing(self.folder)]

    @property
    def updates(self) -> int:
        """How many updates are done."""
        return self._step

    def step(self, lr: float | None = None) -> None:
        """Count one update, right after the optimizer's; ``lr``: its learning rate."""
        self.after_step(self._step + 1, lr)

    def after_step(self, step: int, lr: float | None = None) -> None:
        """Say that ``step`` updates are done; ``lr``: the learning rate of the last.

        Raises InputError for a step that is not past the one before, RunFailedError where a
        checkpoint's weights are not finite.
        """
        if step <= self._step:
            raise InputError(
                f"after_step: expected more than {self._step} updates done, got {step}"
            )
        before, self._step = self._step, step
        if not self._active:
            return
        if lr is None and self._optimizer is not None:
            lr = self._optimizer.param_groups[0]["lr"]
        rate = None if lr is None else float(lr)
        if not self._rates or self._rates[-1][1] != rate:
            self._rates.append((before, rate))
        if step in self._wanted:
            self._save()

    def _save(self) -> None:
        state = self._model.state_dict()
        kept: dict[str, Tensor] = {}
        for own_key, key in self._keys.items():
            tensor = state[key].detach().to("cpu", copy=True)
            kept[own_key] = tensor.float() if tensor.is_floating_point() else tensor
            if not kept[own_key].isfinite().all():
                raise RunFailedError(
                    self._step,
                    f"expected finite weights after step {self._step}, got others in {key}",
                )
        learning_rates.save(self.folder, self._rates)
        checkpoints.save(self.folder, self._step, self._step / self._per_epoch, kept)

    def finish(self) -> str:
        """Store the last state and what the run has become; return its run_id."""
        if self._active and self._lock.is_locked:
            if self._step not in self._stored():
                self._save()
            self._close()
        return self.run_id

    def _close(self) -> None:
        learning_rates.save(self.folder, self._rates)
        stored = self._stored()
        changes: dict[str, Any] = {"steps": max(stored[-1], 1)}
        recorded = self.config.recorded
        rates = [rate for _, rate in self._rates if rate]
        if recorded is not None and rates:
            changes["lr"] = rates[0]
            told = dict.fromkeys((*recorded.told, "lr"))
            recorded = replace(recorded, told=tuple(told))
        recipe = replace(self.config.recipe, **changes)
        self.config = replace(
            self.config, recipe=recipe, checkpoints=tuple(stored), recorded=recorded
        )
        write_json(self.folder / "config.json", asdict(self.config))
        self._lock.release()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        elif self._active:
            self._close()
