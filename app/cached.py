"""Every cached read: answers are kept until the store becomes another."""

from pathlib import Path

import polars as pl
import streamlit as st

from store import queries
from store.connection import reading_file
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


def ask(question: str, *arguments: object) -> pl.DataFrame:
    """Answer a question of ``store.queries`` by its name; lists are given as tuples.

    Raises StoreMissingError where there is no store, StoreError where it can't be read.
    """
    database = database_from_environment()
    answer: pl.DataFrame = _answer(database, state(database), question, arguments)
    return answer
