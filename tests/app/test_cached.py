"""Answers of the store: asked once, kept by bytes, and kept also where a visitor has gone on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app import cached
from app.kept import bytes_of
from store import queries
from tests.store import cube

ABOUT = ((cube.TRUE,),)


class GoneOnError(Exception):
    """Stands for what Streamlit raises at its next call once the visitor has clicked."""


@pytest.fixture
def asked(cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What reaches the store, of a home of its own name."""
    monkeypatch.setenv("FEATDYN_HOME", str(cube_home))
    cached._answer.cache.clear()
    found: list[tuple[Any, ...]] = []
    real = queries.evaluation_sets

    def counted(connection: Any, *about: Any) -> pl.DataFrame:
        found.append(about)
        return real(connection, *about)

    monkeypatch.setattr(queries, "evaluation_sets", counted)
    return found


def test_an_equal_question_is_answered_once(asked: list[tuple[Any, ...]]) -> None:
    first = cached.ask("evaluation_sets", *ABOUT)
    assert cached.ask("evaluation_sets", *ABOUT) is first
    cached.ask("evaluation_sets", (cube.SECOND,))
    assert asked == [([cube.TRUE],), ([cube.SECOND],)]


def test_an_answer_is_kept_where_the_visitor_went_on_meanwhile(
    asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupted(text: str) -> Iterator[None]:
        yield
        raise GoneOnError

    monkeypatch.setattr(cached.st, "spinner", interrupted)
    with pytest.raises(GoneOnError):
        cached.ask("evaluation_sets", *ABOUT)
    assert not cached.ask("evaluation_sets", *ABOUT).is_empty()
    assert len(asked) == 1


def test_small_answers_count_more_than_their_rows() -> None:
    """A frame of one row takes some kilobytes: ten thousand of them are no few bytes."""
    row = pl.DataFrame({f"column {k}": [k] for k in range(12)})
    assert 10_000 < bytes_of(row) < 20_000
    tall = pl.DataFrame({"a": range(100_000)})
    assert bytes_of(tall) == pytest.approx(800_000, rel=0.01)
