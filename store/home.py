"""FEATDYN_HOME: the folder that holds the database, the runs and the parts; what may be written."""

import fcntl
import json
import os
from pathlib import Path

VARIABLE = "FEATDYN_HOME"
READ_ONLY = "FEATDYN_READONLY"
OTHER_STORE = "FEATDYN_STORE"
# The manifest of ``featdyn snapshot``: a home that has one is read and never written.
MANIFEST = "snapshot.json"


class StoreError(ValueError):
    """A store or home that can't be used: one line, what was expected, what came, what to do."""


class DamagedPartError(StoreError):
    """A Parquet part can't be read: one line with its path and the remedy."""


def home_from_environment() -> Path:
    """Return FEATDYN_HOME, by default ``var`` under the working folder. Creates nothing.

    Raises StoreError where that path, or one above it, is a file.
    """
    home = Path(os.environ.get(VARIABLE) or "var").absolute()
    for path in (home, *home.parents):
        if path.is_dir():
            return home
        if path.exists():
            raise StoreError(
                f"{VARIABLE}={home}: expected a folder, but {path} is a file; "
                f"set {VARIABLE} to another path"
            )
    return home


def engine_at_work(home: Path) -> dict[str, str] | None:
    """Say which engine holds a home: its pid, command, since (time of day); None: no one does.

    Reads alone. A killed engine leaves its ``engine.json``, but not its lock.
    """
    try:
        holder: dict[str, str] = json.loads((home / "engine.json").read_text())
        with (home / "engine.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder
    except (OSError, ValueError):
        return None
    return None


def is_read_only() -> bool:
    """Whether FEATDYN_READONLY is 1: then nothing is written, here or by the engine.

    Raises StoreError for a value other than 0 and 1, lest a typing error opens a store to writers.
    """
    value = os.environ.get(READ_ONLY, "")
    if value not in ("", "0", "1"):
        raise StoreError(f"{READ_ONLY}: expected 1 (or 0, or nothing), got {value!r}")
    return value == "1"


def refuse_to_write(home: Path, command: str) -> None:
    """Raise StoreError, before anything is written, where ``command`` may not write."""
    if is_read_only():
        raise StoreError(
            f"{READ_ONLY}=1: expected a command that only reads, got `{command}`; unset {READ_ONLY}"
        )
    if os.environ.get(OTHER_STORE):
        raise StoreError(
            f"{OTHER_STORE} is set: that store is read, never written, and `{command}` writes; "
            f"unset {OTHER_STORE}"
        )
    if (home / MANIFEST).exists():
        raise StoreError(
            f"{home}: expected a home to write to for `{command}`, got a snapshot, which is only "
            f"read; set {VARIABLE} to another folder"
        )


def database_path(home: Path) -> Path:
    """Path of the database of a home."""
    return home / "featdyn.duckdb"


def revision(home: Path) -> int:
    """Counter of ingests, 0 before the first: whoever caches rows keys on it."""
    try:
        return int((home / "revision").read_text())
    except FileNotFoundError:
        return 0


def next_revision(home: Path) -> None:
    """Replace the counter by the next number, atomically."""
    temporary = home / "revision.partial"
    temporary.write_text(str(revision(home) + 1))
    os.replace(temporary, home / "revision")
