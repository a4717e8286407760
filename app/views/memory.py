"""Memory: which examples a later deep part keeps under earlier features, and where it forgets."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, memory_findings
from app.cached import ask
from app.exports import Provenance
from app.memory_arms import intervals, law, variance
from app.views.figure import figure
from app.views.memory_scene import MemoryScene, choose
from app.words import plain

CELLS = ("memory_cells", "memory_over_seeds")
GAP_NULL = "Here: the training set minus each other one. Null: 0, as much is lost on both."
NULL = "Null: the network of the deep part itself, lag 0, where nothing flips."


def render() -> None:
    """Draw the page."""
    st.header("Memory", anchor=False)
    st.caption(
        "Our reading of memory, forgetting, transferability and induction: the paper's own "
        "definitions are not public. Each cell, the shallow part of one checkpoint under the deep "
        "part of another, is held against the network of its deep part, example by example."
    )
    scene = choose()
    if scene is None:
        return
    of_set = scene.of_set
    at = of_set.filter(pl.col("deep_step") == scene.deep)
    if at.is_empty():
        st.info("None of this set here: choose another set, cut or deep part.")
        return
    _flips(scene, at)
    _shares(scene, of_set)
    gaps = scene.rows.filter(pl.col("gap").is_not_null(), pl.col("deep_step") == scene.deep)
    _gaps(scene, gaps)
    _induction(scene)
    with st.expander("The numbers behind the pictures"):
        st.dataframe(scene.own_cells.filter(pl.col("deep_step") == scene.deep), hide_index=True)


def _flips(scene: MemoryScene, at: pl.DataFrame) -> None:
    """Draw the flips of each arm by lag, and say what they amount to."""
    columns = ["right_to_wrong", "wrong_to_right", "change_low", "change_high"]
    longest = at.select(pl.max_horizontal(pl.col(name).abs().max() for name in columns)).item()
    limit = min(1.1 * longest + 0.01, 1.0)
    with st.container(horizontal=True, gap="medium"):
        for arm in scene.present(at):
            of_arm = at.filter(pl.col("arm") == arm)
            figure(
                partial(charts.flips_by_lag, of_arm, limit, arm, variance(of_arm)),
                of_arm,
                about=(
                    "How many examples change between right and wrong when a later deep part reads "
                    "the features of another checkpoint: up, wrong to right; down, right to wrong. "
                    "The dot is the sum of both, the change of accuracy."
                ),
                name=f"flips by lag, {arm}",
                at=f"cut {scene.cut}",
                provenance=_provenance(scene, of_arm, NULL),
            )
        figure(
            partial(charts.share_by_lag, at, scene.arms, variance(at)),
            at,
            about=(
                "Of the examples that the deep part's own network has in memory, the share that it "
                "still has under the features of another checkpoint, by the lag between both. A "
                "line that falls late keeps its memory over a longer past."
            ),
            name="share of memory kept",
            at=f"cut {scene.cut}",
            provenance=_provenance(scene, at, NULL),
        )
    own = scene.own_cells
    said = memory_findings.kept(at, own, scene.present(at), scene.cut)
    if said:
        st.markdown(said)
    st.markdown(memory_findings.forgotten(own, scene.present(at)))
    st.caption(
        f"{scene.about} {NULL} "
        "McNemar's p is exact and of one cell of one run, not corrected for the other cells. "
        f"{intervals(at)}"
    )


def _provenance(scene: MemoryScene, rows: pl.DataFrame, null: str) -> Provenance:
    """Say what rows of ``memory_arms.of_arms`` rest on; ``null``: what they are held against."""
    n = f"n = {max(rows['n'].to_list()):,}"
    # A gap is told of every set, whatever is shown.
    own = scene.cells.filter(pl.col("arm").is_in(rows["arm"].unique().to_list()))
    basis = f"{scene.about} {n}. {null} {intervals(rows)}"
    run_ids = tuple(own["run_id"].unique(maintain_order=True))
    return Provenance(scene.study, run_ids, CELLS, basis)


def _of_runs(scene: MemoryScene, points: pl.DataFrame) -> Provenance:
    """Say what the memory of runs rests on."""
    train, test = (max(points[name].to_list()) for name in ("train_n", "test_n"))
    basis = (
        f"Largest training set with the labels trained on, n = {train:,}, and largest clean test "
        f"set, n = {test:,}; cut after {plain(scene.cut)}, BatchNorm {' and '.join(scene.norms)}. "
        "Bars: 95 % over examples, one training each. No null: a description."
    )
    run_ids = tuple(points["run_id"].unique(maintain_order=True))
    return Provenance(scene.study, run_ids, ("induction_points",), basis)


def _shares(scene: MemoryScene, of_set: pl.DataFrame) -> None:
    """Draw the share of memory kept by both steps, with what is forgotten."""
    st.subheader("Every deep part", anchor=False)
    with st.container(horizontal=True, gap="medium"):
        for arm in scene.present(of_set):
            of_arm = of_set.filter(pl.col("arm") == arm)
            figure(
                partial(charts.share_heatmap, of_arm, arm),
                of_arm,
                about=(
                    "Each cell is the share of memory that a deep part (column) keeps under the "
                    "shallow part of another checkpoint (row). A cross marks what is forgotten "
                    "though the earlier network itself was good."
                ),
                name=f"share of memory kept by steps, {arm}",
                provenance=_provenance(scene, of_arm, NULL),
            )
    st.caption(
        "Particle memory: of the examples that the deep part's own network has in memory, the "
        "share that it still has with the other shallow part. Left of the line, and at lags below "
        "0, it reads features of its future (induction within a run). Forgotten: the earlier "
        "network had at least "
        f"{scene.reading['high']:.0%} of the later one's accuracy above chance, yet the interval "
        f"of what is lost lies above {100 * scene.reading['eps']:g} % of the examples"
        f"{', in more than half of the seeds' if max(of_set['n_seeds'].to_list()) > 1 else ''}."
    )
    _empirical(scene)


def _empirical(scene: MemoryScene) -> None:
    """Say how often mean losses agree, and what particle memory alone would give."""
    own = scene.own_cells.filter(pl.col("shallow_step") != pl.col("deep_step"))
    parts = [
        f"{of_arm['empirical'].sum():,} of {len(of_arm):,} cells with {plain(arm)}"
        for arm in scene.present(own)
        for of_arm in [own.filter(pl.col("arm") == arm)]
    ]
    bound = own["loss_bound"][0]
    st.caption(
        f"Empirical memory, mean losses that differ by at most {scene.reading['loss_eps']:g} nats: "
        f"{'; '.join(parts)} (no interval: losses of single examples are not kept). It follows "
        f"from particle memory only where every example is in memory and that tolerance is at "
        f"least log(1 + (K - 1) e^-gamma) = {bound:.2g} nats: here for {own['implied'].sum():,} "
        "cells."
    )


def _gaps(scene: MemoryScene, gaps: pl.DataFrame) -> None:
    """Draw what is lost on the training set beyond what is lost on each other set."""
    st.subheader("Transferability gap", anchor=False)
    if gaps.is_empty():
        st.info(
            "No gap here: it needs the training set and another one in the `evaluations` of the "
            "splices, for example"
        )
        st.code('evaluations = [{ split = "train", n = 500 }, { split = "test" }]', language=None)
        return
    data = scene.shown.dataset
    laws = [law(row, data) for row in gaps.iter_rows(named=True)]
    gaps = gaps.with_columns(pl.Series("law", laws))
    ends = gaps.select("gap", "gap_low", "gap_high")
    low = min(each for each in ends.min().row(0) if each is not None)
    high = max(each for each in ends.max().row(0) if each is not None)
    with st.container(horizontal=True, gap="medium"):
        for arm in scene.present(gaps):
            of_arm = gaps.filter(pl.col("arm") == arm)
            limits = [min(low, 0.0) - 0.02, max(high, 0.0) + 0.02]
            figure(
                partial(charts.gap_by_lag, of_arm, arm, variance(of_arm), limits),
                of_arm,
                about=(
                    "What a deep part loses under the features of another checkpoint on the "
                    "training set, minus what it loses on another set, by lag. Around 0 the memory "
                    "transfers; above 0 it was the training examples' own."
                ),
                name=f"transferability gap, {arm}",
                provenance=_provenance(scene, of_arm, GAP_NULL),
            )
    said = memory_findings.transfer(gaps, scene.arms)
    if said:
        st.markdown(said)
    st.caption(
        "What the deep part loses under other features on the training set P, minus what it loses "
        "on another set Q. 0: it loses as much there, the memory transfers. Where a network is "
        "near chance on Q (random labels) it has nothing to lose there, and the gap is what it "
        f"loses on P. Intervals: {variance(gaps)}; over examples, those of both sets enter."
    )


def _induction(scene: MemoryScene) -> None:
    """Draw memory of training examples against test accuracy, a dot a run."""
    same = [
        pl.col("cut") == scene.cut,
        pl.col("norm").is_in(scene.norms),
        pl.col("gamma") == scene.reading["gamma"],
        pl.col("dtype").is_in(set(scene.cells["dtype"])),
    ]
    points = ask("induction_points", scene.study).filter(*same)
    st.subheader("Induction over runs", anchor=False)
    if points.is_empty():
        st.caption(
            "Not here: it needs a training set and a clean test set, 8 checkpoints past the first "
            "5 % of the steps, and an example in memory."
        )
        return
    figure(
        partial(charts.induction, points, scene.arms),
        points,
        about=(
            "Each dot is a run: how well it keeps its training examples in memory against how "
            "accurate its last network is on the test set. Arms differ in more than chance, so a "
            "trend over them is a description."
        ),
        name="training memory against test accuracy",
        provenance=_of_runs(scene, points),
    )
    found = ask("induction", scene.study).filter(*same).row(0, named=True)
    if found["with_accuracy"] is None:
        said = f"No rank correlation: it needs 4 runs that differ, here are {found['runs']}."
    else:
        said = (
            "Spearman's rank correlation of the mean memory of a training example with the test "
            f"accuracy: **{found['with_accuracy']:.2f}**, n = {found['runs']} runs of "
            f"{found['arms']} {'arm' if found['arms'] == 1 else 'arms'}."
        )
    st.markdown(said)
    st.caption(
        "Memory of an example: of the pairs of an earlier and a later checkpoint in which the "
        "later network has it, the share in which it has it with the earlier shallow part too, "
        "weighed as in the score. Arms differ in more than chance, so that a correlation over "
        "several is a description, without a p-value."
    )
