"""Charts as a browser gets them: a specification and, apart from it, rows; kept by content.

A page makes its charts anew at every interaction, and Altair takes longer for each than all else
together; most of them are those of a moment ago, or of another visitor.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import altair as alt
import polars as pl
import pyarrow as pa
import streamlit as st

from app import charts

# A function of ``app.charts`` and its arguments.
Picture = partial[alt.TopLevelMixin]
# What makes a specification move (``charts.with_clock``).
Moving = Callable[[dict[str, Any]], dict[str, Any]]
# Of lines under a title: no one grey is readable on white and on near-black.
SUBTITLE = {"light": "#5a6672", "dark": "#a9b4c0"}
MOST = 300
# Of rows that a browser draws as SVG, an element each, before it gets a canvas, which is redrawn
# sooner.
MOST_ELEMENTS = 100
# Altair's transformers and themes are those of the whole process, whatever thread asks.
_altair = threading.Lock()


class Drawn(NamedTuple):
    """A Vega-Lite specification as JSON, without data, and the rows that it names."""

    specification: str
    rows: dict[str, pl.DataFrame]

    @property
    def whole(self) -> dict[str, Any]:
        """Both together, as ``st.vega_lite_chart`` takes them."""
        return {**json.loads(self.specification), "datasets": self.rows}


@contextmanager
def _rows_apart(rows: dict[str, pl.DataFrame]) -> Iterator[None]:
    """Let charts name their rows, which are put into ``rows``.

    Names are places, so that a chart of other rows has the same specification: a browser then
    replaces rows and keeps the picture.
    """

    def name(data: pl.DataFrame) -> dict[str, str]:
        found = next((key for key, frame in rows.items() if frame is data), f"rows-{len(rows)}")
        rows[found] = data
        return {"name": found}

    alt.data_transformers.register("rows_apart", name)
    with alt.data_transformers.enable("rows_apart"), alt.theme.enable("none"):
        yield


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return a chart's whole specification, rows included, however many they are."""
    # The limit of 5,000 rows is meant for notebooks.
    with _altair, alt.data_transformers.disable_max_rows():
        spec: dict[str, Any] = chart.to_dict()
    return spec


def drawn(
    picture: Picture,
    theme: str,
    clickable: bool = False,
    moving: Moving | None = None,
    named_marks: bool = False,
) -> Drawn:
    """Return what a browser gets of a picture, made once for equal arguments.

    ``theme``: light or dark. ``clickable``: a matrix whose cells can be selected.
    ``moving`` makes it move. ``named_marks``: single marks have names for a screen reader, as where
    they are buttons; else the chart alone has one.
    """
    # Streamlit has no hash for a function.
    names = tuple(
        f"{function.__module__}.{function.__qualname__}" if function else ""
        for function in (picture.func, moving)
    )
    arguments = (*picture.args, *picture.keywords.items())
    made: Drawn = _made(picture, moving, names, arguments, theme, clickable, named_marks)
    return made


def _content(frame: pl.DataFrame) -> bytes:
    """Digest every row: of a large frame, Streamlit itself would look at some alone."""
    table = frame.to_arrow()
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table)
    return hashlib.blake2b(written.getvalue()).digest()


@st.cache_resource(max_entries=MOST, show_spinner=False, hash_funcs={pl.DataFrame: _content})
def _made(
    _picture: Picture,
    _moving: Moving | None,
    names: tuple[str, ...],  # noqa: ARG001 (with the arguments the key in place of both)
    arguments: tuple[object, ...],  # noqa: ARG001
    theme: str,
    clickable: bool,
    named_marks: bool,
) -> Drawn:
    chart = _picture().configure_title(subtitleColor=SUBTITLE[theme])
    chart = chart.configure_mark(aria=named_marks)
    # A label stands at its tick, also at the ends, where Streamlit would push it inwards.
    chart = chart.configure_axis(labelFlush=False)
    if clickable:
        chart = charts.selectable(chart)
    rows: dict[str, pl.DataFrame] = {}
    with _altair, _rows_apart(rows):
        spec = chart.to_dict()
    if any(len(frame) > MOST_ELEMENTS for frame in rows.values()):
        spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}
    return Drawn(json.dumps(_moving(spec) if _moving else spec), rows)
