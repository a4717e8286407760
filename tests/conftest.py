"""Fixtures shared by all tests: a home with a finished tiny study, made once a session."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from store.results import ingest
from tests.cases import TINY_STUDY
from tests.store import cube


class Silent:
    """A watcher that shows nothing."""

    def start(self, waiting: Sequence[object], finished: int) -> None: ...
    def advance(self, unit: object, share: float) -> None: ...
    def end(self, unit: object, error: str | None) -> None: ...


def fill(home: Path, text: str = TINY_STUDY, workers: int = 1) -> None:
    """Run a study into a home."""
    from featdyn_engine import pipeline, planning, study

    with pipeline.engine_lock(home, "tests"):
        plan = planning.plan(study.parse(text, "tiny.toml", home), home)
        outcome = pipeline.run(plan, home, workers, Silent())
    assert not outcome.failures


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds the tiny study, finished. Tests must not write to it.

    The processes of pytest-xdist, whose folders lie side by side, share one.
    """
    apart = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if apart else base) / "tiny"
    with FileLock(f"{home}.lock"):
        if not home.is_dir():
            fill(home, workers=min(2, os.cpu_count() or 1))
    return home


@pytest.fixture(scope="session")
def cube_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the study made up by hand (tests/store/cube.py). Tests must not write to it."""
    home = tmp_path_factory.mktemp("cube")
    ingest(home, cube.write_all(home))
    return home
