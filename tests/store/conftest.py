"""Homes for the tests of the store: a copy of the finished one, and one without a database."""

import shutil
from pathlib import Path

import pytest

from store.results import ingest
from tests.store import cube


@pytest.fixture
def own_home(tiny_home: Path, tmp_path: Path) -> Path:
    """A copy of the finished tiny home that a test may change."""
    return Path(shutil.copytree(tiny_home, tmp_path / "home"))


@pytest.fixture
def unindexed_home(tiny_home: Path, tmp_path: Path) -> Path:
    """Files of the tiny home, without database and revision."""
    leave = shutil.ignore_patterns("featdyn.duckdb*", "revision", "engine.*")
    return Path(shutil.copytree(tiny_home, tmp_path / "home", ignore=leave))


@pytest.fixture
def own_cube_home(cube_home: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(cube_home, tmp_path / "cube"))


@pytest.fixture(scope="session")
def full_home(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study and the one made up by hand: rows in every view. Tests must not write."""
    home = Path(shutil.copytree(tiny_home, tmp_path_factory.mktemp("full") / "home"))
    ingest(home, cube.write_all(home))
    return home
