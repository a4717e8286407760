"""Data: the views of the store, and one's own SQL over them, in a process that reaches no more."""

from typing import Any

import polars as pl
import streamlit as st

from app import controls, exports
from app.cached import ask, ask_in_sql, store_revision
from app.words import counted, plain
from store import sandbox

ROWS = 100
LONGEST_CAUSE = 600
EXAMPLE = """SELECT r.name, s.cut, avg(s.accuracy) AS accuracy, count(*) AS cells
FROM splices AS s JOIN runs AS r USING (run_id)
WHERE s.control = 'none' AND s.shallow_step < s.deep_step
GROUP BY r.name, s.cut, s.depth
ORDER BY r.name, s.depth"""


def render() -> None:
    """Draw the page."""
    st.header("Data", anchor=False)
    columns = ask("view_columns")
    _query()
    _views(columns)


def _query() -> None:
    """Draw the query, and its answer where the link holds one."""
    limits = sandbox.Limits()
    sql = controls.text("SQL over the views below", "sql", EXAMPLE, lines=7)
    st.caption(
        f"One SELECT, read-only, in a process of its own: at most {limits.seconds:g} s, "
        f"{limits.memory_mb} MB and {limits.rows:,} rows. It reaches the views below, no file, "
        "extension or network. The link holds the query."
    )
    st.button("Run", on_click=lambda: controls.remember(sql=sql))
    if "sql" not in st.query_params:
        return
    try:
        frame, cut = ask_in_sql(sql)
    except sandbox.RefusedError as problem:
        st.error(plain(problem, LONGEST_CAUSE))
        return
    st.dataframe(frame, hide_index=True)
    more = f", cut off at {limits.rows:,}: aggregate, or filter" if cut else ""
    st.caption(f"{counted(len(frame), 'row')}{more}.")
    record = {
        "sql": sql,
        "cut_off": cut,
        "store_revision": store_revision(),
        "url": controls.link(),
        "drawn_with": exports.versions(),
    }
    _downloads(frame, "query", record)


def _views(columns: pl.DataFrame) -> None:
    """Draw the first rows and the columns of a view."""
    st.subheader("Views", anchor=False)
    views = columns["view"].unique(maintain_order=True).to_list()
    usual = "splices" if "splices" in views else views[0]
    view = controls.select("View", "view", views, usual)
    rows = ask("preview", view, ROWS)
    st.dataframe(rows, hide_index=True)
    st.caption(
        f"The first {counted(len(rows), 'row')} of `{view}`. docs/store.md describes each column: "
        "its type, unit, range, and the view's key."
    )
    with st.expander(f"Columns of {view}"):
        st.dataframe(columns.filter(pl.col("view") == view).drop("view"), hide_index=True)


def _downloads(frame: pl.DataFrame, name: str, record: dict[str, Any]) -> None:
    """Offer a table as files, made when asked for."""
    with st.container(horizontal=True, gap="small"):
        for ending, make, kind in (
            ("csv", lambda: exports.csv(frame), "text/csv"),
            ("parquet", lambda: exports.parquet(frame, record), "application/octet-stream"),
        ):
            st.download_button(
                ending.upper(),
                make,
                file_name=f"{name}.{ending}",
                mime=kind,
                key=f"{ending}-{name}",
                on_click="ignore",
            )
