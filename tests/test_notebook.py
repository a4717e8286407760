"""The example notebook runs: its cells here, and in a kernel of their own among the slow tests."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "examples" / "explore.ipynb"


def code() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_every_cell_runs_on_a_store(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATDYN_HOME", str(cube_home))
    names: dict[str, Any] = {}
    for cell in code():
        exec(compile(cell, "explore.ipynb", "exec"), names)
    assert names["study"] == "by-hand"
    assert len(names["matrix"]) == 16
    assert names["files"].svg().startswith(b"<svg")


def test_it_is_kept_with_its_pictures() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    drawn = [
        output
        for cell in cells
        for output in cell.get("outputs", [])
        if "vegaEmbed" in "".join(output.get("data", {}).get("text/html", ""))
    ]
    assert len(drawn) == 2


@pytest.mark.slow
def test_it_runs_in_a_kernel(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("FEATDYN_HOME", str(cube_home))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    errors = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "error"
    ]
    assert errors == []
