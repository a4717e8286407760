"""A home's files in an object store, or in any folder that fsspec reaches, under the same names.

Names are relative to the home: ``parts/splices/<unit_id>.parquet``. A file appears whole or not
at all: object stores put an object in one go, elsewhere it is renamed into its place.
"""

import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import fsspec

from featdyn_engine.checkpoints import RESUME
from featdyn_engine.domain import InputError
from featdyn_engine.files import TEMPORARY_SUFFIX

# Those that show an object only once it is whole.
WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"}
# What a home and a storage have in common; the database is the home's alone.
SHARED = ("runs", "parts")
# Written again whenever an engine runs, by its driver alone; all else never changes.
REWRITTEN = ("parts/studies", "parts/failures")
DATA, DECODED = "data", "data/decoded"


class Storage:
    """The files of homes under an fsspec URL. Raises InputError for one that can't be reached."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._files, path = fsspec.url_to_fs(url)
            self._root = str(path).rstrip("/")
            self._files.ls(self._root, detail=False)
        except FileNotFoundError:
            pass
        except Exception as problem:
            reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            raise InputError(
                f"--storage {url}: expected a folder or bucket that fsspec reaches, got: {reason}"
            ) from problem
        protocols = self._files.protocol
        self._whole = bool(
            WHOLE & {protocols} if isinstance(protocols, str) else WHOLE & {*protocols}
        )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def names(self, *folders: str) -> set[str]:
        """List every file below folders, by name; a folder that there is not has none."""
        self._files.invalidate_cache()  # other processes write here too
        start = len(self._root) + 1
        found = (path for folder in folders for path in self._files.find(self._path(folder)))
        return {path[start:] for path in found if not path.endswith(TEMPORARY_SUFFIX)}

    def get(self, names: Sequence[str], home: Path) -> None:
        """Fetch files into a home, each whole or not at all."""
        if not names:
            return
        targets = [home / name for name in names]
        for folder in {target.parent for target in targets}:
            folder.mkdir(parents=True, exist_ok=True)
        fresh = [_beside(str(target)) for target in targets]
        try:
            self._files.get([self._path(name) for name in names], fresh)
            for path, target in zip(fresh, targets, strict=True):
                os.replace(path, target)
        finally:
            for path in fresh:
                Path(path).unlink(missing_ok=True)

    def put(self, names: Sequence[str], home: Path) -> None:
        """Bring files of a home here, each whole or not at all."""
        if not names:
            return
        sources = [str(home / name) for name in names]
        targets = [self._path(name) for name in names]
        if self._whole:
            self._files.put(sources, targets)
            return
        for folder in {target.rpartition("/")[0] for target in targets}:
            self._files.makedirs(folder, exist_ok=True)
        for source, target in zip(sources, targets, strict=True):
            fresh = _beside(target)
            self._files.put_file(source, fresh)
            self._files.mv(fresh, target)

    def remove(self, name: str) -> None:
        """Forget a file; nothing where there is none."""
        if self._files.exists(self._path(name)):
            self._files.rm_file(self._path(name))

    def pull(self, home: Path) -> int:
        """Fetch what others finished and the home lacks; return the number of files.

        Points to resume from stay: the worker that goes on fetches its own.
        """
        here = local_names(home, *SHARED)
        missing = [name for name in self.names(*SHARED) - here if not name.endswith(f"/{RESUME}")]
        # A part says that a unit is done, so it comes after what lies beside it.
        for names in by_weight(missing):
            self.get(names, home)
        return len(missing)

    def push(self, home: Path) -> None:
        """Bring here what the home has and others may need: runs, parts, downloaded data."""
        here = local_names(home, *SHARED, DATA) - local_names(home, DECODED)
        fresh = local_names(home, *REWRITTEN)
        for names in by_weight((here - self.names(*SHARED, DATA)) | fresh):
            self.put(names, home)


def _beside(path: str) -> str:
    return f"{path}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"


def local_names(home: Path, *folders: str) -> set[str]:
    """List every file of a home below folders, by name."""
    found = (path for folder in folders for path in (home / folder).rglob("*"))
    return {
        path.relative_to(home).as_posix()
        for path in found
        if path.is_file() and not path.name.endswith(TEMPORARY_SUFFIX)
    }


def by_weight(names: Iterable[str]) -> list[list[str]]:
    """Part files into groups, of which a later one says that an earlier one is whole.

    Weights, then their records, the point to resume from, then parts.
    """
    groups: list[list[str]] = [[], [], [], []]
    for name in sorted(names):
        if name.startswith("parts/"):
            groups[3].append(name)
        elif name.endswith(RESUME):
            groups[2].append(name)
        else:
            groups[1 if name.endswith(".json") else 0].append(name)
    return groups
