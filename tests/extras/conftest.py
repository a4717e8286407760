"""Tests against the real Lightning, transformers and timm: `make test-extras` runs them."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.extras)
            # Of other people's packages.
            item.add_marker(pytest.mark.filterwarnings("default"))
            if os.environ.get("FEATDYN_EXTRAS") != "1":
                reason = "needs lightning, transformers and timm: run `make test-extras`"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def torchvision_first() -> None:
    """Beside a CPU build of torch, torchvision can be imported only so; these packages do."""
    from featdyn_engine.vision import torchvision_models

    torchvision_models()
