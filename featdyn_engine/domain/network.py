"""A network: what it takes and gives, how it is named, where it can be cut."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from featdyn_engine.domain.terms import STRICT, NormLayer


@dataclass(frozen=True)
class Task:
    """What a network takes and gives: C channels, pixels x pixels images, K classes."""

    channels: int
    pixels: int
    classes: int


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


@dataclass(frozen=True)
class Cut:
    """A place to cut a network: after block ``name``, which leaves ``depth`` shallow blocks."""

    name: str
    depth: int


def interior_cuts(block_names: list[str]) -> list[Cut]:
    """Every cut that leaves at least one block on either side: depths 1 to L - 1."""
    return [Cut(name, depth) for depth, name in enumerate(block_names[:-1], start=1)]
