"""FEATDYN_HOME: the folder that holds the database, the runs and the parts."""

import fcntl
import json
import os
from pathlib import Path

VARIABLE = "FEATDYN_HOME"


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
