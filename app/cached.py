"""Every cached read: answers are kept until the store's revision moves on."""

from pathlib import Path

import polars as pl
import streamlit as st

from store import queries
from store.connection import reading
from store.home import home_from_environment, revision
from store.lake import lake_from_environment, reading_lake, state


@st.cache_data(max_entries=200, show_spinner="Reading the store ...")
def _answer(
    source: Path | str,
    revision: int | str,  # noqa: ARG001 (part of the cache's key)
    question: str,
    arguments: tuple[object, ...],
) -> pl.DataFrame:
    plain = [list(item) if isinstance(item, tuple) else item for item in arguments]
    with reading_lake(source) if isinstance(source, str) else reading(source) as connection:
        frame: pl.DataFrame = getattr(queries, question)(connection, *plain)
    return frame


def ask(question: str, *arguments: object) -> pl.DataFrame:
    """Answer a question of ``store.queries`` by its name; lists are given as tuples.

    Raises StoreMissingError where there is no store, StoreError where it can't be read.
    """
    lake = lake_from_environment()
    home = home_from_environment()
    source, now = (lake, state(lake)) if lake else (home, revision(home))
    answer: pl.DataFrame = _answer(source, now, question, arguments)
    return answer
