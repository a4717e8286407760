"""Distances: how far the laws of features move while a run trains, beside their nulls."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.exports import Provenance
from app.views.figure import figure
from app.views.study_choice import choose_study

SPLITS = ["train", "test"]


def render() -> None:
    """Draw the page."""
    st.header("Distances", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        names = dict(runs.select("run_id", "name").iter_rows())
        stored = {split: ask("divergences", tuple(names), split) for split in SPLITS}
        splits = [split for split in SPLITS if not stored[split].is_empty()]
        if not splits:
            st.info(
                'Not in the store yet: `kind = "divergences"` in the `[[analyses]]` of a study '
                "asks for it, then"
            )
            st.code("featdyn run STUDY.toml", language="bash")
            return
        split = controls.segments("Examples", "split", splits, splits[0])
        of_split = stored[split]
        present = [run for run in names if run in set(of_split["run_id"])]
        run = controls.select("Run", "run", present, present[0], lambda key: names[key])
    of_run = of_split.filter(pl.col("run_id") == run)
    # One set a picture: the first of the run on this split.
    of_run = of_run.filter(pl.col("eval_id") == pl.col("eval_id").first())
    _by_lag(of_run, split, study)
    _bound(run)
    with st.expander("The numbers behind the pictures"):
        st.dataframe(of_run, hide_index=True)


def _by_lag(of_run: pl.DataFrame, split: str, study: str) -> None:
    """Draw each cut's distances to the last step; TV at the most components, with labels."""
    steps = of_run.filter(
        pl.col("other_eval_id") == "none", pl.col("deep_step") == pl.col("deep_step").max()
    )
    densities = steps.filter(pl.col("measure") == "tv_kde", pl.col("labelled"))
    q = densities.filter(pl.col("value").is_not_null())["q"].to_list()
    most = max(q, default=1)
    shown = steps.filter(
        (pl.col("measure") != "tv_kde") | (pl.col("labelled") & (pl.col("q") == most))
    )
    basis = (
        f"{split.capitalize()} set, n = {max(shown['n'].to_list()):,}, BatchNorm "
        f"{shown['norm'][0]}. Null: permutations within each example, its highest 95 % point grey; "
        "one training, no interval over seeds."
    )
    provenance = Provenance(study, (of_run["run_id"][0],), ("divergences",), basis)
    with st.container(horizontal=True, gap="medium"):
        for cut in shown.sort("depth")["cut"].unique(maintain_order=True):
            of_cut = shown.filter(pl.col("cut") == cut)
            figure(
                partial(charts.excess_by_lag, of_cut, cut),
                of_cut,
                about=(
                    "How far the law of the features at an earlier checkpoint lies from that at "
                    "the last one, above what chance alone would give. Each line is another "
                    "distance, in units of its own largest value."
                ),
                name=f"excess distance by lag, cut {cut}",
                provenance=provenance,
            )
    counts = " and ".join(f"{each:,}" for each in sorted(set(shown["permutations"]), reverse=True))
    st.caption(
        "From each earlier step to the last one: distance minus the mean of its permutation null, "
        "each measure in units of its largest value in the picture. Grey: up to the highest 95 % "
        "point of any null; the rows of each example are swapped. "
        f"{split.capitalize()} set, n = {max(shown['n'].to_list()):,}, {counts} permutations "
        f"(fewer for the classifier), BatchNorm {shown['norm'][0]}, one run: no interval over "
        f"seeds. TV by densities, with labels, is an estimate for {most} principal components with "
        "a bias of its own: its excess is a test statistic. TV shown by a classifier is a lower "
        "bound: the lower 95 % limit over examples."
    )


def _bound(run: str) -> None:
    """Tabulate what the bound needs, beside what is known of TV."""
    terms = ask("bound_terms", (run,))
    if terms.is_empty():
        return
    st.subheader("What the bound needs", anchor=False)
    table = terms.select(
        "cut",
        "norm",
        "deep_step",
        (100 * pl.col("risk")).alias("R_Q"),
        (100 * pl.col("augmented_risk")).alias("R_aug"),
        (100 * pl.col("tv_needed")).alias("TV needed"),
        "checkpoints",
        "train_n",
        "test_n",
    )
    percent = st.column_config.NumberColumn(format="%.1f %%")
    st.dataframe(
        table,
        hide_index=True,
        column_config=dict.fromkeys(["R_Q", "R_aug", "TV needed"], percent),
    )
    st.caption(
        "R_Q ≤ R_aug + B TV with 0-1 loss, B = 1. Estimated from cells: R_Q, the error on the test "
        "set; R_aug, the mean error on the training set under every shallow part up to the deep "
        "step; TV needed, their difference. Not estimated: TV itself, known by lower bounds alone, "
        "so the bound is not checked here."
    )
