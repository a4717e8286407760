"""Study files: TOML in, validated run configurations and analysis settings out.

A study names data, a network, a recipe and checkpoints once; each arm overrides what differs.
Every error is one line: file, field, what was expected, what came.
"""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featdyn_engine.analyses.registry import ANALYSES, EXTRA_RUNS, MEASUREMENTS, SUMMARIES
from featdyn_engine.arms import ArmReader, StudyRun
from featdyn_engine.comparisons import refuse_unequal_labels
from featdyn_engine.domain import Device, InputError, Unit
from featdyn_engine.study_file import StudyFile
from featdyn_engine.sweeps import expanded
from featdyn_engine.validation import Location, dotted, validated


@dataclass(frozen=True)
class Asked:
    """An analysis as a study asks for it: its kind and settings, and the arms that it is for."""

    kind: str
    settings: Any
    arms: frozenset[str]


@dataclass(frozen=True)
class Study:
    """A validated study and its text. ``must_fit``: training accuracy every run has to end with."""

    name: str
    title: str
    text: str
    must_fit: float | None
    runs: tuple[StudyRun, ...]
    analyses: tuple[Asked, ...]

    @property
    def threads(self) -> int:
        """CPU threads that a worker of this study needs."""
        return max(run.config.threads for run in self.runs)

    @property
    def measurements(self) -> list[tuple[str, Any, StudyRun]]:
        """Every analysis of networks that is asked for: its kind, settings, and a run."""
        return [
            (asked.kind, asked.settings, run)
            for run in self.runs
            for asked in self.analyses
            if asked.kind in MEASUREMENTS and run.arm in asked.arms
        ]

    def control_runs(self) -> list[StudyRun]:
        """List the runs that its controls need and no arm is, each named after what it is for."""
        known = {run.config.run_id for run in self.runs}
        found = []
        for kind, settings, run in self.measurements:
            if kind not in EXTRA_RUNS:
                continue
            for why, config in EXTRA_RUNS[kind](settings, run.config):
                if config.run_id not in known:
                    known.add(config.run_id)
                    name = f"{run.name}: {why.replace('_', ' ')}"
                    found.append(StudyRun(run.arm, name, config, run.train_size, "control"))
        return found

    def units(self, home: Path) -> list[Unit]:
        """Every unit of work of its analyses, without trainings and evaluation sets.

        Once each: two analyses may ask for the same.
        """
        planned: dict[str, Unit] = {}
        for kind, settings, run in self.measurements:
            for unit in MEASUREMENTS[kind].units(settings, run.config, home):
                # The one that keeps most, where two differ in that alone.
                if unit.unit_id not in planned or unit.companions:
                    planned[unit.unit_id] = unit
        for asked in self.analyses:
            if asked.kind not in SUMMARIES:
                continue
            for run in self.runs:
                if run.arm in asked.arms:
                    of_run = [unit for unit in planned.values() if unit.run_id == run.config.run_id]
                    for unit in SUMMARIES[asked.kind].units(asked.settings, of_run):
                        planned[unit.unit_id] = unit
        return list(planned.values())


def _analysis(entry: dict[str, Any], index: int, arms: dict[str, list[str]]) -> Asked:
    """Read one analysis; ``arms``: names in the file, each with those that its sweep makes."""
    prefix = f"analyses[{index}]"
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in ANALYSES:
        known = ", ".join(sorted(ANALYSES))
        came = "none; add it" if kind is None else repr(kind)
        raise InputError(f"{prefix}.kind: expected one of {known}, got {came}")
    wanted = entry.get("arms", list(arms))
    if not isinstance(wanted, list) or not wanted or not set(map(str, wanted)) <= set(arms):
        raise InputError(
            f"{prefix}.arms: expected a list of names among {', '.join(arms)}, got {wanted!r}"
        )
    options = {key: value for key, value in entry.items() if key not in ("kind", "arms")}
    settings = validated(ANALYSES[kind].Settings, options, lambda keys: dotted((prefix, *keys)))
    return Asked(kind, settings, frozenset(each for name in wanted for each in arms[name]))


def _study(text: str, home: Path, device: Device) -> Study:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise InputError(f"expected TOML, got a syntax error: {problem}") from None
    written = content.get("arms", [])
    arms, owners = expanded(written)
    content |= {"arms": arms} if "arms" in content else {}

    def place(keys: Location) -> str:
        if keys[:1] == ("arms",) and len(keys) > 1:
            return dotted(("arms", owners[int(keys[1])], *keys[2:]))
        return dotted(keys)

    file: StudyFile = validated(StudyFile, content, place)
    for section in ("data", "network", "training"):
        # What is trained needs all three; a run that was recorded may need none.
        if section not in content and any(arm.run is None for arm in file.arms):
            raise InputError(f"{section}: expected a value, got none; add it")
    names = [arm.name for arm in file.arms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"arms: expected different names, got {twice!r} twice")
    of_arm: dict[str, list[str]] = {}
    for name, owner in zip(names, owners, strict=True):
        of_arm.setdefault(written[owner]["name"], []).append(name)
    study = Study(
        name=file.name,
        title=file.title or file.name,
        text=text,
        must_fit=file.must_fit,
        runs=tuple(
            run
            for i, owner in enumerate(owners)
            for run in ArmReader(file, i, home, owner).runs(device)
        ),
        analyses=tuple(_analysis(entry, i, of_arm) for i, entry in enumerate(file.analyses)),
    )
    for i, run in enumerate(study.runs):
        same = next((other for other in study.runs[:i] if other.config == run.config), None)
        if same:
            raise InputError(
                f"arms: expected different runs, got the same for {same.name!r} and {run.name!r}"
            )
    for run in study.runs:
        parent = run.config.parent
        if parent and all(parent.run_id != other.config.run_id for other in study.runs):
            raise InputError(
                f"arms: expected the parent of {run.name!r} among the runs of the study, got "
                "none; add an arm with its data, network, training and seeds that neither "
                "branches, freezes nor replays"
            )
    refuse_unequal_labels(study.runs)
    try:
        study.units(home)
    except InputError as problem:
        raise InputError(f"analyses: {problem}") from None
    return study


def parse(text: str, source: str, home: Path, device: Device = "cpu") -> Study:
    """Validate the text of a study file; ``source`` names it in errors, ``home`` keeps the data.

    Raises InputError with one line: file, field, what was expected, what came.
    """
    try:
        return _study(text, home, device)
    except InputError as problem:
        raise InputError(f"{source}: {problem}") from None


def read(path: Path, home: Path, device: Device = "cpu") -> Study:
    """Read and validate a study file; networks of its own may lie beside it.

    Raises InputError (see ``parse``).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path}: expected a readable study file (TOML), got: {reason}") from None
    # Last on the path: a file beside the study must not hide an installed package. Workers
    # inherit it.
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    return parse(text, str(path), home, device)
