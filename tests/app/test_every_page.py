"""Every registered page on stores of every state: never a traceback, always a sentence."""

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from app.pages import PAGES, sections
from store.connection import MIGRATIONS
from store.results import ingest
from tests.app.test_views import opened
from tests.store import cube

PATHS = [page.path for page in PAGES]
# These say something of the store as a whole, and need no study.
WITHOUT_STUDY = ("data", "methods")


@pytest.fixture(scope="module")
def partial_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that is planned, with nothing trained yet."""
    home = tmp_path_factory.mktemp("partial")
    ingest(home, [cube.write_study(home)])
    return home


@pytest.fixture(scope="module")
def newer_home(partial_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that a newer featdyn wrote."""
    home = tmp_path_factory.mktemp("newer")
    (home / "featdyn.duckdb").write_bytes((partial_home / "featdyn.duckdb").read_bytes())
    with duckdb.connect(str(home / "featdyn.duckdb")) as connection:
        connection.execute(
            "INSERT INTO base.schema_migrations VALUES (?, 'later')", [len(MIGRATIONS) + 1]
        )
    return home


@pytest.mark.parametrize("path", PATHS)
def test_a_full_store_draws_without_exception_or_warning(
    path: str, cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, cube_home, monkeypatch, **({} if path in WITHOUT_STUDY else STUDY))
    assert not test.exception
    assert not test.warning
    assert test.header[0].value
    for chart in test.get("vega_lite_chart"):
        sent = {dataset.name for dataset in chart.proto.datasets}
        assert {each["name"] for each in data_of_marks(json.loads(chart.proto.spec), {})} <= sent


def data_of_marks(spec: dict[str, Any], around: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each mark of a chart is drawn from."""
    data = spec.get("data", around)
    parts = [part for kind in ("layer", "hconcat", "vconcat") for part in spec.get(kind, [])]
    if not parts and "spec" in spec:
        parts = [spec["spec"]]
    return [each for part in parts for each in data_of_marks(part, data)] if parts else [data]


STUDY = {"study": cube.STUDY}


@pytest.mark.parametrize("path", PATHS)
def test_an_empty_store_says_what_to_run(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, tmp_path / "none", monkeypatch)
    assert not test.exception
    words = [code.value for code in test.code] + [info.value for info in test.info]
    assert any("make demo" in each for each in words)
    assert len(test.header) == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("path", PATHS)
def test_a_planned_study_is_a_page_without_rows(
    path: str, partial_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, partial_home, monkeypatch)
    assert not test.exception
    assert not test.warning
    assert len(test.get("vega_lite_chart")) == 0


@pytest.mark.parametrize("path", [path for path in PATHS if path != "data"])
def test_an_unknown_study_in_the_url_is_named_and_replaced(
    path: str, cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, cube_home, monkeypatch, study="nosuch")
    assert not test.exception
    assert [warning.value for warning in test.warning] == [
        "study=nosuch is not in this store; showing by-hand instead."
    ]


@pytest.mark.parametrize("path", PATHS)
def test_a_store_of_a_newer_schema_says_to_upgrade(
    path: str, newer_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, newer_home, monkeypatch)
    assert not test.exception
    assert "upgrade" in test.error[0].value
    assert len(test.header) == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_is_no_store_says_what_to_run(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "featdyn.duckdb").write_text("no database")
    test = opened(path, tmp_path, monkeypatch)
    assert not test.exception
    assert "expected a whole store" in test.error[0].value
    assert "featdyn rebuild" in test.error[0].value


def test_the_first_page_opens_and_stands_in_the_bar() -> None:
    assert PATHS[0] == "overview"
    assert [page.path for page in sections()[""]] == ["overview", "consistency", "lab"]
    assert len(set(PATHS)) == len(PATHS)


def test_a_clicked_cell_is_shown_with_its_classes_and_flips(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = (cube.SECOND, cube.SECOND, "none", cube.TEST, "stem", 10, 40)
    own = (*cell[:5], 40, 40)
    test = opened(
        "consistency",
        cube_home,
        monkeypatch,
        study=cube.STUDY,
        split="test",
        cut="stem",
        cell_run=cube.SECOND,
        shallow="10",
        deep="40",
    )
    assert not test.exception
    text = "\n".join(each.value for each in test.markdown)
    assert "Shallow part of step 10 under the deep part of step 40" in text
    assert f"**{cube.correct(cell) / cube.N:.1%}** right" in text
    pairs = list(zip(cube.predicted(own), cube.predicted(cell), cube.TARGETS, strict=True))
    lost = sum(a == y != b for a, b, y in pairs)
    won = sum(b == y != a for a, b, y in pairs)
    assert f"**{lost}** from right to wrong, **{won}** from wrong to right" in text


def test_matrices_over_seeds_are_means_with_limits_over_seeds(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(
        "consistency",
        cube_home,
        monkeypatch,
        study=cube.STUDY,
        split="test",
        seeds="means over seeds",
    )
    assert not test.exception
    titles = [json.loads(each.proto.spec)["title"]["text"] for each in test.get("vega_lite_chart")]
    assert titles[:2] == ["true, mean of 2 seeds", "random, one seed"]


def test_own_sql_is_answered_or_refused_with_a_sentence(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("data", cube_home, monkeypatch, sql="SELECT count(*) AS cells FROM splices")
    assert not test.exception
    assert list(test.dataframe[0].value.columns) == ["cells"]
    test = opened("data", cube_home, monkeypatch, sql="DROP VIEW splices")
    assert not test.exception
    assert "expected a SELECT, got DROP" in test.error[0].value


def test_a_search_leaves_the_runs_that_have_every_word(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("runs", cube_home, monkeypatch, study=cube.STUDY, q="true seed 1")
    tables = [each.value for each in test.dataframe if "training accuracy" in each.value.columns]
    assert list(tables[0]["name"]) == ["true, seed 1"]
    test = opened("runs", cube_home, monkeypatch, study=cube.STUDY, arm="random")
    tables = [each.value for each in test.dataframe if "training accuracy" in each.value.columns]
    assert list(tables[0]["name"]) == ["random, seed 0"]
    test = opened("runs", cube_home, monkeypatch, study=cube.STUDY, q="nothing like that")
    assert "clear the search" in test.info[0].value


def test_a_page_says_that_an_engine_is_at_work(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(shutil.copytree(cube_home, tmp_path / "home"))
    about = {"pid": 1, "command": "featdyn run mine.toml", "since": "12:00:00"}
    (home / "engine.json").write_text(json.dumps(about))
    with (home / "engine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        test = opened("runs", home, monkeypatch)
    assert not test.exception
    assert "`featdyn run mine.toml`, since 12:00:00" in test.caption[0].value
    assert not any("At work" in each.value for each in opened("runs", home, monkeypatch).caption)
