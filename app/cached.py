"""Every cached read: answers are kept until the store becomes another."""

from pathlib import Path

import polars as pl
import streamlit as st

from store import queries, sandbox
from store.connection import reading_file
from store.home import engine_at_work, revision
from store.source import database_from_environment, state


@st.cache_data(max_entries=200, show_spinner="Reading the store ...")
def _answer(
    database: Path,
    state: str,  # noqa: ARG001 (part of the cache's key)
    question: str,
    arguments: tuple[object, ...],
) -> pl.DataFrame:
    plain = [list(item) if isinstance(item, tuple) else item for item in arguments]
    with reading_file(database) as connection:
        frame: pl.DataFrame = getattr(queries, question)(connection, *plain)
    return frame


def store_revision() -> int:
    """Return the counter of ingests of the store that the pages show."""
    return revision(database_from_environment().parent)


def engine() -> dict[str, str] | None:
    """Say which engine is at work on the store; None where none is."""
    return engine_at_work(database_from_environment().parent)


@st.cache_data(max_entries=20, show_spinner="Asking the store ...")
def _own(database: Path, state: str, sql: str) -> tuple[pl.DataFrame, bool]:  # noqa: ARG001
    answer = sandbox.run(database, sql)
    return answer.frame, answer.cut


def ask_in_sql(sql: str) -> tuple[pl.DataFrame, bool]:
    """Answer someone's own SQL within the limits of ``store.sandbox``; True: rows were cut off.

    Raises store.sandbox.RefusedError where it is refused or ends early.
    """
    database = database_from_environment()
    answer: tuple[pl.DataFrame, bool] = _own(database, state(database), sql)
    return answer


def ask(question: str, *arguments: object) -> pl.DataFrame:
    """Answer a question of ``store.queries`` by its name; lists are given as tuples.

    Raises StoreMissingError where there is no store, StoreError where it can't be read.
    """
    database = database_from_environment()
    answer: pl.DataFrame = _answer(database, state(database), question, arguments)
    return answer
