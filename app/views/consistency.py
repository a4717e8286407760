"""Temporal consistency: which shallow part still serves which deep part."""

import polars as pl
import streamlit as st

from app import charts, findings
from app.cached import ask
from app.selection import estimates, matched, unique_cubes
from app.views import beside, scores
from app.views.scene import NORMS, Scene, choose
from app.words import plain

THUMBNAIL = 105


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
    present = {key: name for key, name in scene.names.items() if key in set(cells["run_id"])}
    _picture(scene, at_cut, present)
    _every_cut(scene, cells, present)
    scores.render(scene, at_cut)
    _lag_profiles(scene, at_cut, present)
    beside.tabs(scene)
    with st.expander("The numbers behind the pictures"):
        named = scene.named(at_cut)
        st.dataframe(named.select("run", pl.exclude("run", "arm")), hide_index=True)


def _picture(scene: Scene, at_cut: pl.DataFrame, present: dict[str, str]) -> None:
    """Draw the matrices, retention at equal accuracy and displacement; say what they show."""
    chance = 1 / scene.shown.classes
    points = scene.named(matched(_points(scene), at_cut))
    with st.container(horizontal=True, gap="small"):
        for run_id, name in present.items():
            matrix = at_cut.filter(pl.col("run_id") == run_id)
            if not matrix.is_empty():
                chart = charts.heatmap(matrix, scene.metric, chance, name)
                alt = f"{scene.metric} matrix, {name}, cut {scene.cut}"
                st.altair_chart(chart, width="content", alt=alt)
        with st.container(horizontal=True, gap="small", width="content"):
            _matched_pictures(scene, points)
    if points["displacement"].null_count() == len(points):
        st.caption(
            'Displacement is not in the store for this set: add `kind = "displacement"` to the '
            "`[[analyses]]` of the study."
        )
    for name in undefined(at_cut, present, scene.metric):
        st.caption(
            f"No retention for {plain(name)} on this set (grey): at no checkpoint is its accuracy "
            "9 standard errors above chance. Agreement needs no labels: choose it instead."
        )
    formats = sorted(set(at_cut["dtype"]) - {"float32"})
    if formats:
        st.caption(f"Some cells were computed in {', '.join(formats)}, for want of float32.")
    refined = estimates(at_cut)
    if refined:
        st.caption(refined)
    compared = findings.matched_arms(points, scene.arm_names)
    for sentence in compared:
        st.markdown(sentence)
    if compared:
        st.caption(findings.matched_basis(points))
    contrast = findings.equal_epoch(at_cut, scene.names, scene.cut, scene.shown.split)
    if contrast:
        st.markdown(contrast)


def _matched_pictures(scene: Scene, points: pl.DataFrame) -> None:
    """Draw retention against both; a contrast in one of them alone decides nothing."""
    for matched_by in findings.MATCHED_BY:
        if not points[matched_by].drop_nulls().is_empty():
            chart = charts.retention_against(points, matched_by, scene.arm_names)
            alt = f"retention against {matched_by.replace('_', ' ')}"
            st.altair_chart(chart, width="content", alt=alt)


def _points(scene: Scene) -> pl.DataFrame:
    rows = [
        ask("matched_points", scene.run_ids, scene.shown.split, scene.cut, norm).with_columns(
            pl.lit(norm).alias("norm"), pl.lit(scene.shown.split).alias("split")
        )
        for norm in scene.norms
    ]
    return unique_cubes(pl.concat(rows), scene.shown.eval_ids)


def undefined(cells: pl.DataFrame, names: dict[str, str], metric: str) -> list[str]:
    """Names of the runs for which the metric is defined in no cell."""
    defined = cells.filter(pl.col(metric).is_not_null())["run_id"].unique()
    return [name for run_id, name in names.items() if run_id not in set(defined)]


def _every_cut(scene: Scene, cells: pl.DataFrame, present: dict[str, str]) -> None:
    st.subheader("Every cut", anchor=False)
    rows = "; ".join(plain(name) for name in present.values())
    st.caption(f"From top to bottom: {rows}. Colours and axes as above.")
    with st.container(horizontal=True, gap="small"):
        for cut in scene.cuts:
            with st.container(width=THUMBNAIL, gap="small"):
                st.caption(f"**{plain(cut)}**" if cut == scene.cut else plain(cut))
                of_cut = cells.filter(pl.col("cut") == cut)
                for run_id in present:
                    matrix = of_cut.filter(pl.col("run_id") == run_id)
                    if not matrix.is_empty():
                        chance = 1 / scene.shown.classes
                        link = charts.thumbnail_link(matrix, scene.metric, chance, THUMBNAIL)
                        st.image(link, width=THUMBNAIL)


def _lag_profiles(scene: Scene, at_cut: pl.DataFrame, present: dict[str, str]) -> None:
    st.subheader("Lag profile", anchor=False)
    metric = scene.metric
    with st.container(horizontal=True, gap="medium"):
        for run_id, name in present.items():
            matrix = at_cut.filter(pl.col("run_id") == run_id, pl.col(metric).is_not_null())
            if not matrix.is_empty():
                profile = charts.lag_profile(matrix, metric, 1 / scene.shown.classes, name)
                alt = f"lag profile, {name}, cut {scene.cut}"
                st.altair_chart(profile, width="content", alt=alt)
