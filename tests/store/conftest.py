"""Homes for the tests of the store: a copy of the finished one, and one without a database."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def own_home(tiny_home: Path, tmp_path: Path) -> Path:
    """A copy of the finished tiny home that a test may change."""
    return Path(shutil.copytree(tiny_home, tmp_path / "home"))


@pytest.fixture
def unindexed_home(tiny_home: Path, tmp_path: Path) -> Path:
    """Files of the tiny home, without database and revision."""
    leave = shutil.ignore_patterns("featdyn.duckdb*", "revision", "engine.*")
    return Path(shutil.copytree(tiny_home, tmp_path / "home", ignore=leave))
