"""Fixtures of the tests of data: nothing remembered between tests, the real data where it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from featdyn_engine.data import registry

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def forget() -> None:
    registry.load.cache_clear()
    registry._whole.cache_clear()


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"the real data are not at {SHARED}")
    return SHARED
