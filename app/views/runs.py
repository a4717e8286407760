"""Runs: what was trained, how it went, where its checkpoints lie."""

import json

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.views.study_choice import choose_study
from app.words import plain

LONGEST_CAUSE = 400
COLUMNS = [
    "name",
    "status",
    "training accuracy",
    "test accuracy",
    "dataset",
    "train_size",
    "network",
    "norm_layer",
    "optimizer",
    "label_noise",
    "seed_init",
    "seed_order",
    "seed_labels",
    "run_id",
]


def render() -> None:
    """Draw the page."""
    st.header("Runs", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        names = dict(runs.select("run_id", "name").iter_rows())
        chosen = controls.select(
            "Run", "run", ["all", *names], "all", lambda key: names.get(key, "all runs")
        )
    run_ids = tuple(names) if chosen == "all" else (chosen,)
    metrics = ask("metrics", run_ids).with_columns(pl.col("run_id").replace(names).alias("run"))
    checkpoints = ask("checkpoints", run_ids)

    if metrics.is_empty():
        st.info("Not trained yet: `featdyn run` trains it.")
    else:
        left, right = st.columns(2)
        with left:
            chart = charts.training_curves(
                metrics, checkpoints, list(names.values()), "accuracy", "accuracy"
            )
            st.altair_chart(chart, alt="accuracy by epoch, train and test")
        with right:
            chart = charts.training_curves(
                metrics, checkpoints, list(names.values()), "loss", "loss (nats)"
            )
            st.altair_chart(chart, alt="loss by epoch, train and test")
        st.caption(
            "Measured in evaluation mode at each checkpoint (ticks at the bottom): training set "
            "with the labels trained on, test set with the true ones. Dotted rules: the learning "
            "rate changes."
        )

    _failures(runs.filter(pl.col("run_id").is_in(run_ids)))
    _table(runs.filter(pl.col("run_id").is_in(run_ids)), metrics, COLUMNS)
    if chosen == "all":
        _control_runs(study)
    with st.expander("Checkpoints"):
        st.dataframe(checkpoints, hide_index=True)
    if chosen != "all":
        with st.expander("Configuration"):
            st.json(json.loads(runs.filter(pl.col("run_id") == chosen)["config"][0]))


def _failures(runs: pl.DataFrame) -> None:
    """Say of each run that could not go on where it stopped, and why."""
    for run in runs.filter(pl.col("status") == "failed").iter_rows(named=True):
        step = run["failed_step"]
        where = "" if step is None else f" after {step:,} updates"
        cause = plain(run["failure"] or "no cause was recorded", LONGEST_CAUSE)
        st.error(f"**{plain(run['name'])}** failed{where}: {cause}")


def _table(runs: pl.DataFrame, metrics: pl.DataFrame, columns: list[str]) -> None:
    """List runs with their last accuracies."""
    last = metrics.filter(
        pl.col("mode") == "eval", pl.col("step") == pl.col("step").max().over("run_id")
    )
    table = runs
    for split, title in (("train", "training accuracy"), ("test", "test accuracy")):
        ends = last.filter(pl.col("split") == split).select(
            "run_id", (100 * pl.col("accuracy")).alias(title)
        )
        table = table.join(ends, on="run_id", how="left", maintain_order="left")
    percent = st.column_config.NumberColumn(format="%.1f %%")
    st.dataframe(
        table.select(columns),
        hide_index=True,
        column_config={"training accuracy": percent, "test accuracy": percent},
    )


def _control_runs(study: str) -> None:
    """List the runs that the engine trained for controls alone, apart from the arms."""
    runs = ask("control_runs", study)
    if runs.is_empty():
        return
    st.subheader("Runs for controls", anchor=False)
    st.caption(
        "Trained by the engine because a control needs their shallow parts; no arm of the study, "
        "and on no other page as runs of their own."
    )
    _failures(runs)
    metrics = ask("metrics", tuple(runs["run_id"]))
    named = runs.with_columns(pl.col("controls").list.join(", ").str.replace_all("_", " "))
    _table(named, metrics, ["name", "controls", *COLUMNS[1:]])
