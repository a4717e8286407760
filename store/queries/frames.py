"""A question in SQL, its answer as a polars frame."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import polars as pl


def frame(
    connection: duckdb.DuckDBPyConnection,
    question: str,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Answer one question; ``params`` fill its question marks in order, or its ``$names``."""
    # sql, not execute: DuckDB 2 gives polars frames from relations alone.
    answer: pl.DataFrame = connection.sql(question, params=params).pl()
    return answer
