"""What is committed: no data set, no home, nothing large but the gallery."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_BYTES = 2e6
# Made by a run that takes its images from here.
OF_A_HOME = ("data/decoded/", "data/own/", "featdyn.duckdb", "engine.lock")


def test_nothing_large_is_committed_but_the_gallery() -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, text=True
    )
    names = [name for name in listed.stdout.split("\0") if name and not name.startswith("gallery/")]
    assert "README.md" in names
    assert not [name for name in names if any(part in name for part in OF_A_HOME)]
    there = [path for path in (ROOT / name for name in names) if path.is_file()]
    assert {path.name for path in there if path.stat().st_size > MOST_BYTES} == set()
