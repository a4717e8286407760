"""FEATDYN_HOME and the revision counter."""

import fcntl
import json
from pathlib import Path

import pytest

from store.home import (
    VARIABLE,
    StoreError,
    database_path,
    engine_at_work,
    home_from_environment,
    next_revision,
    revision,
)


def test_the_default_is_var_under_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert home_from_environment() == tmp_path / "var"


def test_an_empty_variable_means_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    assert home_from_environment() == tmp_path / "var"


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "here")
    monkeypatch.chdir(tmp_path)
    assert home_from_environment() == tmp_path / "here"


def test_asking_for_the_home_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a" / "b"))
    assert home_from_environment() == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", [".", "home", "deep/down/home"])
def test_a_file_at_or_above_the_home_is_refused_in_one_line(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv(VARIABLE, str(file / below))
    with pytest.raises(StoreError, match=rf"expected a folder, but {file} is a file") as caught:
        home_from_environment()
    assert VARIABLE in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_database_lies_in_the_home(tmp_path: Path) -> None:
    assert database_path(tmp_path) == tmp_path / "featdyn.duckdb"


def test_the_revision_of_an_empty_home_is_zero(tmp_path: Path) -> None:
    assert revision(tmp_path) == 0


def test_the_revision_counts_up_by_one_and_leaves_no_other_file(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        next_revision(tmp_path)
        assert revision(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["revision"]


def test_an_engine_at_work_is_named_while_it_holds_its_lock(tmp_path: Path) -> None:
    assert engine_at_work(tmp_path) is None
    holder = {"pid": 1, "command": "featdyn demo", "since": "12:00:00"}
    (tmp_path / "engine.json").write_text(json.dumps(holder))
    assert engine_at_work(tmp_path) is None
    with (tmp_path / "engine.lock").open("w") as lock:
        # A killed engine leaves both files, but not the lock.
        assert engine_at_work(tmp_path) is None
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert engine_at_work(tmp_path) == holder
    assert engine_at_work(tmp_path) is None
