"""Where to read from: the home's own database, or the one that FEATDYN_STORE names.

FEATDYN_STORE is a database file, a folder that holds one, or an http(s) address. What lies at an
address is copied into the folder for temporary files and looked at again once a minute.
"""

import hashlib
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

from store.home import OTHER_STORE, StoreError, database_path, home_from_environment, revision

MOST_BYTES = 2 * 2**30
LOOK_AGAIN_SECONDS = 60.0
TIMEOUT_SECONDS = 30.0
CHUNK = 1 << 20

_lock = threading.Lock()
_looked: dict[str, float] = {}
_tags: dict[str, str] = {}


def database_from_environment(home: Path | None = None) -> Path:
    """Return the database file that FEATDYN_STORE stands for, or else the home's (FEATDYN_HOME).

    Raises StoreError for a FEATDYN_STORE that is not there, or can't be fetched for the first time.
    """
    asked = os.environ.get(OTHER_STORE)
    if not asked:
        return database_path(home_from_environment() if home is None else home)
    if asked.startswith(("http://", "https://")):
        return _fetched(asked)
    if "://" in asked:
        raise StoreError(
            f"{OTHER_STORE}: expected a path, http:// or https://, got {asked!r}; "
            "mount or copy it, and name the path"
        )
    path = Path(asked).absolute()
    path = database_path(path) if path.is_dir() else path
    if not path.is_file():
        raise StoreError(f"{OTHER_STORE}: expected a database at {path}, found none")
    return path


def state(path: Path) -> str:
    """Tell one content of a database file from another: caches key on it.

    Size and date as well as the counter beside it, since a snapshot may take another's place.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return "none"
    return f"{revision(path.parent)}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder of this process's own for copies; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="featdyn-store-")


def _fetched(address: str) -> Path:
    """Return the copy of a remote database, made or brought up to date where it is time to."""
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    path = Path(_folder().name) / f"{name}.duckdb"
    with _lock:
        if path.exists() and time.monotonic() < _looked.get(address, 0.0) + LOOK_AGAIN_SECONDS:
            return path
        try:
            _download(address, path)
        except (OSError, ValueError) as problem:
            # Better yesterday's store than none.
            if not path.exists():
                raise StoreError(
                    f"{OTHER_STORE}: expected a database at {address}, got: {problem}"
                ) from problem
        _looked[address] = time.monotonic()
    return path


def _download(address: str, path: Path) -> None:
    request = urllib.request.Request(address)
    if path.exists() and address in _tags:
        request.add_header("If-None-Match", _tags[address])
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as problem:
        if problem.code == 304:
            return
        raise
    fresh = path.with_suffix(".partial")
    try:
        with answer, fresh.open("wb") as file:
            size = 0
            while chunk := answer.read(CHUNK):
                size += len(chunk)
                if size > MOST_BYTES:
                    raise ValueError(f"more than {MOST_BYTES // 2**20} MiB")
                file.write(chunk)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    _tags[address] = answer.headers.get("ETag", "")
