"""FEATDYN_STORE: a file, a folder or an address takes the place of the home's own database."""

import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from store import source
from store.connection import reading_file
from store.home import StoreError, database_path
from store.source import database_from_environment, state


class Served(BaseHTTPRequestHandler):
    """One database at every path, with an ETag; counts what it sends."""

    content: ClassVar[bytes | None] = b""
    tag: ClassVar[str] = "one"
    answers: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        if self.content is None:
            self._answer(503)
        elif self.headers.get("If-None-Match") == self.tag:
            self._answer(304)
        else:
            self._answer(200, self.content)

    def _answer(self, code: int, content: bytes = b"") -> None:
        self.answers.append(code)
        self.send_response(code)
        self.send_header("ETag", self.tag)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def address(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of the database made by hand; FEATDYN_STORE names it."""
    monkeypatch.setattr(Served, "content", database_path(cube_home).read_bytes())
    monkeypatch.setattr(Served, "answers", [])
    monkeypatch.setattr(source, "_looked", {})
    monkeypatch.setattr(source, "_tags", {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/featdyn.duckdb"
    monkeypatch.setenv("FEATDYN_STORE", url)
    yield url
    server.shutdown()
    server.server_close()


def studies(path: Path) -> list[str]:
    with reading_file(path) as connection:
        rows = connection.execute("SELECT DISTINCT study FROM study_runs ORDER BY ALL").fetchall()
    return [study for (study,) in rows]


def test_without_the_variable_it_is_the_home_s_own(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_HOME", str(cube_home))
    monkeypatch.delenv("FEATDYN_STORE", raising=False)
    assert database_from_environment() == database_path(cube_home)


@pytest.mark.parametrize("name", ["", "featdyn.duckdb"])
def test_a_folder_or_a_file_takes_its_place(
    name: str, cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_HOME", str(tmp_path))
    monkeypatch.setenv("FEATDYN_STORE", str(cube_home / name))
    assert studies(database_from_environment()) == ["by-hand"]


@pytest.mark.parametrize("asked", ["/no/such/place", "s3://bucket/store.duckdb"])
def test_what_is_not_there_or_not_supported_is_one_line(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_STORE", asked)
    with pytest.raises(StoreError, match="FEATDYN_STORE: expected") as caught:
        database_from_environment()
    assert "\n" not in str(caught.value)


def test_an_address_is_copied_once_and_asked_again_after_a_minute(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database_from_environment()
    assert studies(path) == ["by-hand"]
    assert database_from_environment() == path
    assert Served.answers == [200]
    monkeypatch.setattr(source, "LOOK_AGAIN_SECONDS", 0.0)
    before = state(path)
    database_from_environment()
    assert Served.answers == [200, 304]
    assert state(path) == before
    monkeypatch.setattr(Served, "tag", "two")
    database_from_environment()
    assert Served.answers == [200, 304, 200]
    assert state(path) != before


def test_an_address_that_fails_later_leaves_the_copy_in_use(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database_from_environment()
    monkeypatch.setattr(source, "LOOK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(Served, "content", None)
    assert database_from_environment() == path
    assert studies(path) == ["by-hand"]


def test_an_address_that_fails_at_first_is_one_line(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Served, "content", None)
    monkeypatch.setenv("FEATDYN_STORE", f"{address}/other")
    with pytest.raises(StoreError, match="503"):
        database_from_environment()


def test_a_copy_has_a_bound_and_nothing_of_it_stays(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MOST_BYTES", 1000)
    monkeypatch.setenv("FEATDYN_STORE", f"{address}/large")
    before = sorted(Path(source._folder().name).iterdir())
    with pytest.raises(StoreError, match="more than 0 MiB"):
        database_from_environment()
    assert sorted(Path(source._folder().name).iterdir()) == before


def test_another_file_in_the_same_place_is_another_state(cube_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "featdyn.duckdb"
    assert state(path) == "none"
    shutil.copy(database_path(cube_home), path)
    first = state(path)
    assert state(path) == first
    shutil.copy(database_path(cube_home), tmp_path / "fresh")
    os.replace(tmp_path / "fresh", path)
    assert state(path) != first
