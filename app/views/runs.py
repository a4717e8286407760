"""Runs: what was trained, how it went, where its checkpoints lie."""

import json

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.views.study_choice import choose_study

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
        _, runs = choose_study()
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
        table.filter(pl.col("run_id").is_in(run_ids)).select(COLUMNS),
        hide_index=True,
        column_config={"training accuracy": percent, "test accuracy": percent},
    )
    with st.expander("Checkpoints"):
        st.dataframe(checkpoints, hide_index=True)
    if chosen != "all":
        with st.expander("Configuration"):
            st.json(json.loads(runs.filter(pl.col("run_id") == chosen)["config"][0]))
