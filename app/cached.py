"""Every cached read: answers are kept until the store's revision moves on."""

from pathlib import Path

import polars as pl
import streamlit as st

from store import queries, sandbox
from store.connection import reading
from store.home import engine_at_work, home_from_environment, revision


@st.cache_data(max_entries=200, show_spinner="Reading the store ...")
def _answer(
    home: Path,
    revision: int,  # noqa: ARG001 (part of the cache's key)
    question: str,
    arguments: tuple[object, ...],
) -> pl.DataFrame:
    plain = [list(item) if isinstance(item, tuple) else item for item in arguments]
    with reading(home) as connection:
        frame: pl.DataFrame = getattr(queries, question)(connection, *plain)
    return frame


def store_revision() -> int:
    """Return the counter of ingests of the store that the pages show."""
    return revision(home_from_environment())


def engine() -> dict[str, str] | None:
    """Say which engine is at work on the store; None where none is."""
    return engine_at_work(home_from_environment())


@st.cache_data(max_entries=20, show_spinner="Asking the store ...")
def _own(home: Path, revision: int, sql: str) -> tuple[pl.DataFrame, bool]:  # noqa: ARG001
    answer = sandbox.run(home, sql)
    return answer.frame, answer.cut


def ask_in_sql(sql: str) -> tuple[pl.DataFrame, bool]:
    """Answer someone's own SQL within the limits of ``store.sandbox``; True: rows were cut off.

    Raises store.sandbox.RefusedError where it is refused or ends early.
    """
    home = home_from_environment()
    answer: tuple[pl.DataFrame, bool] = _own(home, revision(home), sql)
    return answer


def ask(question: str, *arguments: object) -> pl.DataFrame:
    """Answer a question of ``store.queries`` by its name; lists are given as tuples.

    Raises StoreMissingError where there is no store, StoreError where it can't be read.
    """
    home = home_from_environment()
    answer: pl.DataFrame = _answer(home, revision(home), question, arguments)
    return answer
