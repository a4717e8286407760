"""Every page through AppTest: full, empty, and with ids in the URL that the store doesn't have."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from store import queries
from tests.store import cube

PAGES = ["consistency", "runs"]


def draw(path: str) -> None:
    """Body of the script under test: it must import what it uses."""
    from app.pages import PAGES, shown

    next(shown(page) for page in PAGES if page.path == path)()


def opened(path: str, home: Path, monkeypatch: pytest.MonkeyPatch, **parameters: str) -> AppTest:
    monkeypatch.setenv("FEATDYN_HOME", str(home))
    test = AppTest.from_function(draw, default_timeout=60, args=(path,))
    for name, value in parameters.items():
        test.query_params[name] = value
    return test.run()


def text_of(test: AppTest) -> str:
    return "\n".join(element.value for element in [*test.markdown, *test.caption, *test.info])


@pytest.mark.parametrize("path", PAGES)
def test_a_full_store_draws_without_exception_or_warning(
    path: str, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, tiny_home, monkeypatch)
    assert not test.exception
    assert not test.warning
    assert len(test.get("vega_lite_chart")) >= 2


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_store_says_what_to_run(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, tmp_path / "none", monkeypatch)
    assert not test.exception
    assert test.code[0].value == "make demo"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("path", PAGES)
def test_an_unknown_study_in_the_url_is_named_and_replaced(
    path: str, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, tiny_home, monkeypatch, study="nosuch")
    assert not test.exception
    assert [warning.value for warning in test.warning] == [
        "study=nosuch is not in this store; showing tiny instead."
    ]
    assert len(test.get("vega_lite_chart")) >= 2


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("consistency", "cut"),
        ("consistency", "split"),
        ("consistency", "metric"),
        ("consistency", "norm"),
        ("runs", "run"),
    ],
)
def test_any_other_unknown_value_is_named_and_replaced(
    path: str, parameter: str, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, tiny_home, monkeypatch, **{parameter: "nosuch"})
    assert not test.exception
    assert test.warning[0].value.startswith(f"{parameter}=nosuch is not in this store")


def test_the_url_chooses_the_view(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened(
        "consistency", tiny_home, monkeypatch, split="test", metric="agreement", cut="stage3.0"
    )
    assert not test.warning
    assert "stage3.0" in text_of(test)
    assert "(test set, n = 40" in text_of(test)


def test_moving_a_control_writes_the_whole_view_to_the_url(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("consistency", tiny_home, monkeypatch)
    test.select_slider(key="url_cut").set_value("stage2.0").run()
    assert not test.exception
    asked = dict(test.query_params)
    assert (
        asked.items()
        >= {
            "study": "tiny",
            "split": "train",
            "metric": "accuracy",
            "norm": "inherit",
            "cut": "stage2.0",
        }.items()
    )
    # The sections further down are in the link too.
    assert set(asked) >= {"cell_run", "shallow", "deep", "first", "second"}


def test_the_sentence_of_finding_repeats_the_stored_cells(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.connection import reading

    with reading(tiny_home) as connection:
        rows = connection.execute(
            """
            SELECT r.name, s.accuracy FROM splices AS s JOIN runs AS r USING (run_id)
            WHERE s.cut = 'stage1.2' AND s.split = 'train'
              AND s.shallow_step = 2 AND s.deep_step = 20
            """
        ).fetchall()
    assert len(rows) == 2
    sentence = text_of(opened("consistency", tiny_home, monkeypatch))
    for name, accuracy in rows:
        assert f"**{accuracy:.1%}**" in sentence
        assert name in sentence


def test_a_single_run_shows_its_configuration(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = next((tiny_home / "runs").iterdir()).name
    test = opened("runs", tiny_home, monkeypatch, run=run_id)
    assert not test.exception
    assert json.loads(test.json[0].value)["recipe"]["batch_size"] == 32


def test_a_home_that_is_a_file_is_an_error_people_understand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    test = opened("runs", path, monkeypatch)
    assert not test.exception
    assert "expected a folder" in test.error[0].value


@pytest.mark.parametrize("path", PAGES)
def test_a_store_with_everything_draws_without_exception_or_warning(
    path: str, cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, cube_home, monkeypatch)
    assert not test.exception
    assert not test.warning


def cube_page(home: Path, monkeypatch: pytest.MonkeyPatch, **parameters: str) -> AppTest:
    test = opened(
        "consistency", home, monkeypatch, study="by-hand", **{"split": "test", **parameters}
    )
    assert not test.exception
    assert not test.warning
    return test


def drawn(test: AppTest) -> list[str]:
    """The titles of all charts."""
    specs = [json.loads(chart.proto.spec) for chart in test.get("vega_lite_chart")]
    return [spec["title"]["text"] for spec in specs]


def identities(test: AppTest) -> set[tuple[str, str]]:
    """What a browser knows each picture by: made anew where it changes."""
    return {(chart.proto.id, chart.proto.alt) for chart in test.get("vega_lite_chart")}


def test_another_cut_changes_the_rows_of_pictures_and_not_which_pictures_they_are(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = cube_page(cube_home, monkeypatch)
    slider = test.select_slider(key="url_cut")
    other = next(cut for cut in slider.options if cut != slider.value)
    before = identities(test)
    slider.set_value(other).run()
    assert not test.exception
    heatmaps = {each for each in before if each[0]}
    assert heatmaps
    assert heatmaps <= identities(test)
    assert "cut" not in " ".join(alt for _, alt in before)


def test_everything_the_store_holds_has_its_picture(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = cube_page(cube_home, monkeypatch)
    runs = ["true, seed 0", "true, seed 1", "random, seed 0"]
    assert drawn(test) == [
        *runs,
        "At equal accuracy",
        "At equal displacement",
        # One cell, and the difference of two runs.
        "Class by class",
        "true, seed 0",
        "Score TC by depth",
        "Excess over each control, stem",
        "true, seed 0",
        *runs,
        "May lose 1 point",
        "May lose 5 points",
        "What averages gain, test set",
        "Barrier of the loss",
    ]
    text = text_of(test)
    assert "true against random" in text
    assert "95 % over examples" in text
    assert "95 % over seeds" in text
    assert "normalisation: `inherit`" in text


def test_a_picture_never_mixes_sets_of_one_split(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.store import cube

    for set_id, words in ((cube.TEST, "digits, 30 images, true"), (cube.FOGGY, "fog 2")):
        test = cube_page(cube_home, monkeypatch, test_set=set_id)
        assert words in text_of(test)
        test.session_state["numbers"] = True
        test.run()
        (table,) = [each.value for each in test.dataframe if "eval_id" in each.value.columns]
        assert set(table["eval_id"]) == {set_id}
        assert len(table) == len(cube.ARMS) * len(cube.STEPS) ** 2


def test_arms_are_matched_on_a_corrupted_set_too(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.store import cube

    test = cube_page(cube_home, monkeypatch, test_set=cube.FOGGY)
    titles = [json.loads(chart.proto.spec)["title"] for chart in test.get("vega_lite_chart")]
    assert "At equal accuracy" in [title["text"] for title in titles]
    assert "true against random: at equal accuracy" in text_of(test)


def test_another_split_keeps_the_choice_of_a_set_and_does_not_warn(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.store import cube

    test = cube_page(cube_home, monkeypatch, test_set=cube.FOGGY, split="train")
    assert not any(widget.label == "Set" for widget in test.selectbox)


def test_without_controls_the_page_says_what_to_write_into_the_study(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("consistency", tiny_home, monkeypatch)
    assert '[[analyses]]\nkind = "controls"' in [code.value for code in test.code]
    text = text_of(test)
    for kind in ("consistency", "displacement", "comparators", "connectivity"):
        assert f'kind = "{kind}"' in text


def test_averages_on_several_sets_are_drawn_one_at_a_time(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = queries.comparators

    def on_two_sets(*asked: Any) -> pl.DataFrame:
        clean = stored(*asked)
        fog = {"eval_id": cube.FOGGY, "corruption": "fog"}
        return pl.concat(
            [
                clean,
                clean.with_columns(
                    severity=pl.lit(2, clean["severity"].dtype),
                    **{name: pl.lit(value) for name, value in fog.items()},
                ),
            ]
        )

    monkeypatch.setattr("store.queries.comparators", on_two_sets)
    # A home of its own, as answers are kept by home.
    home = Path(shutil.copytree(cube_home, tmp_path / "home"))
    # Clean images come first, whatever their identities.
    for link, shown in (({}, cube.TEST), ({"averages_on": cube.FOGGY}, cube.FOGGY)):
        test = cube_page(home, monkeypatch, **link)
        assert not test.exception
        (choice,) = (each for each in test.selectbox if each.label == "Averages on")
        assert len(choice.options) == 2
        assert choice.value == shown
        assert drawn(test).count("What averages gain, test set") == 1


def test_pairs_and_weighting_are_those_of_the_link(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = cube_page(cube_home, monkeypatch, pairs="final", weighting="steps", control="other_seed")
    assert "final deep part, weighted by updates" in text_of(test)
    (chart,) = [
        json.loads(each.proto.spec)
        for each in test.get("vega_lite_chart")
        if "Score TC" in each.proto.spec
    ]
    assert "mean over seeds" in chart["title"]["subtitle"][1]


def test_many_runs_open_as_means_over_seeds_and_a_link_shows_them_singly(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = drawn(cube_page(cube_home, monkeypatch))
    assert not any("mean of" in title for title in few)
    monkeypatch.setattr("app.views.scene.MOST_MATRICES", 2)
    many = drawn(cube_page(cube_home, monkeypatch))
    assert "true, mean of 2 seeds" in many
    assert drawn(cube_page(cube_home, monkeypatch, seeds="single runs")) == few


def test_runs_of_controls_stand_apart_with_what_they_serve(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("runs", cube_home, monkeypatch, study="by-hand")
    arms, controls = (
        each.value for each in test.dataframe if "training accuracy" in each.value.columns
    )
    assert list(arms["name"]) == ["true, seed 0", "true, seed 1", "random, seed 0"]
    assert list(controls["controls"]) == ["other seed"]


def test_a_failed_run_says_at_which_step_and_why(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.connection import reading

    # A home of its own, as answers are kept by home.
    home = Path(shutil.copytree(cube_home, tmp_path / "home"))
    with reading(home) as connection:
        frame = connection.sql("FROM runs").pl()
    failed = frame.with_columns(
        pl.lit("failed").alias("status"),
        pl.lit(1234, pl.Int64).alias("failed_step"),
        pl.lit("the loss is not finite").alias("failure"),
    ).head(1)
    monkeypatch.setattr("store.queries.study_runs", lambda *_: failed)
    test = opened("runs", home, monkeypatch)
    assert not test.exception
    assert test.error[0].value == (
        f"**{failed['name'][0]}** failed after 1,234 updates: the loss is not finite"
    )
