"""Every page through AppTest: full, empty, and with ids in the URL that the store doesn't have."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

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
    [("consistency", "cut"), ("consistency", "split"), ("consistency", "metric"), ("runs", "run")],
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
    assert asked == {
        "study": "tiny",
        "split": "train",
        "metric": "accuracy",
        "cut": "stage2.0",
    }


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
