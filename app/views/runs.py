"""Runs: what was trained, how it went, with what, and what is wrong with it."""

import json
from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.exports import Provenance
from app.views.figure import figure
from app.views.study_choice import choose_study
from app.words import plain

LONGEST_CAUSE = 400
LONGEST_FLAG = 160
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
FILTERS = {"arm": "Arm", "status": "Status", "network": "Network", "optimizer": "Optimizer"}
SEARCHED = ("name", "arm", "run_id", "dataset", "network", "optimizer")
# More lines than this can't be told apart.
MOST_CURVES = 12


def render() -> None:
    """Draw the page."""
    st.header("Runs", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        names = dict(runs.select("run_id", "name").iter_rows())
        chosen = controls.select(
            "Run", "run", ["all", *names], "all", lambda key: names.get(key, "all runs")
        )
        shown = _filtered(runs) if chosen == "all" else runs.filter(pl.col("run_id") == chosen)
    if shown.is_empty():
        st.info("No run of this study is like that: clear the search or a filter.")
        return
    _curves(study, shown, names)
    _failures(shown)
    _table(shown, COLUMNS)
    if chosen == "all":
        _control_runs(study)
    _integrity(tuple(shown["run_id"]), names)
    _provenance(tuple(shown["run_id"]), names)
    if chosen != "all":
        with st.expander("Configuration"):
            st.json(json.loads(shown["config"][0]))


def _filtered(runs: pl.DataFrame) -> pl.DataFrame:
    """Draw the search and a filter for every column in which the runs differ."""
    found = runs
    words = controls.text("Search", "q", width=210, placeholder="name, arm, run_id ...")
    for word in words.lower().split():
        hits = [
            pl.col(name).str.to_lowercase().str.contains(word, literal=True) for name in SEARCHED
        ]
        found = found.filter(pl.any_horizontal(*hits))
    for column, label in FILTERS.items():
        values = runs[column].drop_nulls().unique(maintain_order=True).to_list()
        if len(values) > 1:
            kept = controls.several(label, column, values)
            found = found.filter(pl.col(column).is_in(kept)) if kept else found
    return found


def _curves(study: str, shown: pl.DataFrame, names: dict[str, str]) -> None:
    """Draw accuracy and loss while the runs train."""
    run_ids = tuple(shown["run_id"].head(MOST_CURVES))
    metrics = ask("metrics", run_ids).with_columns(pl.col("run_id").replace(names).alias("run"))
    checkpoints = ask("checkpoints", run_ids)
    if metrics.is_empty():
        st.info("Not trained yet: `featdyn run` trains it.")
        return
    provenance = Provenance(
        study,
        run_ids,
        ("metrics", "checkpoints"),
        "Training set with the labels trained on, test set with the true ones, evaluation mode "
        "at each checkpoint. Single trainings, no interval.",
    )
    for column, value, axis in zip(
        st.columns(2), ("accuracy", "loss"), ("accuracy", "loss (nats)"), strict=True
    ):
        with column:
            figure(
                partial(
                    charts.training_curves, metrics, checkpoints, list(names.values()), value, axis
                ),
                metrics,
                about=(
                    f"The {value} of each run while it trains, solid on its training set and "
                    "dashed on the test set. Dotted rules: the learning rate changes; ticks: a "
                    "checkpoint."
                ),
                name=f"{value} by epoch, train and test",
                provenance=provenance,
                width="stretch",
            )
    few = f" The first {MOST_CURVES} of {len(shown):,} runs: filter to see others."
    st.caption(
        "Measured in evaluation mode at each checkpoint (ticks at the bottom): training set "
        "with the labels trained on, test set with the true ones. Dotted rules: the learning "
        f"rate changes.{few if len(shown) > MOST_CURVES else ''}"
    )


def _failures(runs: pl.DataFrame) -> None:
    """Say of each run that could not go on where it stopped, and why."""
    for run in runs.filter(pl.col("status") == "failed").iter_rows(named=True):
        step = run["failed_step"]
        where = "" if step is None else f" after {step:,} updates"
        cause = plain(run["failure"] or "no cause was recorded", LONGEST_CAUSE)
        st.error(f"**{plain(run['name'])}** failed{where}: {cause}")


def _table(runs: pl.DataFrame, columns: list[str]) -> None:
    """List runs with their last accuracies."""
    ends = ask("final_accuracies", tuple(runs["run_id"]))
    table = runs.join(ends, on="run_id", how="left", maintain_order="left").with_columns(
        (100 * pl.col("train_accuracy")).alias("training accuracy"),
        (100 * pl.col("test_accuracy")).alias("test accuracy"),
    )
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
    named = runs.with_columns(pl.col("controls").list.join(", ").str.replace_all("_", " "))
    _table(named, ["name", "controls", *COLUMNS[1:]])


def _integrity(run_ids: tuple[str, ...], names: dict[str, str]) -> None:
    """Say what the store's rows show to be wrong; what only the files show is ``verify``'s."""
    st.subheader("Integrity", anchor=False)
    flags = ask("integrity_flags", run_ids)
    for run_id, flag, places in flags.iter_rows():
        said = plain(f"{flag}: {places}", LONGEST_FLAG)
        st.warning(f"**{plain(names.get(run_id, run_id))}**: {said}")
    found = "Nothing is wrong in the rows of these runs. " if flags.is_empty() else ""
    st.caption(
        f"{found}Looked at: equal checkpoints at different steps, checkpoints that the "
        "configuration asks for and the store lacks, units of work that failed. Damaged files are "
        "found by `featdyn verify`, which reads every one."
    )


def _provenance(run_ids: tuple[str, ...], names: dict[str, str]) -> None:
    """List checkpoints with their hashes, and what computed the rows."""
    named = pl.col("run_id").replace(names).alias("run")
    with st.expander("Checkpoints and their hashes"):
        st.dataframe(
            ask("checkpoints", run_ids[:MOST_CURVES]).select(named, pl.all()), hide_index=True
        )
    with st.expander("Computed with: versions, machine, device"):
        st.dataframe(
            ask("unit_versions", run_ids[:MOST_CURVES]).select(named, pl.all()), hide_index=True
        )
