"""``featdyn snapshot``: a read-only copy of some studies, for hosting.

A snapshot is a home with a manifest (``snapshot.json``: every file with its SHA-256) and without
most parts: it is read, never added to.
"""

import platform
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featdyn_engine import __version__, folders, halving, learning_rates, restored
from featdyn_engine import manifest as manifests
from featdyn_engine.api import load_evaluation, load_run
from featdyn_engine.checkpoints import listing, run_folder
from featdyn_engine.data import bundled
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Checkpoint, DataConfig, EvalConfig, InputError, RunConfig
from featdyn_engine.files import write_json
from featdyn_engine.parts import part_path
from featdyn_engine.pipeline import engine_lock
from store.connection import MIGRATIONS
from store.extract import Extracted, compact, extract, keep_images, replace_checkpoints, rewrite
from store.home import MANIFEST, database_path, revision

FORMAT = 1
PACKAGES = ("torch", "duckdb", "polars", "pyarrow", "streamlit")
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a snapshot holds.

    ``studies``: none named takes all. ``bare``: studies, besides, of which results alone are taken,
    without checkpoints and predictions for each example. ``steps``: those of the checkpoints, None
    for all of them. ``half``: store weights as float16 where no prediction of a check set changes.
    ``images``: data sets besides the embedded ones whose licence, says the user, allows to pass
    their images on. ``max_mb``: the most megabytes that all files may have.
    """

    studies: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    steps: tuple[int, ...] | None = None
    half: bool = False
    images: tuple[str, ...] = ()
    max_mb: float | None = None


def parsed_steps(words: str) -> tuple[int, ...] | None:
    """Read ``all`` (None), ``none`` or steps with commas between. Raises InputError for others."""
    if words == "all":
        return None
    if words == "none":
        return ()
    items = [item.strip() for item in words.split(",")]
    if not all(item.isdecimal() and item.isascii() for item in items):
        raise InputError(f"--checkpoints: expected all, none or steps like 0,60,660, got {words!r}")
    return tuple(sorted({int(item) for item in items}))


def snapshot(home: Path, out: Path, choice: Choice, say: Callable[[str], None]) -> dict[str, Any]:
    """Write a snapshot of a home to ``out``, whole or not at all; return its manifest.

    An older snapshot there is replaced. Raises InputError where ``out`` is anything else, for
    choices that the home doesn't offer, and where the budget is passed; StoreError and
    StoreMissingError as reading does.
    """
    if out.is_symlink() or (out.exists() and not (out / MANIFEST).is_file()):
        raise InputError(
            f"{out}: expected a new path or a snapshot to replace, got something else; "
            "name another path, or remove it yourself"
        )
    with engine_lock(home, f"featdyn snapshot {out}"):
        fresh = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex}.partial")
        fresh.mkdir(parents=True)
        try:
            manifest = _fill(home, fresh, choice, say)
            _take_place(fresh, out)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def _take_place(fresh: Path, out: Path) -> None:
    if not out.exists():
        fresh.rename(out)
        return
    old = fresh.with_suffix(".replaced")
    out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old)


def _fill(home: Path, out: Path, choice: Choice, say: Callable[[str], None]) -> dict[str, Any]:
    extracted = extract(database_path(home), database_path(out), choice.studies, choice.bare)
    rewrite(database_path(out), folders.shortened, folders.shortened_toml)
    chosen = _checkpoints(home, extracted, choice)
    configs = [load_run(home, run_id) for run_id in chosen]
    sets = _sets(home, extracted.eval_ids)
    sources = _sources(configs, sets, choice.images, home)
    keep_images(
        database_path(out),
        [
            each.eval_id
            for each in sets
            if all(sources[name].brought for name in _names(each, home))
        ],
    )
    # Its size is what the budget is held against first.
    compact(database_path(out))
    planned = sum(each.bytes for found in chosen.values() for each in found)
    least = planned / 2 if choice.half else planned
    _check_budget(choice, out, least)

    (out / "revision").write_text(f"{revision(home)}\n")
    for run_id in chosen:
        run_folder(out, run_id).mkdir(parents=True)
        config = (run_folder(home, run_id) / "config.json").read_text()
        (run_folder(out, run_id) / "config.json").write_text(folders.shortened(config) + "\n")
        told = run_folder(home, run_id) / learning_rates.FILE
        if told.is_file():
            shutil.copy(told, run_folder(out, run_id))
    for eval_id in extracted.eval_ids:
        _copy_evaluation(home, out, eval_id)
    for source in sources.values():
        if source.brought:
            path = bundled.path_of(source.config, out)
            bundled.write(data_registry.whole(source.config, home), path)
    halved = _copy_checkpoints(home, out, chosen, choice.half, say)
    # Folders of this machine were cut down in the rows; no old block may keep them.
    compact(database_path(out))
    _check_budget(choice, out, 0)
    manifest = _manifest(home, out, choice, extracted, chosen, sources, halved)
    write_json(out / MANIFEST, manifest)
    return manifest


def _sets(home: Path, eval_ids: Sequence[str]) -> list[EvalConfig]:
    """Load what the evaluation sets are; one that this version can't read brings no images."""
    found = []
    for eval_id in eval_ids:
        with suppress(TypeError, KeyError):
            found.append(load_evaluation(home, eval_id))
    return found


def _copy_evaluation(home: Path, out: Path, eval_id: str) -> None:
    """Copy the part that says what an evaluation set is: networks are scored on it live."""
    table = pq.read_table(part_path(home, "evaluations", eval_id))
    configs = pa.array([folders.shortened(text) for text in table["config"].to_pylist()])
    table = table.set_column(table.column_names.index("config"), "config", configs)
    part = part_path(out, "evaluations", eval_id)
    part.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, part, compression="zstd")


def _checkpoints(home: Path, extracted: Extracted, choice: Choice) -> dict[str, list[Checkpoint]]:
    """Choose the checkpoints of every run that has begun; of named steps, those of arms alone.

    A restored run has those whose weights came with it.

    Raises InputError for unknown steps.
    """
    folders_of = {run_id: run_folder(home, run_id) for run_id in extracted.run_ids}
    stored = {
        run_id: _with_weights(home, run_id) if run_id in extracted.whole_run_ids else []
        for run_id, folder in folders_of.items()
        if (folder / "config.json").is_file()
    }
    if choice.steps is None:
        return stored
    arms = {run_id: found for run_id, found in stored.items() if run_id in extracted.arm_run_ids}
    known = {each.step for found in arms.values() for each in found}
    for step in choice.steps:
        if step not in known:
            raise InputError(
                f"--checkpoints: expected steps that some run of an arm stored "
                f"({', '.join(map(str, sorted(known)))}), got {step}"
            )
    return {
        run_id: [each for each in arms.get(run_id, []) if each.step in choice.steps]
        for run_id in stored
    }


def _with_weights(home: Path, run_id: str) -> list[Checkpoint]:
    folder = run_folder(home, run_id)
    note = restored.of(folder)
    return [each for each in listing(folder) if note is None or each.step not in note.left]


@dataclass(frozen=True)
class _Source:
    """A data set of the chosen studies; ``brought``: its images come along; why, or why not."""

    config: DataConfig
    brought: bool
    reason: str


def _sources(
    configs: Sequence[RunConfig], sets: Sequence[EvalConfig], allowed: Sequence[str], home: Path
) -> dict[str, _Source]:
    """Find data sets, by the name of their file.

    Raises InputError where ``allowed`` names another one.
    """
    used = [config.data for config in configs]
    used += [config for each in sets for config in (each.data, each.other) if config is not None]
    names = sorted({config.name for config in used})
    for name in allowed:
        if name not in names:
            raise InputError(
                f"--images: expected one of {', '.join(names) or 'none'}, got {name!r}"
            )
    found = {}
    for config in used:
        embedded = config.name in data_registry.EMBEDDED
        if embedded:
            source = _Source(config, True, "ships with scikit-learn under a free licence")
        elif config.name in allowed:
            source = _Source(config, True, f"--images {config.name}")
        else:
            source = _Source(config, False, "left out: its licence was not said to allow it")
        found[bundled.path_of(config, home).name] = source
    return found


def _names(config: EvalConfig, home: Path) -> list[str]:
    """Name the files of the data sets that an evaluation set is from, as ``_sources`` does."""
    used = [each for each in (config.data, config.other) if each is not None]
    return [bundled.path_of(each, home).name for each in used]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _check_budget(choice: Choice, out: Path, more: float) -> None:
    """Raise InputError where what is there and ``more`` bytes pass the budget."""
    there = _size(out)
    if choice.max_mb is not None and there + more > choice.max_mb * MB:
        parts = f"at least {more / MB:.1f} MB of checkpoints on top of " if more else ""
        raise InputError(
            f"--max-mb: expected at most {choice.max_mb:g} MB, got {parts}{there / MB:.1f} MB; "
            "name fewer steps (--checkpoints none), --half, or one --study"
        )


def _copy_checkpoints(
    home: Path,
    out: Path,
    chosen: dict[str, list[Checkpoint]],
    half: bool,
    say: Callable[[str], None],
) -> int:
    """Copy the chosen files with their records, halved where asked and harmless.

    Returns how many are in float16: halved now, or by the snapshot that a run was restored from.
    """
    records: list[tuple[str, int, str, int]] = []
    rounded_before = 0
    for run_id, found in chosen.items():
        wanted = [each.step for each in found]
        full, kept = wanted, []
        if half and wanted:
            kept = halving.halve(home, out, run_id, wanted)
            full = [step for step in wanted if step not in {each.step for each in kept}]
            if full:
                say(
                    f"run {run_id}: steps {', '.join(map(str, full))} kept in float32, since "
                    "float16 changes a prediction of the check set"
                )
        records += [(run_id, each.step, each.sha256, each.bytes) for each in kept]
        for step in full:
            for suffix in (".safetensors", ".json"):
                name = f"checkpoints/step-{step:08d}{suffix}"
                target = run_folder(out, run_id) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(run_folder(home, run_id) / name, target)
        note = restored.of(run_folder(home, run_id))
        rounded_before += len({*full} & {*note.rounded}) if note else 0
    if records:
        replace_checkpoints(database_path(out), records)
    return len(records) + rounded_before


def _manifest(
    home: Path,
    out: Path,
    choice: Choice,
    extracted: Extracted,
    chosen: dict[str, list[Checkpoint]],
    sources: dict[str, _Source],
    halved: int,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(home),
        "schema": len(MIGRATIONS),
        "versions": {
            "featdyn": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "studies": list(extracted.studies),
        "runs": len(extracted.run_ids),
        "checkpoints": sum(len(found) for found in chosen.values()),
        "checkpoints_in_float16": halved,
        "steps": "all" if choice.steps is None else list(choice.steps),
        "images": {
            name: {"data": source.config.name, "included": source.brought, "why": source.reason}
            for name, source in sorted(sources.items())
        },
        "files": manifests.listing(out),
    }
