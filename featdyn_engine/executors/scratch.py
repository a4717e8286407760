"""A home of a worker's own, for one job: what it needs is fetched, what it made is brought back."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from featdyn_engine.checkpoints import RESUME
from featdyn_engine.domain import Job
from featdyn_engine.storage import DATA, SHARED, Storage, by_weight, local_names
from featdyn_engine.units import Failure, attempt, failure_of

# How much of a training a lost node may cost.
PUSH_SECONDS = 60.0
PREFIX = "featdyn-worker-"


@dataclass(frozen=True)
class Done:
    """What became of a job: why it failed, if it did, and the names of the files that it made."""

    failure: Failure | None
    names: tuple[str, ...] = ()


@lru_cache(1)
def _own_home() -> tuple[Path, FileLock]:
    """Make the scratch home of this process, and remove those of processes that were killed.

    The lock is held as long as the process lives: it tells the two apart.
    """
    for other in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(Timeout, OSError), FileLock(other / "lock", timeout=0):
            shutil.rmtree(other, ignore_errors=True)
    home = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = FileLock(home / "lock")
    lock.acquire()
    return home, lock


@lru_cache(4)
def _storage(url: str) -> Storage:
    storage = Storage(url)
    _fetch_data(storage, _own_home()[0])
    return storage


def _fetch_data(storage: Storage, home: Path) -> None:
    """Fetch downloaded data sets once a machine; all its workers read the same files."""
    key = hashlib.sha256(storage.url.encode()).hexdigest()[:12]
    shared = Path(tempfile.gettempdir()) / f"featdyn-data-{os.getuid()}-{key}"
    shared.mkdir(exist_ok=True, mode=0o700)
    with FileLock(shared / "lock"):
        wanted = storage.names(DATA) - local_names(shared, DATA)
        storage.get(sorted(wanted), shared)
    (shared / DATA).mkdir(exist_ok=True)
    (home / DATA).unlink(missing_ok=True)
    (home / DATA).symlink_to(shared / DATA)


@contextmanager
def _emptied(home: Path) -> Iterator[Path]:
    for folder in SHARED:
        shutil.rmtree(home / folder, ignore_errors=True)
    try:
        yield home
    finally:
        for folder in SHARED:
            shutil.rmtree(home / folder, ignore_errors=True)


class _Exchange:
    """What a job's scratch home and the storage have both, so that only what is new goes over."""

    def __init__(self, storage: Storage, home: Path) -> None:
        self.storage, self.home = storage, home
        self._known: dict[str, int] = {}
        self.sent: set[str] = set()

    def fetch(self, names: Sequence[str]) -> None:
        self.storage.get(names, self.home)
        self._known |= {name: self._written(name) for name in names}

    def send(self) -> None:
        names = local_names(self.home, *SHARED)
        fresh = {name for name in names if self._written(name) != self._known.get(name)}
        for group in by_weight(fresh):
            self.storage.put(group, self.home)
        self._known |= {name: self._written(name) for name in fresh}
        self.sent |= fresh

    def _written(self, name: str) -> int:
        return (self.home / name).stat().st_mtime_ns


def perform(
    job: Job, needs: Sequence[str], url: str, threads: int, progress: Callable[[float], None]
) -> Done:
    """Do a job in a scratch home on files of a storage; ``needs`` are their names.

    A training sends its checkpoints once a minute and goes on from those that another worker sent.
    """
    try:
        storage = _storage(url)
        with _emptied(_own_home()[0]) as home:
            exchange = _Exchange(storage, home)
            begun = {f"runs/{unit.run_id}" for unit in job.units if job.kind == "metrics"}
            exchange.fetch(sorted({*needs, *storage.names(*begun)}))
            sent_at = time.monotonic()

            def report(share: float) -> None:
                nonlocal sent_at
                progress(share)
                if begun and time.monotonic() - sent_at > PUSH_SECONDS:
                    exchange.send()
                    sent_at = time.monotonic()

            failure = attempt(job, home, threads, report)
            exchange.send()
            if failure is None:
                for folder in begun:
                    storage.remove(f"{folder}/{RESUME}")
            # With what another worker had sent of the same training before it was lost.
            made = exchange.sent | local_names(home, *begun)
            names = (name for name in sorted(made) if not name.endswith(f"/{RESUME}"))
            return Done(failure, tuple(names))
    except Exception as problem:  # of the network, of the storage
        return Done(failure_of(problem))
