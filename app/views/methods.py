"""Methods: what every quantity means, whose definition it is, and how to cite a run."""

import json

import polars as pl
import streamlit as st

from app import controls, methods
from app.cached import ask
from app.definitions import DEFINITIONS
from app.views.study_choice import choose_study
from featdyn_engine.domain import RunConfig
from store.connection import StoreMissingError


def render() -> None:
    """Draw the page."""
    st.header("Methods", anchor=False)
    st.caption(
        "featdyn implements the system of Ruan, Gai & Zhang, Feature Dynamics as Implicit Data "
        "Augmentation (arXiv 2509.20334). Where it had to choose an operational definition, that "
        "choice is marked as ours: a number here is never the paper's."
    )
    try:
        _citation()
    except StoreMissingError:
        st.info("This store is empty: a run to cite comes with `make demo`.")
    st.subheader("Definitions", anchor=False)
    for each in DEFINITIONS:
        with st.container(border=True):
            st.markdown(f"**{each.name}** · {each.whose}")
            st.latex(each.formula)
            st.markdown(each.words)
    st.caption(
        "Intervals are of two kinds that are never mixed: 95 % over examples, for the trained "
        "network at hand, or 95 % over seeds, Student's t, the examples held fixed. Each picture "
        "says which. docs/notation.md has the rest: controls, distances, noise, freezing."
    )


def _citation() -> None:
    """Draw the choice of a run, its paragraph and its BibTeX."""
    st.subheader("Cite a run", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _, runs = choose_study()
        names = dict(runs.select("run_id", "name").iter_rows())
        run = controls.select("Run", "run", list(names), next(iter(names)), lambda key: names[key])
    row = runs.row(by_predicate=pl.col("run_id") == run, named=True)
    try:
        config = RunConfig.from_json(json.loads(row["config"]))
    except (KeyError, TypeError, ValueError):
        st.info(
            "The configuration of this run is not one that this version of featdyn can describe; "
            "the page Runs shows it as it is."
        )
        return
    computed = ask("unit_versions", (run,))["versions"].unique().sort()
    versions = [json.loads(text) for text in computed]
    norms = (
        ask("splice_choices", (run,))
        .filter(pl.col("control") == "none")["norm"]
        .unique()
        .sort()
        .to_list()
    )
    text = methods.paragraph(config, row["train_size"], norms, versions)
    st.code(text, language=None, wrap_lines=True)
    st.code(methods.bibtex(config, row["name"], versions), language="latex", wrap_lines=True)
    st.caption("Made from the configuration of the run; the button in a block's corner copies it.")
