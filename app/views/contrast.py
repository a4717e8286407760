"""The headline contrast: matrices of the arms, retention at equal values, what they say."""

from collections.abc import Callable
from functools import partial

import polars as pl
import streamlit as st

from app import charts, findings
from app.selection import estimates, means_of_arms
from app.views.figure import figure
from app.views.scene import Scene
from app.words import plain

WILSON = "Null: chance. Intervals: 95 % over examples (Wilson), one training each."
FIELLER = "Null: chance. Intervals: 95 % over examples (Fieller), one training each."
ABOUT_MATRIX = {
    "accuracy": (
        "Each cell joins the shallow part of one checkpoint (row) to the deep part of another "
        "(column) and shows how many examples the composite gets right. The line is the network "
        "itself; right of it the shallow part is the earlier one, where consistency shows as "
        "brightness that reaches down."
    ),
    "agreement": (
        "Each cell joins the shallow part of one checkpoint (row) to the deep part of another "
        "(column) and shows the share of examples on which the composite predicts what the deep "
        "part's own network predicts. It needs no labels."
    ),
    "retention": (
        "Each cell joins the shallow part of one checkpoint (row) to the deep part of another "
        "(column) and shows which share of the accuracy above chance of the deep part's own "
        "network is kept. Grey: that network is too close to chance for a ratio."
    ),
}
ABOUT_MATCHED = {
    "own_accuracy": (
        "Each point is an earlier checkpoint under the final deep part: what its shallow part "
        "retains, against how accurate that checkpoint was itself. Where the lines of two arms "
        "coincide, a contrast at equal epochs comes from how much had been learned."
    ),
    "displacement": (
        "Each point is an earlier checkpoint under the final deep part: what its shallow part "
        "retains, against how far its features still had to move (1: as far as the final ones "
        "spread). A line that is higher keeps more at an equal distance."
    ),
}


def matrices(
    scene: Scene,
    at_cut: pl.DataFrame,
    names: dict[str, str],
    on_cell: Callable[[str, dict[str, int]], None] | None = None,
) -> None:
    """Draw the matrix of each run of ``names``; ``on_cell`` hears of a click, with its run."""
    for run_id, name in names.items():
        matrix = at_cut.filter(pl.col("run_id") == run_id)
        if matrix.is_empty():
            continue
        click = partial(on_cell, run_id) if on_cell else None
        figure(
            partial(charts.heatmap, matrix, scene.metric, 1 / scene.shown.classes, name),
            matrix,
            about=ABOUT_MATRIX[scene.metric],
            name=f"{scene.metric} matrix, {name}",
            at=f"cut {scene.cut}",
            provenance=scene.provenance("splice_cells", n=max(matrix["n"].to_list()), rest=WILSON),
            on_cell=click,
        )


def mean_matrices(scene: Scene, at_cut: pl.DataFrame) -> None:
    """Draw the mean over the seeds of each arm."""
    means = means_of_arms(at_cut, scene.arms)
    for arm in scene.arm_names:
        matrix = means.filter(pl.col("arm") == arm)
        if matrix.is_empty():
            continue
        seeds = matrix["seeds"][0]
        name = f"{arm}, {f'mean of {seeds} seeds' if seeds > 1 else 'one seed'}"
        figure(
            partial(
                charts.heatmap, matrix, scene.metric, 1 / scene.shown.classes, name, over="seeds"
            ),
            matrix,
            about=ABOUT_MATRIX[scene.metric],
            name=f"{scene.metric} matrix, {name}",
            at=f"cut {scene.cut}",
            provenance=scene.provenance(
                "splice_cells",
                n=max(matrix["n"].to_list()),
                rest="Null: chance. Means over seeds; intervals: 95 % over seeds (Student's t), "
                "none for one seed.",
            ),
        )


def matched_pictures(scene: Scene, points: pl.DataFrame) -> None:
    """Draw retention against both; a contrast in one of them alone decides nothing."""
    for matched_by in findings.MATCHED_BY:
        if not points[matched_by].drop_nulls().is_empty():
            figure(
                partial(charts.retention_against, points, matched_by, scene.arm_names),
                points,
                about=ABOUT_MATCHED[matched_by],
                name=f"retention against {matched_by.replace('_', ' ')}",
                at=f"cut {scene.cut}",
                provenance=scene.provenance(
                    "matched_points", n=max(points["n"].to_list()), rest=FIELLER
                ),
            )


def undefined(cells: pl.DataFrame, names: dict[str, str], metric: str) -> list[str]:
    """Names of the runs for which the metric is defined in no cell."""
    defined = cells.filter(pl.col(metric).is_not_null())["run_id"].unique()
    return [name for run_id, name in names.items() if run_id not in set(defined)]


def caveats(
    scene: Scene, at_cut: pl.DataFrame, points: pl.DataFrame, names: dict[str, str]
) -> None:
    """Say what is missing or uncertain in the pictures."""
    if not points.is_empty() and points["displacement"].null_count() == len(points):
        st.caption(
            'Displacement is not in the store for this set: add `kind = "displacement"` to the '
            "`[[analyses]]` of the study, with the set among its `evaluations`."
        )
    for name in undefined(at_cut, names, scene.metric):
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


def said(points: pl.DataFrame, arms: list[str]) -> None:
    """Say whether the arms differ, with the intervals and what they rest on."""
    compared = findings.matched_arms(points, arms)
    for sentence in compared:
        st.markdown(sentence)
    if compared:
        st.caption(findings.matched_basis(points))
