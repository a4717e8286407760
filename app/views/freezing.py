"""Freezing: what blocks held still, and stored ones replayed, do to the final accuracy."""

from functools import partial
from typing import Any

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.exports import Provenance
from app.views import replays
from app.views.figure import figure
from app.views.study_choice import choose_study

EXAMPLE = """[[arms]]
name = "not frozen"

[[arms]]
name = "frozen"
[arms.sweep.freeze]
cut = ["stage1.2", "stage2.2"]
from_epoch = [0, 5, 20]
part = ["shallow", "deep"]"""
AXES = {"clean": "final test accuracy", "corrupted": "final accuracy, corrupted test images"}
MEANS = {"clean": "", "corrupted": "mean over kinds of the mean over severities, "}
UNFROZEN = (pl.col("part") == "none") & ~pl.col("replay")
# With a smaller share the shallow part goes on learning: that is the section on replay.
STANDS_STILL = (pl.col("part") != "none") | (pl.col("share") == 1)


def render() -> None:
    """Draw the page."""
    st.header("Freezing", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        images = "clean"
        if not ask("freezing", study, "corrupted").is_empty():
            images = controls.select("Test images", "images", ["clean", "corrupted"], images)
        conditions = ask("freezing", study, images)
        disturbed = conditions.filter(STANDS_STILL)
        if not disturbed.is_empty():
            shown = _chosen(conditions, disturbed)
    if disturbed.is_empty():
        st.info("Nothing stands still in a finished run of this study. A grid is asked for so:")
        st.code(EXAMPLE, language=None)
    else:
        figure(
            partial(charts.freezing, shown, AXES[images]),
            shown,
            about=(
                "Final test accuracy of runs of which some blocks were held still, against the "
                "step from which they were. Marks below the grey rule: the motion that was "
                "stopped had mattered."
            ),
            name="accuracy against the freezing step",
            provenance=_provenance(study, runs, shown, images),
        )
        st.markdown(_finding(shown, images))
        _caption(shown, images)
    recipes = conditions.filter(UNFROZEN)
    if len(recipes) > 1:
        figure(
            partial(charts.accuracy_by_setting, recipes),
            recipes,
            about=(
                "Final test accuracy of the arms that nothing was done to, one row a recipe. Where "
                "the bars overlap, seeds alone may explain the difference."
            ),
            name="accuracy of each recipe",
            provenance=_provenance(study, runs, recipes, images),
        )
        st.caption(
            "Arms that are neither frozen nor replayed, at their last step; n = "
            f"{max(recipes['n'].to_list()):,} test examples. Intervals: Student's t over seeds."
        )
    replays.render(study, tuple(runs["run_id"]))
    if not conditions.is_empty():
        with st.expander("Numbers"):
            st.dataframe(conditions.drop("setting"), hide_index=True)


def _provenance(study: str, runs: pl.DataFrame, shown: pl.DataFrame, images: str) -> Provenance:
    """Say what the accuracies rest on."""
    basis = (
        f"Test set, {MEANS[images]}n = {max(shown['n'].to_list()):,}, last step, BatchNorm as at "
        "the end of the run. Null: the run that is not frozen. Intervals: Student's t over seeds."
    )
    return Provenance(study, tuple(runs["run_id"]), ("freezing",), basis)


def _chosen(conditions: pl.DataFrame, disturbed: pl.DataFrame) -> pl.DataFrame:
    """Draw the choice of recipe where several are frozen; return the conditions of it."""
    names: dict[str, str] = {}
    for setting in disturbed["setting"].unique(maintain_order=True):
        of_setting = conditions.filter(pl.col("setting") == setting)
        unfrozen = of_setting.filter(UNFROZEN)
        names[setting] = (of_setting if unfrozen.is_empty() else unfrozen)["arm"][0]
    setting = next(iter(names))
    if len(names) > 1:
        setting = controls.select(
            "Against", "setting", list(names), setting, lambda key: names[key]
        )
    return conditions.filter(pl.col("setting") == setting)


def _finding(shown: pl.DataFrame, images: str) -> str:
    """Say which freezing of the shallow part costs most, and what its two controls cost."""
    paired = shown.filter(pl.col("difference").is_not_null(), pl.col("part") == "shallow")
    if paired.is_empty():
        return (
            "No frozen run has its unfrozen one, of equal seed and recipe, in this study: "
            "add an arm without `freeze` and `replay`."
        )
    worst = paired.sort("difference").row(0, named=True)
    said = [
        f"Holding blocks 1 to {worst['frozen_depth']} still from epoch "
        f"{worst['frozen_from_epoch']:.3g} changes the final accuracy on {images} test images by "
        f"{_points(worst, 'difference', 'n_pairs')}"
        + (
            f", the lowest of {len(paired)} conditions (the interval is not corrected for choosing "
            "it)."
            if len(paired) > 1
            else "."
        )
    ]
    if worst["over_deep"] is not None:
        said.append(
            "Against holding a block behind them still instead: "
            f"{_points(worst, 'over_deep', 'n_deep')}."
        )
    final = shown.filter(pl.col("difference").is_not_null(), pl.col("part") == "final")
    if not final.is_empty():
        held = final.sort("difference").row(0, named=True)
        said.append(
            f"Blocks 1 to {held['frozen_depth']} held from the beginning with their final weights, "
            f"which are mature and don't move: {_points(held, 'difference', 'n_pairs')}."
        )
    return " ".join(said)


def _points(row: dict[str, Any], name: str, seeds: str) -> str:
    """Put a difference in points, with its interval over seeds."""
    points = f"**{100 * row[name]:+.1f} points**"
    if row[seeds] == 1:
        return f"{points} (a single seed, so no interval)"
    low, high = 100 * row[f"{name}_low"], 100 * row[f"{name}_high"]
    return f"{points} ({low:+.1f} to {high:+.1f}, 95 % over {row[seeds]} seeds)"


def _caption(shown: pl.DataFrame, images: str) -> None:
    seeds = "" if max(shown["n_seeds"].to_list()) > 1 else " One seed: nothing is known of others."
    st.caption(
        f"Test accuracy at the last step, {MEANS[images]}n = {max(shown['n'].to_list()):,} "
        "examples, BatchNorm as at the end of the run (frozen blocks keep their statistics). Bars "
        "and band: Student's t over seeds, the examples held fixed; differences are paired by "
        "seed. Null: the run that is not frozen; the deep control holds one block behind the cut "
        "still, of about as many parameters; the final shallow part under a retrained deep part "
        f"tells immature features from features that don't move.{seeds}"
    )
