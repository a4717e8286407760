"""The work of a study, as it is handed to workers."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of work: what one worker does in one go, and one Parquet part when it is done.

    ``spec`` is what the unit's kind needs to know; ``needs`` names units that come first;
    ``cost`` is its expected work in forward passes of one image. Units of the same ``bundle``
    share most of their work: whoever does one does those that wait with it. ``companions`` are
    kinds of parts that it writes beside its own.
    """

    kind: str
    unit_id: str
    label: str
    spec: Any
    run_id: str | None = None
    needs: tuple[str, ...] = ()
    cost: float = 1.0
    bundle: str = ""
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """What a worker does in one go: a unit, or several of one bundle, one part each."""

    units: tuple[Unit, ...]

    @property
    def job_id(self) -> str:
        """Identity of its first unit."""
        return self.units[0].unit_id

    @property
    def kind(self) -> str:
        """The kind of all of its units."""
        return self.units[0].kind

    @property
    def label(self) -> str:
        """The work in words."""
        more = len(self.units) - 1
        return self.units[0].label + (f" and {more} more" if more else "")

    @property
    def needs(self) -> frozenset[str]:
        """Units that come first."""
        return frozenset(need for unit in self.units for need in unit.needs)

    @property
    def cost(self) -> float:
        """Expected work in forward passes of one image."""
        return sum(unit.cost for unit in self.units)
