"""The analyses that a study can ask for: one line each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from featdyn_engine.analyses import (
    comparators,
    connectivity,
    consistency,
    controls,
    corruptions,
    displacement,
    divergences,
    memory,
    noise,
    probes,
    splices,
    trajectories,
)
from featdyn_engine.domain import RunConfig, Unit

# Rows by kind of part: a unit may write companions beside the part of its own kind.
Tables = dict[str, pa.Table]


class Analysis(Protocol):
    """What an analysis module offers, beside the frozen dataclass of its units' ``spec``."""

    @property
    def Settings(self) -> type:  # noqa: N802
        """A frozen dataclass: the analysis' table in a study file, with its defaults."""

    @property
    def TABLE(self) -> pa.Schema:  # noqa: N802
        """The columns of its rows."""

    def compute(
        self, spec: Any, home: Path, progress: Callable[[float], None]
    ) -> pa.Table | Tables:
        """Do one unit: load, call science, return rows of TABLE, with companions if any."""


class Measurement(Analysis, Protocol):
    """An analysis of networks, on the evaluation sets of its settings (``asked.py``)."""

    def units(self, settings: Any, run: RunConfig, home: Path) -> list[Unit]:
        """Plan the work on a run. Raises InputError for settings that don't fit its network."""


class Summary(Analysis, Protocol):
    """An analysis of other analyses' parts."""

    def units(self, settings: Any, planned: Sequence[Unit]) -> list[Unit]:
        """Plan the work on a run from the units of other analyses that are planned on it."""


MEASUREMENTS: dict[str, Measurement] = {
    "splices": splices,
    "controls": controls,
    "displacement": displacement,
    "comparators": comparators,
    "connectivity": connectivity,
    "probes": probes,
    "corruptions": corruptions,
    "trajectories": trajectories,
    "divergences": divergences,
    "noise": noise,
}
SUMMARIES: dict[str, Summary] = {
    "consistency": consistency,
    "memory": memory,
}
ANALYSES: dict[str, Analysis] = {**MEASUREMENTS, **SUMMARIES}
# Runs that a study's analysis needs besides the study's own: (why, run).
EXTRA_RUNS: dict[str, Callable[[Any, RunConfig], list[tuple[str, RunConfig]]]] = {
    "controls": controls.extra_runs,
}
# How units of one bundle are done in one go: specifications in, the tables of each out.
TOGETHER: dict[str, Callable[[Sequence[Any], Path, Callable[[float], None]], list[Tables]]] = {
    "splices": splices.compute_together,
    "controls": controls.compute_together,
}
