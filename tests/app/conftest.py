"""AppTest takes the place of the main module; workers spawned by later tests would import it."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def main_module_kept() -> Iterator[None]:
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
