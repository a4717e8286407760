"""Study files: TOML in, validated run configurations and analysis settings out.

A study names data, a network, a recipe and checkpoints once; each arm overrides what differs.
Every error is one line: file, field, what was expected, what came.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from featdyn_engine.analyses.registry import ANALYSES
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import (
    DataConfig,
    Device,
    InputError,
    NetworkConfig,
    Recipe,
    RunConfig,
    Seed,
    Seeds,
    Share,
    Unit,
)
from featdyn_engine.models import registry as model_registry
from featdyn_engine.training import steps_per_epoch
from featdyn_engine.validation import Location, dotted, validated

Seedings = Annotated[tuple[Seed | Seeds, ...], Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("text on one line")
    return name


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Checkpoints(_Section):
    """When to store: at steps or at the ends of epochs. The first and the last always are."""

    steps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    epochs: tuple[Annotated[float, Field(ge=0)], ...] = ()


class Arm(_Section):
    """One condition of a study: a name, and tables that override the study's own."""

    name: Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_printable)]
    label_noise: Share | None = None
    seeds: Seedings | None = None
    data: dict[str, Any] = {}
    network: dict[str, Any] = {}
    training: dict[str, Any] = {}


class StudyFile(_Section):
    """The layout of a study file; sections that become engine objects are checked again there."""

    name: Slug
    title: str = ""
    data: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]
    checkpoints: Checkpoints = Checkpoints()
    label_noise: Share = 0.0
    seeds: Seedings = (0,)
    must_fit: Share | None = None
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    analyses: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class StudyRun:
    """A run as a study knows it: its arm, its name within the study, its configuration."""

    arm: str
    name: str
    config: RunConfig
    train_size: int


@dataclass(frozen=True)
class Study:
    """A validated study and its text. ``must_fit``: training accuracy every run has to end with."""

    name: str
    title: str
    text: str
    must_fit: float | None
    runs: tuple[StudyRun, ...]
    analyses: tuple[tuple[str, Any], ...]

    def units(self) -> list[Unit]:
        """Every unit of work of its analyses, without trainings and evaluation sets."""
        return [
            unit
            for kind, settings in self.analyses
            for run in self.runs
            for unit in ANALYSES[kind].units(settings, run.config)
        ]


class _ArmReader:
    """Reads one arm: the study's tables with the arm's own values put over them."""

    def __init__(self, study: StudyFile, index: int) -> None:
        self.study = study
        self.index = index
        self.arm = study.arms[index]

    def _owner(self, section: str) -> str:
        """Begin an error about a section that this arm overrides."""
        return f"arms[{self.index}]." if getattr(self.arm, section) else ""

    def merged(self, section: str) -> dict[str, Any]:
        own = getattr(self.arm, section)
        base = getattr(self.study, section)
        if {"steps", "epochs"} & set(own):
            base = {key: value for key, value in base.items() if key not in ("steps", "epochs")}
        return {**base, **own}

    def read(self, section: str, kind: Any, content: Any) -> Any:
        own = getattr(self.arm, section)

        def place(keys: Location) -> str:
            name = dotted((section, *keys))
            return f"arms[{self.index}].{name}" if keys and keys[0] in own else name

        return validated(kind, content, place)

    def recipe(self, train_size: int) -> tuple[Recipe, int]:
        """Return the recipe, epochs turned into steps, and the steps of an epoch."""
        training = self.merged("training")
        prefix = f"{self._owner('training')}training"
        # Looked at first, as epochs can't be turned into steps without them.
        batch_size = training.get("batch_size", Recipe.batch_size)
        checked = {**training, "steps": 1, "batch_size": batch_size}
        epochs = checked.pop("epochs", None)
        self.read("training", Recipe, checked)
        per_epoch = steps_per_epoch(train_size, batch_size)
        if ("epochs" in training) == ("steps" in training):
            came = "both; keep one" if epochs is not None else "neither; add one"
            raise InputError(f"{prefix}: expected steps or epochs, got {came}")
        if epochs is not None:
            del training["epochs"]
            passes = validated(Positive, epochs, lambda keys: f"{prefix}.epochs")
            training["steps"] = max(round(passes * per_epoch), 1)
        recipe: Recipe = self.read("training", Recipe, training)
        return recipe, per_epoch

    def checkpoint_steps(self, recipe: Recipe, per_epoch: int) -> tuple[int, ...]:
        wanted = self.study.checkpoints
        asked = {*wanted.steps, *(round(epoch * per_epoch) for epoch in wanted.epochs)}
        beyond = [step for step in asked if step > recipe.steps]
        if beyond:
            raise InputError(
                f"{self._owner('training')}checkpoints: expected steps up to the last one, "
                f"{recipe.steps}, got {min(beyond)}"
            )
        return tuple(sorted({0, *asked, recipe.steps}))

    def seeds(self) -> list[Seeds]:
        place = f"arms[{self.index}].seeds" if self.arm.seeds else "seeds"
        result: list[Seeds] = []
        for seed in self.arm.seeds or self.study.seeds:
            same = seed if isinstance(seed, Seeds) else Seeds(init=seed, order=seed, labels=seed)
            if same in result:
                raise InputError(f"{place}: expected different seeds, got {seed!r} twice")
            result.append(same)
        return result

    def runs(self, device: Device) -> list[StudyRun]:
        data: DataConfig = self.read("data", DataConfig, self.merged("data"))
        network: NetworkConfig = self.read("network", NetworkConfig, self.merged("network"))
        try:
            dataset = data_registry.load(data)
        except InputError as problem:
            raise InputError(f"{self._owner('data')}{problem}") from None
        try:
            model_registry.cuts(network)
        except InputError as problem:
            raise InputError(f"{self._owner('network')}{problem}") from None
        train_size = len(dataset.train_labels)
        recipe, per_epoch = self.recipe(train_size)
        steps = self.checkpoint_steps(recipe, per_epoch)
        noise = self.study.label_noise if self.arm.label_noise is None else self.arm.label_noise
        result = []
        for seeds in self.seeds():
            config = RunConfig(
                data=data,
                network=network,
                recipe=recipe,
                checkpoints=steps,
                label_noise=noise,
                seeds=seeds,
                device=device,
            )
            label = f"seed {seeds.init}"
            if not seeds.init == seeds.order == seeds.labels:
                label = f"seeds {seeds.init}, {seeds.order}, {seeds.labels}"
            name = f"{self.arm.name}, {label}"
            result.append(StudyRun(self.arm.name, name, config, train_size))
        return result


def _analysis(entry: dict[str, Any], index: int) -> tuple[str, Any]:
    prefix = f"analyses[{index}]"
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in ANALYSES:
        known = ", ".join(sorted(ANALYSES))
        came = "none; add it" if kind is None else repr(kind)
        raise InputError(f"{prefix}.kind: expected one of {known}, got {came}")
    options = {key: value for key, value in entry.items() if key != "kind"}
    settings = validated(ANALYSES[kind].Settings, options, lambda keys: dotted((prefix, *keys)))
    return kind, settings


def _study(text: str, device: Device) -> Study:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise InputError(f"expected TOML, got a syntax error: {problem}") from None
    file: StudyFile = validated(StudyFile, content, dotted)
    names = [arm.name for arm in file.arms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"arms: expected different names, got {twice!r} twice")
    study = Study(
        name=file.name,
        title=file.title or file.name,
        text=text,
        must_fit=file.must_fit,
        runs=tuple(run for i in range(len(names)) for run in _ArmReader(file, i).runs(device)),
        analyses=tuple(_analysis(entry, i) for i, entry in enumerate(file.analyses)),
    )
    for i, run in enumerate(study.runs):
        same = next((other for other in study.runs[:i] if other.config == run.config), None)
        if same:
            raise InputError(
                f"arms: expected different runs, got the same for {same.name!r} and {run.name!r}"
            )
    try:
        study.units()
    except InputError as problem:
        raise InputError(f"analyses: {problem}") from None
    return study


def parse(text: str, source: str, device: Device = "cpu") -> Study:
    """Validate the text of a study file; ``source`` names it in errors.

    Raises InputError with one line: file, field, what was expected, what came.
    """
    try:
        return _study(text, device)
    except InputError as problem:
        raise InputError(f"{source}: {problem}") from None


def read(path: Path, device: Device = "cpu") -> Study:
    """Read and validate a study file. Raises InputError (see ``parse``)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path}: expected a readable study file (TOML), got: {reason}") from None
    return parse(text, str(path), device)
