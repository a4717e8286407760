"""Every cached read: answers are kept until the store becomes another."""

from contextlib import nullcontext
from pathlib import Path
from threading import Condition

import polars as pl
import streamlit as st
from cachetools import LRUCache, cached
from cachetools.keys import hashkey

from app.kept import bytes_of
from store import queries, sandbox
from store.connection import reading_file
from store.home import engine_at_work, revision
from store.lake import lake_from_environment, reading_lake
from store.lake import state as state_of_lake
from store.source import database_from_environment, state

# Bytes of answers that are kept. Streamlit's caches count entries, and a store may be huge.
ROOM = 256 * 2**20


# Frames are shared, not copied: no function of polars that the app uses changes one.
@cached(LRUCache(ROOM, getsizeof=bytes_of), condition=Condition())
def _answer(
    source: Path | str,
    state: str,  # noqa: ARG001 (part of the cache's key)
    question: str,
    arguments: tuple[object, ...],
) -> pl.DataFrame:
    plain = [list(item) if isinstance(item, tuple) else item for item in arguments]
    opened = reading_lake(source) if isinstance(source, str) else reading_file(source)
    with opened as connection:
        frame: pl.DataFrame = getattr(queries, question)(connection, *plain)
    return frame


def store_revision() -> int:
    """Return the counter of ingests of the store that the pages show; 0: a folder of parts."""
    if lake_from_environment():
        return 0
    return revision(database_from_environment().parent)


def engine() -> dict[str, str] | None:
    """Say which engine is at work on the store; None where none is, or it can't be known."""
    if lake_from_environment():
        return None
    return engine_at_work(database_from_environment().parent)


@st.cache_data(max_entries=20, show_spinner="Asking the store ...")
def _own(database: Path, state: str, sql: str) -> tuple[pl.DataFrame, bool]:  # noqa: ARG001
    answer = sandbox.run(database, sql)
    return answer.frame, answer.cut


def ask_in_sql(sql: str) -> tuple[pl.DataFrame, bool]:
    """Answer someone's own SQL within the limits of ``store.sandbox``; True: rows were cut off.

    Raises store.sandbox.RefusedError where it is refused or ends early.
    """
    if lake_from_environment():
        raise sandbox.RefusedError(
            "expected a database, got a folder of parts, which own SQL would read file by file; "
            "ask DuckDB itself on the folder that FEATDYN_STORE names"
        )
    database = database_from_environment()
    answer: tuple[pl.DataFrame, bool] = _own(database, state(database), sql)
    return answer


def ask(question: str, *arguments: object) -> pl.DataFrame:
    """Answer a question of ``store.queries`` by its name; lists are given as tuples.

    Raises StoreMissingError where there is no store, StoreError where it can't be read.
    """
    lake = lake_from_environment()
    source: Path | str = lake or database_from_environment()
    now = state(source) if isinstance(source, Path) else state_of_lake(source)
    about = (source, now, question, arguments)
    # Around it, not within: a visitor who clicks meanwhile ends the page at the spinner, and the
    # answer is kept all the same.
    with nullcontext() if hashkey(*about) in _answer.cache else st.spinner("Reading the store ..."):
        answer: pl.DataFrame = _answer(*about)
    return answer
