"""Temporal consistency: which shallow part still serves which deep part."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, findings
from app.drawn import thumbnails
from app.selection import with_limits
from app.views import beside, cell, contrast, pair, scores
from app.views.contrast import WILSON
from app.views.figure import figure
from app.views.scene import NORMS, Scene, choose
from app.words import plain

THUMBNAIL = 105
ABOUT_LAGS = (
    "Each line is one deep part, under shallow parts from further and further back. Lines are "
    "never pooled, since late deep parts alone have long lags."
)


def render() -> None:
    """Draw the page."""
    st.header("Temporal consistency", anchor=False)
    scene = choose()
    if scene is None:
        return
    words = "; ".join(f"`{norm}`: {NORMS[norm]}" for norm in scene.norms)
    st.caption(
        "The shallow part of one checkpoint under the deep part of another, every pair. "
        f"BatchNorm {words}. {scene.shown.split.capitalize()} set: {plain(scene.shown.title, 160)}."
    )
    cells = scene.cells()
    at_cut = cells.filter(pl.col("cut") == scene.cut)
    if at_cut.is_empty():
        st.info(
            f"No splices of this set at {plain(scene.cut)} with this normalisation yet: name them "
            "in a study (`evaluations`, `norm`, `cuts` of kind `splices`), then"
        )
        st.code("featdyn run STUDY.toml", language="bash")
        return
    with_cells = set(cells["run_id"].unique())
    present = {key: name for key, name in scene.names.items() if key in with_cells}
    _picture(scene, at_cut, present)
    _every_cut(scene, cells, present)
    cell.render(scene, at_cut, present)
    pair.render(scene, at_cut, present)
    scores.render(scene, at_cut)
    _lag_profiles(scene, at_cut, present)
    beside.tabs(scene)
    numbers = st.expander("The numbers behind the pictures", key="numbers", on_change="rerun")
    if numbers.open:
        named = scene.named(at_cut)
        numbers.dataframe(named.select("run", pl.exclude("run", "arm")), hide_index=True)


def _picture(scene: Scene, at_cut: pl.DataFrame, present: dict[str, str]) -> None:
    """Draw the matrices, retention at equal accuracy and displacement; say what they show."""
    with st.container(horizontal=True, gap="small"):
        if scene.over_seeds:
            contrast.mean_matrices(scene, at_cut)
        else:
            contrast.matrices(scene, at_cut, present, cell.choose)
        # A browser draws the matrices meanwhile.
        points = scene.points(at_cut)
        with st.container(horizontal=True, gap="small", width="content"):
            contrast.matched_pictures(scene, points)
    contrast.caveats(scene, at_cut, points, present)
    contrast.said(points, scene.arm_names)
    equal = findings.equal_epoch(at_cut, scene.names, scene.cut, scene.shown.split)
    if equal:
        st.markdown(equal)


def _every_cut(scene: Scene, cells: pl.DataFrame, present: dict[str, str]) -> None:
    st.subheader("Every cut", anchor=False)
    rows = "; ".join(plain(name) for name in present.values())
    st.caption(f"From top to bottom: {rows}. Colours and axes as above.")
    used = cells.select("cut", "run_id", "shallow_step", "deep_step", scene.metric)
    links = thumbnails(used, scene.metric, 1 / scene.shown.classes, THUMBNAIL)
    with st.container(horizontal=True, gap="small"):
        for cut in scene.cuts:
            with st.container(width=THUMBNAIL, gap="small"):
                st.caption(f"**{plain(cut)}**" if cut == scene.cut else plain(cut))
                for run_id in present:
                    link = links.get((cut, run_id))
                    if link is not None:
                        alt = f"{scene.metric} matrix, {present[run_id]}, {cut}"
                        st.image(link, width=THUMBNAIL, alt=alt)


def _lag_profiles(scene: Scene, at_cut: pl.DataFrame, present: dict[str, str]) -> None:
    st.subheader("Lag profile", anchor=False)
    metric = scene.metric
    with st.container(horizontal=True, gap="medium"):
        for run_id, name in present.items():
            matrix = with_limits(
                at_cut.filter(pl.col("run_id") == run_id, pl.col(metric).is_not_null()), "agreement"
            )
            if not matrix.is_empty():
                figure(
                    partial(charts.lag_profile, matrix, metric, 1 / scene.shown.classes, name),
                    matrix,
                    about=ABOUT_LAGS,
                    name=f"lag profile, {name}",
                    at=f"cut {scene.cut}",
                    provenance=scene.provenance(
                        "splice_cells", n=max(matrix["n"].to_list()), rest=WILSON
                    ),
                )
