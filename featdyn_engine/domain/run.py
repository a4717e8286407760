"""A run: one training, known by everything that can change its numbers, and what it stores."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from featdyn_engine.domain.data import DataConfig
from featdyn_engine.domain.network import NetworkConfig
from featdyn_engine.domain.recipe import Branch, Freeze, Recipe, Replay
from featdyn_engine.domain.terms import STRICT, Count, Device, Precision, Seed, Share
from featdyn_engine.identity import NOT_IDENTITY, identity, rebuilt


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Three sources of chance, kept apart: initial weights, order of the data, label noise."""

    __pydantic_config__: ClassVar = STRICT
    init: Seed = 0
    order: Seed = 0
    labels: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A training that featdyn has not done: recorded in somebody's own loop, or imported.

    What made its weights isn't known, so the run is what ``token`` says: the hash of the weights
    that were imported, or, for a recording, a number drawn when it began. ``told`` names the
    fields of the recipe that are known; the others say nothing.
    """

    name: str
    token: str
    by: Literal["recorder", "import"]
    told: tuple[str, ...] = field(default=(), metadata=NOT_IDENTITY)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that can change the numbers of a run; its hash is the run's identity.

    Threads are part of it: on a CPU one and two threads sum in another order, and the weights
    differ after two epochs. ``swa_from``: the checkpoints past this share of the steps are
    averaged into a derived one (SWA, Izmailov et al., arXiv 1803.05407). A run that is ``recorded``
    is known by that alone: its other fields say what there is to know of it.
    """

    data: DataConfig
    network: NetworkConfig
    recipe: Recipe
    checkpoints: tuple[int, ...]
    label_noise: Share = 0.0
    seeds: Seeds = Seeds()
    branch: Branch | None = None
    freeze: Freeze | None = None
    replay: Replay | None = None
    swa_from: Share | None = None
    threads: Count = 1
    device: Device = "cpu"
    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    recorded: Recorded | None = None

    @cached_property
    def run_id(self) -> str:
        """Twelve hexadecimal digits, equal for equal configurations on every machine."""
        return identity(self if self.recorded is None else self.recorded)

    @property
    def called(self) -> str:
        """The seeds of a run, or the name of a recorded one."""
        if self.recorded is not None:
            return self.recorded.name
        seeds = self.seeds
        if seeds.init == seeds.order == seeds.labels:
            return f"seed {seeds.init}"
        return f"seeds {seeds.init}, {seeds.order}, {seeds.labels}"

    @property
    def parent(self) -> "RunConfig | None":
        """The undisturbed run whose checkpoints this one starts from or draws on, if any."""
        from_parent = (
            self.branch is not None
            or (self.freeze is not None and self.freeze.weights_of is not None)
            or (self.replay is not None and len(self.replay.steps) > 0)
        )
        return replace(self, branch=None, freeze=None, replay=None) if from_parent else None

    @property
    def parent_steps(self) -> tuple[int, ...]:
        """Steps of the parent's checkpoints that this run needs."""
        steps: set[int] = set()
        if self.branch is not None:
            steps.add(self.branch.step)
        if self.freeze is not None and self.freeze.weights_of is not None:
            steps.add(self.freeze.weights_of)
        if self.replay is not None:
            steps.update(self.replay.steps)
        return tuple(sorted(steps))

    @property
    def stored_steps(self) -> tuple[int, ...]:
        """Steps that this run stores, unless it ends early: a branch has none before its step."""
        first = self.branch.step if self.branch is not None else 0
        return tuple(step for step in self.checkpoints if step >= first)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RunConfig":
        """Build a configuration from the content of a run's ``config.json``."""
        config: RunConfig = rebuilt(cls, content)
        return config


@dataclass(frozen=True)
class Checkpoint:
    """A stored state of a run. ``step`` counts updates done; 0 is the untrained network."""

    step: int
    epoch: float
    sha256: str
    bytes: int
