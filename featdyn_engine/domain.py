"""Frozen value objects, shared by every room of the house. Nothing here imports torch.

Numeric ranges are part of the types (``annotated_types``), so that a study file, a test and a
notebook are held to the same bounds by one declaration.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen

from featdyn_engine.identity import NOT_IDENTITY, identity, rebuilt

Share = Annotated[float, Ge(0), Le(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]
Decay = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Gt(0)]
Step = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
Sha256 = Annotated[str, Len(64, 64)]
Severity = Annotated[int, Ge(0), Le(5)]
Split = Literal["train", "test"]
Norm = Literal["inherit", "recalibrate", "recalibrate_deep", "none"]
# "own": what a factory of the user does, which featdyn doesn't know.
NormLayer = Literal["batch", "group", "layer", "none", "own"]
Control = Literal[
    "other_seed",
    "other_seed_matched",
    "same_init",
    "twin",
    "random_parameters",
    "other_example",
    "other_example_same_class",
    "mirror",
    "random_features",
]
Device = Literal["cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16"]
Augmentation = Literal["crop", "flip"]
# "other": of a training that featdyn has not done.
Optimizer = Literal["sgd", "adam", "adamw", "muon", "other"]

# Controls of a splice, and the objection that each answers (docs/notation.md).
CONTROLS = {
    "other_seed": "any shallow part would do",
    "other_seed_matched": "any network of this kind would do, once its channels are matched",
    "same_init": "it is only the common initialisation",
    "twin": "it is only the common beginning of the training",
    "random_parameters": "any change of the parameters of this size would do",
    "other_example": "the direction in which an example's features moved doesn't matter",
    "other_example_same_class": "only the class of the example matters",
    "mirror": "the sign of the movement doesn't matter",
    "random_features": "any change of the features of this size would do",
}

# pydantic reads this from a plain dataclass: an unknown key, or inf, in a study file is an error.
STRICT = {"extra": "forbid", "allow_inf_nan": False}


class InputError(ValueError):
    """Wrong input by a user: one line that says what was expected, what came, what to do."""


class RunFailedError(RuntimeError):
    """A training that can't go on: ``step`` counts updates done, the message gives the cause."""

    def __init__(self, step: int, cause: str) -> None:
        super().__init__(cause)
        self.step = step


@dataclass(frozen=True)
class Task:
    """What a network takes and gives: C channels, pixels x pixels images, K classes."""

    channels: int
    pixels: int
    classes: int


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A training set: its source, the seed of its split, and how much of it is used.

    ``train_size`` examples are drawn from the training split by ``split_seed``; ``None`` takes
    all of them. ``balanced`` draws equally many of each class. The test split is never reduced
    here. ``permute_pixels`` moves the pixels of every image, in both splits, by one fixed
    permutation. ``sha256`` covers the decoded images and labels of a source that is read from
    files, so that equal names never hide other data; ``folder`` and ``title`` are where it lies
    and how pages call it, and no part of its identity. ``mean`` and ``std``, one number a channel
    for pixels in [0, 1], take the place of the training set's own.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    train_size: Count | None = None
    split_seed: Seed = 0
    balanced: bool = False
    permute_pixels: bool = False
    sha256: Sha256 | None = None
    folder: str | None = field(default=None, metadata=NOT_IDENTITY)
    title: str | None = field(default=None, metadata=NOT_IDENTITY)
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None


# Of a run whose data nobody has named yet.
UNTOLD = DataConfig(name="untold")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """An entry of the network registry, or ``module:factory`` in the user's own code.

    ``options`` are the architecture's own, or keyword arguments of the factory. ``blocks`` names
    the modules of a factory's network that end a block; None: as returned, or found.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    norm_layer: NormLayer = "batch"
    options: dict[str, Any] = field(default_factory=dict)
    blocks: Annotated[tuple[str, ...], MinLen(1)] | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. Defaults: He et al. 2016 (arXiv 1512.03385), section 4.2.

    ``momentum`` and ``nesterov`` are SGD's and Muon's, ``betas`` and ``eps`` Adam's and AdamW's.
    ``milestones`` are shares of ``steps`` at which a ``step`` schedule multiplies the learning
    rate by ``gamma``; the other schedules ignore both. ``warmup`` is the share of the steps over
    which the rate first climbs; None: 0.3 for ``one_cycle``, else 0. ``clip_norm`` bounds the
    gradient's 2-norm. Training ends at the first epoch whose running accuracy reaches
    ``stop_at``. At a checkpoint ``monitor`` fixed examples of each split are scored, at the last
    one all of them.
    """

    __pydantic_config__: ClassVar = STRICT
    steps: Count
    batch_size: Count = 128
    lr: Positive = 0.1
    optimizer: Optimizer = "sgd"
    momentum: Decay = 0.9
    nesterov: bool = False
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    schedule: Literal["constant", "step", "cosine", "one_cycle"] = "step"
    milestones: tuple[Share, ...] = (0.5, 0.75)
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1
    warmup: Decay | None = None
    label_smoothing: Decay = 0.0
    clip_norm: Positive | None = None
    augmentation: tuple[Augmentation, ...] = ()
    stop_at: PositiveShare | None = None
    monitor: Count = 2000


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Three sources of chance, kept apart: initial weights, order of the data, label noise."""

    __pydantic_config__: ClassVar = STRICT
    init: Seed = 0
    order: Seed = 0
    labels: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A run that is its parent up to ``step``, then sees its data in the order of ``order``."""

    __pydantic_config__: ClassVar = STRICT
    step: Count
    order: Seed


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """Blocks 1 .. ``depth`` held still from ``from_step`` on, weights and running statistics.

    ``part = "deep"`` freezes, as a control, the one block behind the cut (never the last) whose
    parameter count comes nearest to theirs. ``weights_of``: the shallow part is taken from the
    parent's checkpoint of that step instead of from this run.
    """

    __pydantic_config__: ClassVar = STRICT
    depth: Count
    from_step: Step = 0
    part: Literal["shallow", "deep"] = "shallow"
    weights_of: Step | None = None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Explicit temporal augmentation: the deep part also learns from stored shallow parts.

    From ``from_step`` on, the first ``share`` of each mini-batch passes through blocks
    1 .. ``depth`` of one stored checkpoint (evaluation mode, no gradient), drawn anew for every
    mini-batch: among ``steps`` of the parent, or, where these are empty, among all that this run
    has stored so far, or the latest ``window`` of them. With ``share = 1`` its own shallow part
    therefore stands still; with less nothing is frozen, and replay is a way to train.
    ``source = "current"``, a control of the same cost: the share passes, in the same mode and
    without gradient, through the run's own shallow part as it is, so that nothing is old.
    """

    __pydantic_config__: ClassVar = STRICT
    depth: Count
    steps: tuple[Step, ...] = ()
    share: PositiveShare = 1.0
    from_step: Step = 0
    window: Count | None = None
    source: Literal["stored", "current"] = "stored"


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


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """A fixed set of examples with the labels that they are scored against.

    ``labels = "trained_on"`` means the labels that the run saw, noise included; then the noise
    fraction and its seed belong to the identity of the set. Images are normalised by the mean
    and standard deviation of ``data``'s training set. ``corruption_folder`` holds the official
    files of a corrupted test split (CIFAR-10-C, CIFAR-100-C); ``corruption_sha256`` covers the
    images and labels read there. Without a folder they are made here, and ``corruption_version``
    says how. ``other``: the examples are another data set's, of the classes
    that both have, in the size and colours of ``data``.
    """

    __pydantic_config__: ClassVar = STRICT
    data: DataConfig
    split: Split
    n: Count | None = None
    subset_seed: Seed = 0
    labels: Literal["true", "trained_on"] = "true"
    label_noise: Share = 0.0
    seed_labels: Seed = 0
    corruption: str = "none"
    severity: Severity = 0
    corruption_sha256: Sha256 | None = None
    corruption_folder: str | None = field(default=None, metadata=NOT_IDENTITY)
    other: DataConfig | None = None
    corruption_version: Annotated[int, Ge(0)] = 0

    @property
    def source(self) -> DataConfig:
        """The data set whose examples these are."""
        return self.other or self.data

    @cached_property
    def eval_id(self) -> str:
        """Twelve hexadecimal digits, equal for equal sets."""
        return identity(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "EvalConfig":
        """Build a configuration from the JSON kept beside an evaluation set."""
        config: EvalConfig = rebuilt(cls, content)
        return config


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


def interior_cuts(block_names: list[str]) -> list[Cut]:
    """Every cut that leaves at least one block on either side: depths 1 to L - 1."""
    return [Cut(name, depth) for depth, name in enumerate(block_names[:-1], start=1)]
