"""The Splice lab: computed on the tiny study, from the store where nothing can be computed."""

import io
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from app import charts, live, outcome
from app.desk import RESTARTED, Full, Waiting
from app.outcome import KINDS, Outcome
from app.views import lab
from store import queries
from store.connection import reading
from store.results import ingest
from tests.app.test_views import opened, text_of
from tests.store import cube

SECONDS = 120


@pytest.fixture(scope="module", autouse=True)
def desk_closed() -> Iterator[None]:
    """Other tests of this process need no worker."""
    yield
    live.desk().close()
    live.desk.clear()  # type: ignore[attr-defined]


def finished(test: AppTest) -> AppTest:
    """Ask again, as the page does by itself, until nothing is waited for."""
    deadline = time.monotonic() + SECONDS
    while test.get("progress"):
        assert time.monotonic() < deadline, "no answer"
        test.run()
    assert not test.exception
    return test


def opened_lab(home: Path, monkeypatch: pytest.MonkeyPatch, **parameters: str) -> AppTest:
    return finished(opened("lab", home, monkeypatch, **parameters))


def a_run(home: Path, arm: str = "true labels") -> dict[str, Any]:
    with reading(home) as connection:
        runs = queries.study_runs(connection, "tiny")
    return runs.filter(pl.col("arm") == arm).row(0, named=True)


def a_set(home: Path, run_id: str, split: str) -> str:
    with reading(home) as connection:
        sets = queries.evaluation_sets(connection, [run_id])
    return str(sets.filter(pl.col("split") == split)["eval_id"].item())


def titles(test: AppTest) -> list[str]:
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    return [spec["title"]["text"] for spec in specs if "title" in spec]


# Computed now


def test_the_page_computes_the_stored_number_and_shows_what_is_behind_it(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tiny_home)["run_id"]
    eval_id = a_set(tiny_home, run, "train")
    test = opened_lab(
        tiny_home, monkeypatch, run=run, eval=eval_id, shallow="8", deep="16", cut="stage2.0"
    )
    assert not test.warning
    with reading(tiny_home) as connection:
        about = (run, run, eval_id, "stage2.0", "inherit", [8, 16])
        cell = queries.stored_cell(connection, *about).row(0, named=True)
        changes = queries.stored_changes(connection, *about)
        classes = queries.stored_classes(connection, *about)
    assert test.metric[0].value == f"{cell['accuracy']:.1%}"
    text = text_of(test)
    assert f"**{cell['accuracy_low']:.1%} to {cell['accuracy_high']:.1%}**, 95 %" in text
    assert f"{cell['correct']} of n = 40 right" in text
    assert f"Agreement of both: {cell['agreement']:.1%}" in text
    assert f"The store has the same: {cell['correct']} right" in text
    assert "Computed on " in text
    assert "BatchNorm `inherit`" in text
    assert titles(test) == ["Class by class", "Against the deep network itself"]
    # The same to the last example: what the store has is what was computed.
    state = live.ask("test", "splice", words(run, eval_id), seconds=SECONDS)
    found = outcome.computed(state.result)  # type: ignore[union-attr]
    stored = outcome.stored(pl.DataFrame([cell]), classes, changes)
    assert stored is not None
    assert found.confusion.equals(stored.confusion)
    assert found.changes == stored.changes
    assert found.loss == stored.loss
    assert found.chance == pytest.approx(cell["chance"])
    assert stored.chance == pytest.approx(cell["chance"])
    for name in ("class", "n", "correct", "own_accuracy"):
        assert found.per_class[name].to_list() == stored.per_class[name].to_list()


def words(run: str, eval_id: str) -> dict[str, Any]:
    return {
        "run": run,
        "shallow_run": run,
        "shallow": 8,
        "deep": 16,
        "cut": "stage2.0",
        "evaluation": eval_id,
        "corruption": "none",
        "severity": 0,
        "norm": "inherit",
    }


def test_two_runs_any_cut_corruption_normalisation_and_a_picked_image(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = a_run(tiny_home, "random labels")
    test = opened_lab(
        tiny_home, monkeypatch, shallow_run=random["run_id"], cut="stem", corruption="fog",
        severity="4", norm="recalibrate_deep", image="3",
    )  # fmt: skip
    assert not test.warning
    text = text_of(test)
    assert f"of {random['name']} up to stem" in text
    assert "BatchNorm `recalibrate_deep`" in text
    assert "The store has no such cell" in text
    assert "label: **" in text
    assert len(test.get("vega_lite_chart")) == 4


def test_moving_a_control_writes_the_whole_view_to_the_url_and_a_cleared_number_leaves_it(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened_lab(tiny_home, monkeypatch, image="3")
    test.select_slider(key="url_shallow").set_value("8")
    finished(test.run())
    asked = dict(test.query_params)
    assert set(asked) == {
        *("study", "run", "shallow_run", "eval", "corruption", "norm", "cut"),
        *("shallow", "deep", "image"),
    }
    assert (asked["shallow"], asked["image"]) == ("8", "3")
    test.number_input(key="url_image").set_value(None)
    finished(test.run())
    assert "image" not in test.query_params
    assert "Pick an image by its number" in text_of(test)


def test_an_uploaded_image_is_shown_as_the_network_sees_it(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    Image.new("RGBA", (30, 20), (200, 10, 10, 128)).save(content, "PNG")
    test = opened_lab(tiny_home, monkeypatch)
    test.file_uploader[0].set_value(("mine.png", content.getvalue(), "image/png"))
    finished(test.run())
    assert "deep network: **" in text_of(test)
    test.file_uploader[0].set_value(("mine.png", b"\x80\x04no image", "image/png"))
    finished(test.run())
    assert test.error[0].value.startswith("uploaded file: expected an image (PNG")


def test_a_worker_killed_at_work_is_started_again_and_the_page_says_so(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = live.desk().pid
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    test = opened_lab(tiny_home, monkeypatch, shallow="1", deep="2", cut="stage3.2")
    assert [each.value for each in test.warning] == [RESTARTED]
    assert test.metric[0].label == "Accuracy of the splice"


def test_a_damaged_checkpoint_is_a_sentence_and_can_be_tried_again(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "home"))
    run = a_run(home)["run_id"]
    path = home / "runs" / run / "checkpoints" / "step-00000008.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    test = opened_lab(home, monkeypatch, run=run, shallow="8")
    assert "expected the bytes that training wrote" in test.error[0].value
    assert "damaged" in test.error[0].value
    path.write_bytes(whole)
    test.button(key="again_splice").click()
    finished(test.run())
    assert not test.error
    assert test.metric[0].label == "Accuracy of the splice"


# Where it opens: at what can be computed, if anything can


GALLERY = Path(__file__).parents[2] / "gallery"


def steps_of(test: AppTest) -> tuple[str, str]:
    shallow, deep = (test.select_slider(key=f"url_{side}").value for side in ("shallow", "deep"))
    return str(shallow), str(deep)


def test_it_opens_at_a_run_and_steps_whose_weights_are_here(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "home"))
    assert steps_of(opened_lab(home, monkeypatch)) == ("4", "20")
    kept = a_run(home, "random labels")
    for path in home.glob("runs/*/checkpoints/*.safetensors"):
        if path.parts[-3] != kept["run_id"] or path.stem[-2:] not in ("08", "16"):
            path.unlink()
    test = opened_lab(home, monkeypatch)
    assert not test.info
    assert test.selectbox(key="url_run").value == kept["run_id"]
    assert steps_of(test) == ("8", "16")
    assert "Computed on " in text_of(test)
    # A link is obeyed, whatever can be computed.
    other = a_run(home)["run_id"]
    test = opened_lab(home, monkeypatch, run=other)
    assert "weights of step" in test.info[0].value
    assert steps_of(test) == ("4", "20")


def test_the_gallery_opens_at_the_study_that_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    test = opened_lab(GALLERY, monkeypatch)
    assert not test.info
    assert test.selectbox(key="url_study").value == "digits"
    assert steps_of(test) == ("88", "660")
    assert "Computed on " in text_of(test)
    # Where nothing can be computed, as every page: at the study with most kinds of results.
    monkeypatch.setattr(live, "torch_is_here", lambda: False)
    assert opened_lab(GALLERY, monkeypatch).selectbox(key="url_study").value == "cifar10_labels"


# Nothing computed


@pytest.mark.parametrize("lacking", ["torch", "checkpoints", "one checkpoint"])
def test_without_torch_or_weights_the_stored_cell_is_shown(
    lacking: str, tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tiny_home
    run = a_run(tiny_home)["run_id"]
    if lacking == "torch":
        monkeypatch.setattr(live, "torch_is_here", lambda: False)
    else:
        home = Path(shutil.copytree(tiny_home, tmp_path / "home"))
        for path in (home / "runs" / run / "checkpoints").glob("*.safetensors"):
            if lacking == "checkpoints" or path.stem.endswith("8"):
                path.unlink()
    monkeypatch.setattr(live, "desk", lambda: pytest.fail("asked"))
    if lacking == "one checkpoint":
        monkeypatch.undo()
    eval_id = a_set(home, run, "train")
    test = opened_lab(
        home, monkeypatch, run=run, eval=eval_id, shallow="8", deep="16", cut="stage2.0"
    )
    assert not test.warning
    said = test.info[0].value
    assert ("PyTorch is not installed here" if lacking == "torch" else "weights of step") in said
    with reading(home) as connection:
        about = (run, run, eval_id, "stage2.0", "inherit", [8, 16])
        cell = queries.stored_cell(connection, *about).row(0, named=True)
    assert test.metric[0].value == f"{cell['accuracy']:.1%}"
    assert titles(test) == ["Class by class", "Against the deep network itself"]
    assert "need the networks" in text_of(test)


def test_a_cell_that_is_not_stored_is_a_sentence(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This store has no weights; its foggy set is stored, with other predictions.
    test = opened_lab(cube_home, monkeypatch, corruption="fog", severity="2", cut="stem")
    clean = opened_lab(cube_home, monkeypatch, cut="stem")
    assert test.metric[0].value != clean.metric[0].value or text_of(test) != text_of(clean)
    missing = opened_lab(cube_home, monkeypatch, corruption="fog", severity="5")
    assert "The store has no such cell" in text_of(missing)
    assert not missing.metric


def test_two_runs_from_the_store(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened_lab(cube_home, monkeypatch, shallow_run=cube.OTHER, shallow="10", cut="stem")
    cell = (cube.TRUE, cube.OTHER, "other_seed", cube.TEST, "stem", 10, 40)
    assert test.metric[0].value == f"{cube.correct(cell) / cube.N:.1%}"
    assert "of true, seed 0, other seed up to stem" in text_of(test)


def test_an_untrained_study_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(tmp_path, [cube.write_study(tmp_path)])
    assert "featdyn run" in opened_lab(tmp_path, monkeypatch).info[0].value


def test_an_empty_store_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened_lab(tmp_path / "none", monkeypatch).code[0].value == "make demo"


# Wrong links


@pytest.mark.parametrize(
    "parameter", ["study", "run", "shallow_run", "eval", "cut", "norm", "shallow", "deep",
                  "corruption"],
)  # fmt: skip
def test_what_the_url_names_and_is_not_there_is_named_and_replaced(
    parameter: str, cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened_lab(cube_home, monkeypatch, **{parameter: "nosuch"})
    assert test.warning[0].value.startswith(f"{parameter}=nosuch is not in this store; showing ")
    assert test.metric


@pytest.mark.parametrize("number", ["-1", "40", "x"])
def test_a_number_of_no_image_is_named(
    number: str, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened_lab(tiny_home, monkeypatch, image=number)
    assert test.warning[0].value == f"image={number} is not a number from 0 to 39; showing none."


def test_a_network_that_is_somebodys_code_is_not_imported(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "home"))
    run = a_run(home)["run_id"]
    path = home / "runs" / run / "config.json"
    path.write_text(path.read_text().replace('"resnet20"', '"tests.foreign:small"'))
    test = opened_lab(home, monkeypatch, run=run)
    assert "got 'tests.foreign'" in test.info[0].value
    assert "FEATDYN_ALLOW_FACTORIES" in test.info[0].value
    assert test.metric


# In line


def test_the_place_in_line_is_said_in_words() -> None:
    assert lab._place(Waiting(0, 0.5)) == (0.5, "Computing ...")
    assert lab._place(Waiting(0, 0.1, note=RESTARTED)) == (0.1, f"Computing ... {RESTARTED}")
    assert lab._place(Waiting(3)) == (0.0, "In line: 3 before this one.")
    assert "loading PyTorch takes" in lab._place(Waiting(0, started=False))[1]
    assert "8 wait" in lab._place(Full(8))[1]


def test_a_page_in_line_shows_its_place_and_draws_nothing_else(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = live.ask

    def ask(visitor: str, kind: str, *more: Any, **named: Any) -> Any:
        return Full(8) if kind == "splice" else real(visitor, kind, *more, **named)

    opened_lab(tiny_home, monkeypatch)  # the outline is there
    monkeypatch.setattr(live, "ask", ask)
    test = opened("lab", tiny_home, monkeypatch)
    assert not test.exception
    assert "8 wait" in test.get("progress")[0].proto.text
    assert not test.metric


# A click in a heatmap, and on the curve


def test_the_link_of_a_cell_opens_it_in_the_lab(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.views import cell

    monkeypatch.setenv("FEATDYN_HOME", str(tiny_home))
    went: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(cell.links, "known", lambda path: True)
    monkeypatch.setattr(
        cell.links, "to", lambda path, label, icon=None, **named: went.append((path, named))
    )
    run = a_run(tiny_home)["run_id"]
    chosen = {"cell_run": run, "shallow": "4", "deep": "16"}
    test = opened("consistency", tiny_home, monkeypatch, split="test", cut="stage2.0", **chosen)
    assert not test.exception
    [named] = [named for path, named in went if path == "lab"]
    monkeypatch.undo()
    shown = opened_lab(tiny_home, monkeypatch, **named)
    assert not shown.warning
    assert "The store has the same" in text_of(shown)


def curve(cube_home: Path) -> dict[str, Any]:
    with reading(cube_home) as connection:
        metrics = queries.metrics(connection, [cube.TRUE]).with_columns(pl.lit("r").alias("run"))
        steps = queries.checkpoints(connection, [cube.TRUE])
    both = {"shallow part": steps, "deep part": steps}
    chosen = {"shallow part": 10, "deep part": 40}
    return charts.checkpoint_curve(metrics, both, chosen).to_dict()


def test_the_curve_has_a_dot_a_checkpoint_for_either_side(cube_home: Path) -> None:
    spec = curve(cube_home)
    dots = next(rows for rows in spec["datasets"].values() if "side" in rows[0] and len(rows) == 8)
    assert {(d["side"], d["step"]) for d in dots if d["chosen"]} == {
        ("shallow part", 10),
        ("deep part", 40),
    }
    (param,) = spec["params"]
    assert (param["name"], param["select"]["fields"]) == (charts.PICKED, ["side", "step"])


# Pure pieces


def planted(**more: Any) -> Outcome:
    numbers = dict.fromkeys(outcome.NUMBERS, 0.0) | {"n": 4, "correct": 2}
    return Outcome(
        **numbers,  # type: ignore[arg-type]
        **{
            "classes": ("cat", "dog"),
            "per_class": pl.DataFrame({"class": [0, 1], "n": [3, 1], "own_accuracy": [1.0, 0.0]}),
            "confusion": pl.DataFrame({"own": [0, 0], "predicted": [0, 1], "count": [1, 3]}),
            "changes": dict.fromkeys(KINDS, 0),
            **more,
        },
    )


def test_own_accuracy_and_chance_come_from_the_counts() -> None:
    assert planted().own_accuracy == 0.75
    # Labels 3/4, 1/4; predictions 1/4, 3/4.
    assert planted().chance == pytest.approx(3 / 4 * 1 / 4 + 1 / 4 * 3 / 4)
    empty = planted(per_class=pl.DataFrame(), confusion=pl.DataFrame())
    assert (empty.own_accuracy, empty.chance) == (None, None)


def test_a_cell_without_predictions_is_still_a_number(cube_home: Path) -> None:
    with reading(cube_home) as connection:
        about = (cube.TRUE, cube.TRUE, cube.TEST, "stem", "inherit", [0, 10])
        cell = queries.stored_cell(connection, *about)
        none = [
            getattr(queries, name)(connection, *about).clear()
            for name in ("stored_classes", "stored_changes")
        ]
    found = outcome.stored(cell, *none)
    assert found is not None
    assert (found.n, found.own_accuracy, found.classes) == (cube.N, None, ())
    assert outcome.stored(cell.clear(), *none) is None
