"""Charts as a browser gets them: a specification and, apart from it, rows; kept by content.

A page makes its charts anew at every interaction, and Altair takes longer for each than all else
together; most of them are those of a moment ago, or of another visitor.
"""

import json
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import altair as alt
import polars as pl
from altair.utils import schemapi
from cachetools import LRUCache, cached

from app import charts
from app.kept import bytes_of, content

# A function of ``app.charts`` and its arguments.
Picture = partial[alt.TopLevelMixin]
# What makes a specification move (``charts.with_clock``).
Moving = Callable[[dict[str, Any]], dict[str, Any]]
# Of lines under a title: no one grey is readable on white and on near-black.
SUBTITLE = {"light": "#5a6672", "dark": "#a9b4c0"}
# Bytes of pictures, and of thumbnails, that are kept.
ROOM = 128 * 2**20
THUMBNAIL_ROOM = 8 * 2**20
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
        spec: dict[str, Any] = chart.to_dict(validate=schemapi.DEBUG_MODE)
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
    return _made(picture, theme, clickable, moving, named_marks)


def _bytes(found: Drawn) -> int:
    return len(found.specification) + sum(bytes_of(frame) for frame in found.rows.values())


def _key(*about: object) -> Hashable:
    return tuple(content(each) for each in about)


@cached(LRUCache(ROOM, getsizeof=_bytes), key=_key, condition=threading.Condition())
def _made(
    picture: Picture, theme: str, clickable: bool, moving: Moving | None, named_marks: bool
) -> Drawn:
    chart = picture().configure_title(subtitleColor=SUBTITLE[theme])
    chart = chart.configure_mark(aria=named_marks)
    # A label stands at its tick, also at the ends, where Streamlit would push it inwards.
    chart = chart.configure_axis(labelFlush=False)
    if clickable:
        chart = charts.selectable(chart)
    rows: dict[str, pl.DataFrame] = {}
    with _altair, _rows_apart(rows):
        spec = chart.to_dict(validate=schemapi.DEBUG_MODE)
    if any(len(frame) > MOST_ELEMENTS for frame in rows.values()):
        spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}
    return Drawn(json.dumps(moving(spec) if moving else spec), rows)


def _length(links: dict[tuple[str, str], str]) -> int:
    return sum(len(link) for link in links.values())


@cached(LRUCache(THUMBNAIL_ROOM, getsizeof=_length), key=_key, condition=threading.Condition())
def thumbnails(
    cells: pl.DataFrame, metric: str, chance: float, size: int
) -> dict[tuple[str, str], str]:
    """Return ``charts.thumbnail_links`` of the same, kept: a page redraws twenty each time.

    ``cells``: no column but cut, run_id, both steps and the metric, as they are the key.
    """
    return charts.thumbnail_links(cells, metric, chance, size)
