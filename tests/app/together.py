"""Do in many threads at once what visitors of one server make it do; run as a process of its own.

Where polars' threads wait for Python while Python waits for them, this never ends.
"""

import threading
import time
from collections.abc import Callable
from functools import partial

import polars as pl

from app import charts, exports
from app.drawn import drawn

SECONDS = 4.0
ROWS = pl.DataFrame({"a": range(3000), "b": [0.5] * 3000, "c": ["x", "y", "z"] * 1000})
CLASSES = tuple("abcdefg")
COUNTS = pl.DataFrame(
    {"own": [k for k in range(7) for _ in range(7)], "predicted": list(range(7)) * 7}
).with_columns(pl.lit(3).alias("count"))


def confusion(turn: int) -> None:
    counts = COUNTS.with_columns(pl.lit(turn).alias("count"))
    drawn(partial(charts.confusion, counts, CLASSES), "light")


def table(turn: int) -> None:
    """As ``st.dataframe`` turns a frame into one of pandas."""
    ROWS.filter(pl.col("a") > turn % 9).with_columns(pl.col("b") * 2).to_pandas()


def file(turn: int) -> None:
    exports.parquet(ROWS.head(100 + turn % 9), {})


def go_on(work: Callable[[int], None], until: float) -> None:
    turn = 0
    while time.monotonic() < until:
        work(turn)
        turn += 1


if __name__ == "__main__":
    until = time.monotonic() + SECONDS
    threads = [
        threading.Thread(target=go_on, args=(work, until)) for work in (confusion, table, file) * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
