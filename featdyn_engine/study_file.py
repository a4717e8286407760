"""The layout of a study file, section by section; docs/study.md describes every field.

Sections that become engine objects (data, network, training) are checked as those, once the
arms have put their own values over them.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from featdyn_engine.domain import Precision, Seed, Seeds, Share

Seedings = Annotated[tuple[Seed | Seeds, ...], Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Epochs = Annotated[float, Field(ge=0)]
Step = Annotated[int, Field(ge=0)]
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("text on one line")
    return name


Name = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_printable)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Checkpoints(_Section):
    """When to store: a list, or ``count`` of them. The first and the last always are."""

    steps: tuple[Step, ...] = ()
    epochs: tuple[Epochs, ...] = ()
    count: Annotated[int, Field(ge=2)] | None = None
    spacing: Literal["even", "log"] = "even"
    unit: Literal["steps", "epochs"] = "steps"


class Compute(_Section):
    """How the arithmetic of a training is done; part of a run's identity."""

    threads: Annotated[int, Field(gt=0)] = 1
    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False


class BranchTable(_Section):
    """Where a run leaves its parent, and the seed of its own data order from there."""

    step: Step | None = None
    epoch: Epochs | None = None
    order: Seed | None = None


class FreezeTable(_Section):
    """Which blocks are held still, and from when."""

    cut: str
    from_step: Step | None = None
    from_epoch: Epochs | None = None
    part: Literal["shallow", "deep"] = "shallow"
    weights_of: Literal["last"] | Step | None = None


class ReplayTable(_Section):
    """Which stored shallow parts the deep part also learns from."""

    cut: str
    steps: tuple[Step, ...] = ()
    epochs: tuple[Epochs, ...] = ()
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    from_step: Step | None = None
    from_epoch: Epochs | None = None
    window: Annotated[int, Field(gt=0)] | None = None
    source: Literal["stored", "current"] = "stored"


class Arm(_Section):
    """One condition of a study: a name, and tables that override the study's own."""

    name: Name
    # A recorded or imported run, or several: then nothing is trained.
    run: RunId | Annotated[tuple[RunId, ...], Field(min_length=1)] | None = None
    label_noise: Share | None = None
    seeds: Seedings | None = None
    data: dict[str, Any] = {}
    network: dict[str, Any] = {}
    training: dict[str, Any] = {}
    compute: dict[str, Any] = {}
    branch: BranchTable | None = None
    freeze: FreezeTable | None = None
    replay: ReplayTable | None = None
    # Replaced by its combinations before a file is checked (sweeps.py).
    sweep: dict[str, Any] = {}


class StudyFile(_Section):
    """The whole file."""

    name: Slug
    title: str = ""
    data: dict[str, Any] = {}
    network: dict[str, Any] = {}
    training: dict[str, Any] = {}
    compute: dict[str, Any] = {}
    checkpoints: Checkpoints = Checkpoints()
    label_noise: Share = 0.0
    seeds: Seedings = (0,)
    swa_from: Share | None = None
    must_fit: Share | None = None
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    analyses: tuple[dict[str, Any], ...] = ()
