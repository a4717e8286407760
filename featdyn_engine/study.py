"""Study files: TOML in, validated run configurations and analysis settings out.

A study names data, a network, a recipe and checkpoints once; each arm overrides what differs.
Every error is one line: file, field, what was expected, what came.
"""

import difflib
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

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

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Checkpoints(_Section):
    """When to store: at steps or at the ends of epochs. The first and the last always are."""

    steps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    epochs: tuple[Annotated[float, Field(ge=0)], ...] = ()


class Arm(_Section):
    """One condition of a study: a name, and tables that override the study's own."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    label_noise: Share | None = None
    seeds: tuple[Seed | Seeds, ...] | None = None
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
    seeds: Annotated[tuple[Seed | Seeds, ...], Field(min_length=1)] = (0,)
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


def _place(location: tuple[int | str, ...]) -> str:
    text = ""
    for item in location:
        text += f"[{item}]" if isinstance(item, int) else f".{item}"
    return text.lstrip(".")


def _sentence(error: ErrorDetails, prefix: str, known: list[str]) -> str:
    # Union members and validators append their own names to a location; drop what isn't a key.
    location = tuple(
        item for item in error["loc"] if isinstance(item, int) or item.replace("_", "").isalpha()
    )
    place = ".".join(part for part in (prefix, _place(location)) if part)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        name = str(error["loc"][-1])
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
        return f"{place}: no such field; {hint}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{place}: expected a value, got none; add it"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    expected = expected.replace("a valid ", "a ").replace(" or equal to", " or equal to")
    if isinstance(error["input"], dict | list):
        return f"{place}: expected {expected}"
    return f"{place}: expected {expected}, got {error['input']!r}"


def _validated(source: str, prefix: str, kind: Any, content: Any, known: list[str]) -> Any:
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as problem:
        first = problem.errors()[0]
        raise InputError(f"{source}: {_sentence(first, prefix, known)}") from None


def _section(source: str, prefix: str, kind: Any, content: Any) -> Any:
    return _validated(source, prefix, kind, content, [field.name for field in fields(kind)])


def _steps(source: str, prefix: str, training: dict[str, Any], per_epoch: int) -> dict[str, Any]:
    training = dict(training)
    if "epochs" in training:
        if "steps" in training:
            raise InputError(f"{source}: {prefix}: expected steps or epochs, got both; keep one")
        epochs = training.pop("epochs")
        _validated(source, f"{prefix}.epochs", Annotated[float, Field(gt=0)], epochs, [])
        training["steps"] = max(round(epochs * per_epoch), 1)
    if "steps" not in training:
        raise InputError(f"{source}: {prefix}: expected steps or epochs, got neither; add one")
    return training


def _checkpoint_steps(
    source: str, wanted: Checkpoints, per_epoch: int, steps: int
) -> tuple[int, ...]:
    asked = {*wanted.steps, *(round(epoch * per_epoch) for epoch in wanted.epochs)}
    beyond = [step for step in asked if step > steps]
    if beyond:
        raise InputError(
            f"{source}: checkpoints: expected steps up to the last one, {steps}, got {min(beyond)}"
        )
    return tuple(sorted({0, *asked, steps}))


def _run_configs(source: str, study: StudyFile, index: int, device: Device) -> list[StudyRun]:
    arm = study.arms[index]

    def merged(section: str, kind: Any, content: dict[str, Any]) -> Any:
        override = getattr(arm, section)
        prefix = f"arms[{index}].{section}" if override else section
        return _section(source, prefix, kind, {**content, **override})

    data = merged("data", DataConfig, study.data)
    network = merged("network", NetworkConfig, study.network)
    try:
        dataset = data_registry.load(data)
        model_registry.cuts(network)
    except InputError as problem:
        raise InputError(f"{source}: {problem}") from None
    train_size = len(dataset.train_labels)
    training = {**study.training, **arm.training}
    batch_size = training.get("batch_size", Recipe(steps=1).batch_size)
    _validated(source, "training.batch_size", Annotated[int, Field(gt=0)], batch_size, [])
    per_epoch = steps_per_epoch(train_size, batch_size)
    prefix = f"arms[{index}].training" if arm.training else "training"
    with_steps = _steps(source, prefix, training, per_epoch)
    recipe: Recipe = _section(source, prefix, Recipe, with_steps)
    noise = study.label_noise if arm.label_noise is None else arm.label_noise
    runs = []
    for seed in arm.seeds or study.seeds:
        seeds = seed if isinstance(seed, Seeds) else Seeds(init=seed, order=seed, labels=seed)
        config = RunConfig(
            data=data,
            network=network,
            recipe=recipe,
            checkpoints=_checkpoint_steps(source, study.checkpoints, per_epoch, recipe.steps),
            label_noise=noise,
            seeds=seeds,
            device=device,
        )
        name = f"{arm.name}, seed {seeds.init}"
        runs.append(StudyRun(arm.name, name, config, train_size))
    return runs


def parse(text: str, source: str, device: Device = "cpu") -> Study:
    """Validate the text of a study file; ``source`` names it in errors.

    Raises InputError with one line: file, field, what was expected, what came.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise InputError(f"{source}: expected TOML, got a syntax error: {problem}") from None
    study = _validated(source, "", StudyFile, content, list(StudyFile.model_fields))
    names = [arm.name for arm in study.arms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"{source}: arms: expected different names, got {twice!r} twice")
    runs = [run for i in range(len(names)) for run in _run_configs(source, study, i, device)]
    analyses = []
    for index, entry in enumerate(study.analyses):
        prefix = f"analyses[{index}]"
        kind = entry.get("kind")
        if kind not in ANALYSES:
            raise InputError(
                f"{source}: {prefix}.kind: expected one of {', '.join(sorted(ANALYSES))}, "
                f"got {kind!r}"
            )
        options = {key: value for key, value in entry.items() if key != "kind"}
        analyses.append((kind, _section(source, prefix, ANALYSES[kind].Settings, options)))
    result = Study(
        name=study.name,
        title=study.title or study.name,
        text=text,
        must_fit=study.must_fit,
        runs=tuple(runs),
        analyses=tuple(analyses),
    )
    try:
        result.units()
    except InputError as problem:
        raise InputError(f"{source}: analyses: {problem}") from None
    return result


def read(path: Path, device: Device = "cpu") -> Study:
    """Read and validate a study file. Raises InputError (see ``parse``)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path}: expected a readable study file (TOML), got: {reason}") from None
    return parse(text, str(path), device)
