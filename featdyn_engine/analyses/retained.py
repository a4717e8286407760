"""Rows of retention under the last deep part, with limits: of a run's cube, or a control's."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from featdyn_engine.analyses.predicted import Cube
from featdyn_engine.analyses.scored import Bootstrap, Recorded
from featdyn_engine.science.consistency import chance
from featdyn_engine.science.intervals import retention_interval


def retention_rows(
    setting: Bootstrap, cube: Cube, null: Recorded | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the retention of each earlier shallow part under the run's last deep part.

    Limits: 95 % over examples, Fieller, chance held fixed. None where the accuracy of the last
    network is too close to chance. A control's cells are held against the run's own last network.
    """
    last = cube.deep_steps[-1]
    source = cube if null is None else null.cube
    if last not in source.deep_steps:
        return
    own = cube.predicted[cube.shallow_steps.index(last), -1]
    deep = source.deep_steps.index(last)
    there = source.present[:, deep]
    steps = [
        step
        for step, is_there in zip(source.shallow_steps, there.tolist(), strict=True)
        if is_there and step < last
    ]
    if not steps:
        return
    chosen = [source.shallow_steps.index(step) for step in steps]
    cells = source.predicted[chosen, deep]
    found = retention_interval(
        (cells == setting.targets).numpy(),
        (own == setting.targets).numpy(),
        _chance(setting, cells).numpy(),
        _chance(setting, own).numpy(),
    )
    name, replicate = ("none", 0) if null is None else null.control[:2]
    for step, *values in zip(steps, *(each.tolist() for each in found), strict=True):
        known = [None if value != value else value for value in values]
        yield {
            "control": name,
            "replicate": replicate,
            "shallow_step": step,
            "deep_step": last,
            **dict(zip(("retention", "retention_low", "retention_high"), known, strict=True)),
        }


def _chance(setting: Bootstrap, predicted: Tensor) -> Tensor:
    """Chance of predictions, uint8 (..., N): float64 (...)."""
    labels = _shares(setting.targets, setting.classes)
    return chance(labels, _shares(predicted, setting.classes))


def _shares(classes_of: Tensor, classes: int) -> Tensor:
    """Share of each class among (..., N): float64 (..., K)."""
    counted = [(classes_of == k).double().mean(dim=-1) for k in range(classes)]
    return torch.stack(counted, dim=-1)
