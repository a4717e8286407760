"""Every chart of every page: drawn, explained, and downloaded with its data and provenance."""

import json
from collections.abc import Callable
from typing import Any, Literal

import polars as pl
import streamlit as st

from app import charts, controls, exports
from app.cached import ask, store_revision
from app.drawn import Moving, Picture, drawn, specification
from app.exports import Provenance

MIME = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "zip": "application/zip",
}


def figure(
    picture: Picture,
    frame: pl.DataFrame,
    *,
    about: str,
    name: str,
    provenance: Provenance,
    at: str = "",
    width: Literal["content", "stretch"] = "content",
    on_cell: Callable[[dict[str, int]], None] | None = None,
    moving: Moving | None = None,
) -> None:
    """Draw a chart, with what it shows and its files behind one quiet button.

    ``picture``: a function of ``app.charts`` with its arguments, ``partial(charts.heatmap, ...)``;
    it is called where no equal one was drawn before. ``frame``: the rows that it draws. ``about``:
    two sentences for whoever asks "What am I looking at?". ``name``: of this picture on its page,
    for screen readers and files; no other picture of the page may bear it. ``at``: what a control
    of the page says beside it, for files: a picture that keeps its name has only its rows replaced
    in the browser, else it is made anew, which takes longer. ``on_cell``: called before the page is
    drawn again with the cell that was clicked, its ``shallow_step`` and ``deep_step``, of a matrix.
    ``moving`` returns a specification with what moves it, which a file of it doesn't do.
    """
    theme = st.context.theme.type or "light"
    spec = drawn(picture, theme, on_cell is not None, moving).whole
    with st.container(width=width, gap="xxsmall"):
        if on_cell is None:
            st.vega_lite_chart(spec, width=width, alt=name)
        else:
            key = f"chart-{exports.slug(name)}"

            def hear() -> None:
                clicked = st.session_state[key].selection[charts.CELL]
                if clicked:
                    on_cell(clicked[0])

            st.vega_lite_chart(
                spec,
                width=width,
                alt=name,
                key=key,
                on_select=hear,
                selection_mode=charts.CELL,
            )
        _behind(picture, frame, about, name, at, provenance)


@st.fragment
def _behind(
    picture: Picture,
    frame: pl.DataFrame,
    about: str,
    name: str,
    at: str,
    provenance: Provenance,
) -> None:
    """Draw the button; its content is made when it is opened, without a rerun of the page."""
    key = exports.slug(name)
    button = st.popover(
        "What am I looking at?",
        type="tertiary",
        key=f"about-{key}",
        on_change="rerun",
    )
    with button:
        if button.open:
            _content(picture, frame, about, f"{name}, {at}" if at else name, provenance)


def _content(
    picture: Picture, frame: pl.DataFrame, about: str, name: str, provenance: Provenance
) -> None:
    st.markdown(about)
    st.caption(provenance.basis)
    record = _record(about, name, provenance)
    runs = ", ".join(provenance.run_ids)
    caption = (
        f"{about}\n{provenance.basis}\nfeatdyn; study {provenance.study}; runs {runs}; store "
        f"revision {record['store_revision']}."
    )
    heading = name[0].upper() + name[1:]
    spec = specification(picture())
    files = exports.Files(exports.slug(name), heading, spec, frame, caption, record)
    with st.container(horizontal=True, gap="small"):
        for ending, make in files.makers.items():
            st.download_button(
                "all, as zip" if ending == "zip" else ending.upper(),
                make,
                file_name=f"{files.name}.{ending}",
                mime=MIME[ending],
                key=f"{ending}-{files.name}",
                on_click="ignore",
            )
    queries = "`, `".join(provenance.queries)
    source = f"`{queries}` of `store.queries`" if queries else "computed live, not in the store"
    st.caption(f"Data: {source}, store revision {record['store_revision']}. Link to this view:")
    st.code(record["url"], language=None, wrap_lines=True)


def _record(about: str, name: str, provenance: Provenance) -> dict[str, Any]:
    """Gather where the figure comes from, as it stands in its files."""
    computed = ask("unit_versions", provenance.run_ids)
    return {
        "figure": name,
        "about": about,
        "basis": provenance.basis,
        "study": provenance.study,
        "run_ids": list(provenance.run_ids),
        "queries": [f"store.queries.{query}" for query in provenance.queries],
        "store_revision": store_revision(),
        "url": controls.link(),
        "drawn_with": exports.versions(),
        "computed_with": [json.loads(text) for text in computed["versions"].unique().sort()],
    }
