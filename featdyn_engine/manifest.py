"""The manifest of a snapshot: every file with its size and SHA-256, and whether they still fit."""

import json
from collections.abc import Iterator
from pathlib import Path

from featdyn_engine.files import sha256_of

NAME = "snapshot.json"


def listing(folder: Path) -> dict[str, dict[str, str | int]]:
    """Size and SHA-256 of every file under a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def findings(home: Path) -> Iterator[str]:
    """Say what in a snapshot is not as its manifest says, a line each; nothing for a sound one."""
    try:
        content = json.loads((home / NAME).read_text())
        files = {str(name): dict(about) for name, about in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        yield f"{home / NAME}: expected the manifest of a snapshot, got: {problem!r}"
        return
    there = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    for name in sorted(there - {*files, NAME}):
        yield f"{home / name}: expected only files of the manifest, got one more; remove it"
    for name, about in sorted(files.items()):
        path = home / name
        if name not in there:
            yield f"{path}: expected a file of {about.get('bytes')} bytes, found none; copy it anew"
        elif path.stat().st_size != about.get("bytes") or sha256_of(path) != about.get("sha256"):
            yield f"{path}: expected the bytes of the manifest, got others; copy it anew"
