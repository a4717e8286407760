"""The gallery and the findings that speak of it: what they say is what is computed."""

import re
from pathlib import Path

import polars as pl
import pytest
import torch

from app.report.document import answers, text
from featdyn_engine import api
from store import queries
from store.connection import reading
from tests.test_cli import featdyn

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "gallery"
# What `make gallery-anew` and `make findings` name, in their order.
NAMED = re.search(r"^STUDIES = ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
assert NAMED is not None
STUDIES = NAMED[1].replace("\\", "").split()
CUT, DEPTH = "stage1.2", 4
# Weights are kept in half precision where no prediction of their own network changes by it.
MOST_CHANGED = 0.01


def test_the_gallery_is_whole_and_small() -> None:
    result = featdyn(GALLERY, "verify")
    assert result.returncode == 0, result.stdout + result.stderr
    # Where the studies' data lay: cut down in the rows, and in no block left over.
    assert b"/shared/data" not in (GALLERY / "featdyn.duckdb").read_bytes()
    files = [path for path in GALLERY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30e6


def test_no_images_are_in_it_but_those_of_the_digits() -> None:
    with reading(GALLERY) as connection:
        shown = connection.execute(
            "SELECT DISTINCT dataset FROM trajectory_images JOIN evaluations USING (eval_id)"
        ).fetchall()
    assert shown == [("digits",)]


@pytest.mark.parametrize("shallow", [88, 660])
def test_a_cell_is_what_its_checkpoints_compute(shallow: int) -> None:
    with reading(GALLERY) as connection:
        runs = queries.study_runs(connection, "digits").filter(pl.col("arm") == "true labels")
        run_id = runs["run_id"][0]
        cells = queries.splice_cells(connection, [run_id], "test", "inherit")
    [cell] = cells.filter(
        pl.col("cut") == CUT, pl.col("shallow_step") == shallow, pl.col("deep_step") == 660
    ).to_dicts()
    early, late = (api.load_network(GALLERY, run_id, step) for step in (shallow, 660))
    images, labels = api.load_eval(GALLERY, cell["eval_id"])
    with torch.inference_mode():
        predicted = late[DEPTH:](early[:DEPTH](images)).argmax(dim=1)
    accuracy = (predicted == labels).double().mean().item()
    assert accuracy == pytest.approx(cell["accuracy"], abs=MOST_CHANGED)


def test_the_findings_are_those_of_the_gallery() -> None:
    with reading(GALLERY) as store:
        found = text(answers(store, STUDIES))
    assert (ROOT / "docs" / "findings.md").read_text(encoding="utf-8") == found


def test_every_figure_of_the_findings_is_named_in_them() -> None:
    named = re.findall(r"\(findings/(.*?\.png)\)", (ROOT / "docs" / "findings.md").read_text())
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs" / "findings").iterdir())
