"""Learning rates of a run: those of its schedule, or those that a recorder was told."""

import json
from collections.abc import Sequence
from pathlib import Path

from featdyn_engine.checkpoints import run_folder
from featdyn_engine.domain import RunConfig
from featdyn_engine.files import write_json
from featdyn_engine.recipes import schedules

FILE = "learning_rates.json"
# Where no rate was told: then weights by learning rate are weights by updates.
UNTOLD_RATE = 1.0

# From which update on a rate holds; None: not told.
Held = tuple[int, float | None]


def save(folder: Path, rates: Sequence[Held]) -> None:
    """Keep what a recorder was told: each rate with the update from which on it holds."""
    write_json(folder / FILE, list(rates))


def load(folder: Path) -> list[Held]:
    """Return what ``save`` has kept; nothing where nothing was."""
    path = folder / FILE
    if not path.is_file():
        return []
    return [(int(step), rate) for step, rate in json.loads(path.read_text())]


def learning_rates(run: RunConfig, home: Path, steps: int) -> list[float]:
    """Return the rates of the first ``steps`` updates of a run."""
    if run.recorded is None:
        return schedules.learning_rates(run.recipe, steps)
    held = load(run_folder(home, run.run_id))
    if not held:
        return [UNTOLD_RATE] * steps
    # A recording that began later: its first rate stands for what was before.
    ends = [*(begin for begin, _ in held[1:]), steps]
    found: list[float] = []
    for (_, rate), end in zip(held, ends, strict=True):
        found += [UNTOLD_RATE if rate is None else rate] * (min(end, steps) - len(found))
    return found


def rate_told(run: RunConfig, home: Path, step: int) -> float | None:
    """Return the rate of the update that led to ``step``; None where it isn't known."""
    if run.recorded is None:
        return schedules.learning_rate(run.recipe, max(step - 1, 0))
    held = load(run_folder(home, run.run_id))
    return next((rate for begin, rate in reversed(held) if begin <= max(step - 1, 0)), None)
