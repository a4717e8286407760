"""Frozen value objects, shared by every room of the house. Nothing here imports torch.

Numeric ranges are part of the types (``annotated_types``), so that a study file, a test and a
notebook are held to the same bounds by one declaration.
"""

import hashlib
import json
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt

Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Gt(0)]
Step = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
Split = Literal["train", "test"]
Norm = Literal["inherit"]
Device = Literal["cpu", "cuda", "mps"]

# pydantic reads this from a plain dataclass: an unknown key, or inf, in a study file is an error.
STRICT = {"extra": "forbid", "allow_inf_nan": False}


class InputError(ValueError):
    """Wrong input by a user: one line that says what was expected, what came, what to do."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A training set: its source, the seed of its split, and how much of it is used.

    ``train_size`` examples are taken from the training split in the order of ``split_seed``;
    ``None`` takes all of them. The test split is never reduced here.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    train_size: Count | None = None
    split_seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """An entry of the network registry and its options."""

    __pydantic_config__: ClassVar = STRICT
    name: str
    norm_layer: Literal["batch"] = "batch"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. Defaults: He et al. 2016 (arXiv 1512.03385), section 4.2.

    ``milestones`` are shares of ``steps`` at which a ``step`` schedule multiplies the learning
    rate by ``gamma``; the other schedules ignore both.
    """

    __pydantic_config__: ClassVar = STRICT
    steps: Count
    batch_size: Count = 128
    lr: Annotated[float, Gt(0)] = 0.1
    optimizer: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    schedule: Literal["constant", "step", "one_cycle"] = "step"
    milestones: tuple[Share, ...] = (0.5, 0.75)
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Three sources of chance, kept apart: initial weights, order of the data, label noise."""

    __pydantic_config__: ClassVar = STRICT
    init: Seed = 0
    order: Seed = 0
    labels: Seed = 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that can change the numbers of a run; its hash is the run's identity.

    Threads are part of it: on a CPU one and two threads sum in another order, and the weights
    differ after two epochs.
    """

    data: DataConfig
    network: NetworkConfig
    recipe: Recipe
    checkpoints: tuple[int, ...]
    label_noise: Share = 0.0
    seeds: Seeds = Seeds()
    threads: Count = 1
    device: Device = "cpu"
    precision: Literal["float32"] = "float32"

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits, equal for equal configurations on every machine."""
        return identity(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RunConfig":
        """Build a configuration from the content of a run's ``config.json``."""
        recipe = dict(content["recipe"])
        recipe["milestones"] = tuple(recipe["milestones"])
        parts = {
            "data": DataConfig(**content["data"]),
            "network": NetworkConfig(**content["network"]),
            "recipe": Recipe(**recipe),
            "seeds": Seeds(**content["seeds"]),
            "checkpoints": tuple(content["checkpoints"]),
        }
        return cls(**{**content, **parts})


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """A fixed set of examples with the labels that they are scored against.

    ``labels = "trained_on"`` means the labels that the run saw, noise included; then the noise
    fraction and its seed belong to the identity of the set. Images are normalised by the mean
    and standard deviation of ``data``'s training set.
    """

    data: DataConfig
    split: Split
    n: Count | None = None
    subset_seed: Seed = 0
    labels: Literal["true", "trained_on"] = "true"
    label_noise: Share = 0.0
    seed_labels: Seed = 0
    corruption: str = "none"
    severity: Annotated[int, Ge(0), Le(5)] = 0

    @property
    def eval_id(self) -> str:
        """Twelve hexadecimal digits, equal for equal sets."""
        return identity(self)


@dataclass(frozen=True)
class Cut:
    """A place to cut a network: after block ``name``, which leaves ``depth`` shallow blocks."""

    name: str
    depth: int


@dataclass(frozen=True)
class Checkpoint:
    """A stored state of a run. ``step`` counts updates done; 0 is the untrained network."""

    step: int
    epoch: float
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of work: what one worker does in one go, and one Parquet part when it is done.

    ``spec`` is what the unit's kind needs to know; ``needs`` names units that come first;
    ``cost`` is its expected work in forward passes of one image.
    """

    kind: str
    unit_id: str
    label: str
    spec: Any
    run_id: str | None = None
    needs: tuple[str, ...] = ()
    cost: float = 1.0


def interior_cuts(block_names: list[str]) -> list[Cut]:
    """Every cut that leaves at least one block on either side: depths 1 to L - 1."""
    return [Cut(name, depth) for depth, name in enumerate(block_names[:-1], start=1)]


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def canonical(value: Any) -> Any:
    """Plain data for hashing: a dataclass becomes a dict without the fields at their default.

    A field added later with a default that changes nothing therefore leaves every earlier
    identity as it was.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: canonical(getattr(value, field.name))
            for field in fields(value)
            if getattr(value, field.name) != _default(field)
        }
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    return value


def identity(value: Any) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
