"""docs/examples: each runs from beginning to end, into a home of its own."""

import importlib
import sys
from pathlib import Path

import pytest

from featdyn_engine import verification
from featdyn_engine.factories import VARIABLE
from featdyn_engine.science.execution import cpu_threads

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "digits")


def test_every_network_asked_for_has_an_example() -> None:
    assert EXAMPLES == [
        "huggingface_vit",
        "import_vit_b_16",
        "lightning_module",
        "plain_loop_resnet18",
        "timm_convnext",
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.syspath_prepend(FOLDER)
    with cpu_threads(1):
        run_id = importlib.import_module(name).main(tmp_path)
    assert (tmp_path / "runs" / run_id).is_dir()
    assert list((tmp_path / "parts" / "splices").glob("*.parquet"))
    assert verification.verify(tmp_path).findings == ()
    sys.modules.pop(name, None)
