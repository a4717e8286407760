"""The analyses that a study can ask for: one line each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from featdyn_engine.analyses import splices
from featdyn_engine.domain import EvalConfig, RunConfig, Unit


class Analysis(Protocol):
    """What an analysis module offers, beside the frozen dataclass of its units' ``spec``."""

    @property
    def Settings(self) -> type:  # noqa: N802
        """A frozen dataclass: the analysis' table in a study file, with its defaults."""

    @property
    def TABLE(self) -> pa.Schema:  # noqa: N802
        """The columns of its rows."""

    def evaluation_sets(self, settings: Any, run: RunConfig, home: Path) -> list[EvalConfig]:
        """Name the sets that a run is scored on."""

    def units(self, settings: Any, run: RunConfig, home: Path) -> list[Unit]:
        """Plan the work on a run. Raises InputError for settings that don't fit its network."""

    def compute(self, spec: Any, home: Path, progress: Callable[[float], None]) -> pa.Table:
        """Do one unit: load, call science, return rows of TABLE."""


ANALYSES: dict[str, Analysis] = {
    "splices": splices,
}
