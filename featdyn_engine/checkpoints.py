"""Checkpoint files: safetensors with a hash, written so that no kill leaves half of one.

A run's folder holds ``config.json``, ``checkpoints/step-00000012.safetensors`` each with a
``.json`` beside it (step, epoch, sha256, bytes), and, while training goes on,
``resume.safetensors``. A checkpoint exists when its ``.json`` does: it is written last.
``derived/`` holds what is made from checkpoints, in the same form.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from featdyn_engine import restored
from featdyn_engine.domain import Checkpoint, InputError, RunConfig
from featdyn_engine.files import sha256_of, write_json, write_tensors

RESUME = "resume.safetensors"
RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def run_folder(home: Path, run_id: str) -> Path:
    """Folder of a run under a home."""
    return home / "runs" / run_id


def configuration(folder: Path) -> RunConfig | None:
    """Return the configuration of a run's folder, None where there is none."""
    path = folder / "config.json"
    return RunConfig.from_json(json.loads(path.read_text())) if path.is_file() else None


def path_of(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies in a run's folder."""
    return folder / "checkpoints" / f"step-{step:08d}.safetensors"


def save(folder: Path, step: int, epoch: float, state: Mapping[str, Tensor]) -> Checkpoint:
    """Store a state dict as the checkpoint of ``step`` in a run's folder."""
    path = path_of(folder, step)
    write_tensors(path, state)
    checkpoint = Checkpoint(step, epoch, sha256_of(path), path.stat().st_size)
    write_json(path.with_suffix(".json"), asdict(checkpoint))
    return checkpoint


def listing(folder: Path) -> list[Checkpoint]:
    """Return the finished checkpoints of a run's folder, by step."""
    records = sorted((folder / "checkpoints").glob("step-*.json"))
    return [Checkpoint(**json.loads(record.read_text())) for record in records]


def remove_past(folder: Path, step: int) -> None:
    """Remove the checkpoints after a step, their records first."""
    for checkpoint in listing(folder):
        if checkpoint.step > step:
            path = path_of(folder, checkpoint.step)
            path.with_suffix(".json").unlink()
            path.unlink(missing_ok=True)


def load(folder: Path, step: int, rounded: bool = False) -> dict[str, Tensor]:
    """Load the state dict of a step, its hash checked.

    ``rounded``: also weights that a snapshot has rounded to float16, from which no result is made.
    Raises FileNotFoundError where there is none, InputError where its file was lost, changed or
    left behind by a snapshot.
    """
    path = path_of(folder, step)
    record = json.loads(path.with_suffix(".json").read_text())
    note = restored.of(folder)
    if note and (step in note.left or (step in note.rounded and not rounded)):
        got = "rounded to float16" if step in note.rounded else "left behind"
        raise InputError(
            f"run {folder.name}: expected the weights of step {step} as training wrote them, got "
            f"them {got} by the snapshot that the run was restored from{restored.REMEDY}"
        )
    remedy = f"or remove {folder} and parts/metrics/{folder.name}.parquet and run the study again"
    if note:
        remedy = "or restore its snapshot anew, in another home"
    if not path.is_file():
        raise InputError(
            f"{path}: expected the file that its record beside it names, found none; put it back, "
            f"{remedy}"
        )
    if sha256_of(path) != record["sha256"]:
        raise InputError(
            f"{path}: expected the bytes that training wrote, got others (its hash differs); put "
            f"a sound copy in its place, {remedy}"
        )
    return safetensors.torch.load_file(path)


def problems(folder: Path, expected: Sequence[int]) -> Iterator[str]:
    """Say what is wrong with the checkpoints of a run, one line each; nothing for sound ones.

    ``expected``: steps that must be there. Found are files that are missing, truncated, altered
    or unreadable, and steps with equal weights. Those that a snapshot left behind are not missed.
    """
    note = restored.of(folder)
    left = note.left if note else ()
    records = {}
    for path in sorted((folder / "checkpoints").glob("step-*.json")):
        try:
            record = Checkpoint(**json.loads(path.read_text()))
            records[record.step] = record
        except (ValueError, TypeError):
            yield f"{path}: expected the record of a checkpoint, got something else"
    for step in expected:
        if step not in records:
            yield f"{path_of(folder, step)}: expected the checkpoint of step {step}, found none"
    seen: dict[str, int] = {}
    for step, record in sorted(records.items()):
        if step in left:
            continue
        path = path_of(folder, step)
        problem = _problem(path, record)
        if problem:
            yield f"{path}: {problem}"
            continue
        digest = _weights_digest(path)
        if digest in seen:
            yield (
                f"{path}: expected other weights at every step, got those of step {seen[digest]} "
                f"again at step {step}"
            )
        seen.setdefault(digest, step)


def _problem(path: Path, record: Checkpoint) -> str | None:
    if not path.is_file():
        return f"expected the file of step {record.step}, found none"
    size = path.stat().st_size
    if size < record.bytes:
        return f"expected {record.bytes} bytes, got {size}: truncated"
    if sha256_of(path) != record.sha256:
        return "expected the bytes that training wrote, got others: altered"
    return None


def _weights_digest(path: Path) -> str:
    """SHA-256 of a checkpoint's weights, without the running statistics of BatchNorm.

    These move in every step, so that equal weights would hide behind them.
    """
    digest = hashlib.sha256()
    with safetensors.safe_open(path, "numpy") as file:
        for name in sorted(file.keys()):
            if not name.endswith(RUNNING):
                digest.update(f"{name}\n".encode() + file.get_tensor(name).tobytes())
    return digest.hexdigest()


def save_derived(
    folder: Path, name: str, steps: Sequence[int], state: Mapping[str, Tensor]
) -> None:
    """Store a state dict made from the checkpoints of ``steps`` as ``derived/<name>``."""
    path = folder / "derived" / f"{name}.safetensors"
    write_tensors(path, state)
    about = {"steps": list(steps), "sha256": sha256_of(path), "bytes": path.stat().st_size}
    write_json(path.with_suffix(".json"), about)


def save_resume(folder: Path, groups: Mapping[str, Mapping[str, Tensor]], log: str) -> None:
    """Store from where to go on: groups of named tensors, and a text. There is only the newest."""
    tensors = {
        f"{group}/{name}": tensor
        for group, named in groups.items()
        for name, tensor in named.items()
    }
    write_tensors(folder / RESUME, tensors, {"log": log})


def load_resume(folder: Path) -> tuple[dict[str, dict[str, Tensor]], str]:
    """Return the groups and the text of the resume point; no text where there is none.

    An unreadable one counts as none: training from the start gives the same run.
    """
    path = folder / RESUME
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "optimizers": {}}
    try:
        with safetensors.safe_open(path, "pt") as file:
            log: str = file.metadata()["log"]
            for key in file.keys():  # noqa: SIM118  (not a mapping)
                group, name = key.split("/", 1)
                groups[group][name] = file.get_tensor(key)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError):
        return groups, ""
    return groups, log


def remove_resume(folder: Path) -> None:
    """Forget the resume point of a run that is over."""
    (folder / RESUME).unlink(missing_ok=True)
