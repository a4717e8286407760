"""Files that are there whole or not at all, whatever kills the process that writes them."""

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
from filelock import FileLock, Timeout
from torch import Tensor

TEMPORARY_SUFFIX = ".partial"
# The store reads the same variable (store/home.py); workers do without the store.
READ_ONLY = "FEATDYN_READONLY"


def is_read_only() -> bool:
    """Whether FEATDYN_READONLY is 1: no file is written, and no code of a data folder imported."""
    return os.environ.get(READ_ONLY) == "1"


# In a run's folder, held while somebody's own training writes there.
RECORDING_LOCK = "recording.lock"


def lock_is_free(path: Path) -> bool:
    """Whether nobody holds a lock; its holder may have been killed."""
    if is_read_only() or not path.exists():
        return True  # asking would write the lock's file
    try:
        with FileLock(path, timeout=0):
            return True
    except Timeout:
        return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, it takes the place of ``path`` at once.

    Raises OSError (EROFS) under FEATDYN_READONLY, as a read-only disk does: whoever can do without
    the file goes on.
    """
    if is_read_only():
        raise OSError(errno.EROFS, f"{READ_ONLY}=1, so nothing is written", str(path))
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
