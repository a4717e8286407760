"""Examples: those that a network is trained on, and those that it is scored on."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from featdyn_engine.domain.terms import (
    STRICT,
    Count,
    Positive,
    Seed,
    Severity,
    Sha256,
    Share,
    Split,
)
from featdyn_engine.identity import NOT_IDENTITY, identity, rebuilt


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
