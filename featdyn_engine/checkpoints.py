"""Checkpoint files: safetensors with a hash, written so that no kill leaves half of one.

A run's folder holds ``config.json``, ``checkpoints/step-00000012.safetensors`` each with a
``.json`` beside it (step, epoch, sha256, bytes), and, while training goes on,
``resume.safetensors``. A checkpoint exists when its ``.json`` does: it is written last.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
from torch import Tensor

from featdyn_engine.domain import Checkpoint

TEMPORARY_SUFFIX = ".partial"


def run_folder(home: Path, run_id: str) -> Path:
    """Folder of a run under a home."""
    return home / "runs" / run_id


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, it takes the place of ``path`` at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically, keys in their order."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file atomically; ``metadata`` goes into its header."""
    with replacing(path) as temporary:
        # From memory rather than save_file: equal tensors give equal bytes and file mode.
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        temporary.write_bytes(safetensors.torch.save(contiguous, metadata))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _path(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}.safetensors"


def save(folder: Path, step: int, epoch: float, state: Mapping[str, Tensor]) -> Checkpoint:
    """Store a state dict as the checkpoint of ``step`` in a run's folder."""
    path = _path(folder, step)
    write_tensors(path, state)
    checkpoint = Checkpoint(step, epoch, sha256_of(path), path.stat().st_size)
    write_json(path.with_suffix(".json"), asdict(checkpoint))
    return checkpoint


def listing(folder: Path) -> list[Checkpoint]:
    """Return the finished checkpoints of a run's folder, by step."""
    records = sorted((folder / "checkpoints").glob("step-*.json"))
    return [Checkpoint(**json.loads(record.read_text())) for record in records]


def load(folder: Path, step: int) -> dict[str, Tensor]:
    """Load the state dict of a step, its hash checked.

    Raises FileNotFoundError where there is none, ValueError for a file that was changed.
    """
    path = _path(folder, step)
    record = json.loads(path.with_suffix(".json").read_text())
    if sha256_of(path) != record["sha256"]:
        raise ValueError(
            f"{path}: expected the bytes that training wrote, got others (its hash differs); "
            f"remove {folder} and parts/metrics/{folder.name}.parquet, then run the study again"
        )
    return safetensors.torch.load_file(path)
