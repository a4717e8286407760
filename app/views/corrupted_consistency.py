"""The section on consistency under corruption: retention and score, clean beside corrupted."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls, retained
from app.cached import ask
from app.charts import epoch_label
from app.exports import Provenance
from app.views.figure import figure
from app.words import plain


def followed(runs: pl.DataFrame) -> list[tuple[str, int]]:
    """Kinds and severities of which the store has splices or scores of these runs."""
    stored = ask("corrupted_retentions", tuple(runs["run_id"]))
    scores = ask("corrupted_scores", tuple(runs["run_id"]))
    both = pl.concat([each.select("corruption", "severity") for each in (stored, scores)])
    return both.unique().sort("corruption", "severity").rows()


def render(study: str, runs: pl.DataFrame, kind: tuple[str, int]) -> None:
    """Draw the section for one kind and severity; ``runs``: those of the study, in its order."""
    st.subheader("Does consistency extend to corrupted images?", anchor=False)
    stored = ask("corrupted_retentions", tuple(runs["run_id"]))
    scores = ask("corrupted_scores", tuple(runs["run_id"]))
    name = f"{kind[0]} {kind[1]}"
    there = followed(runs)
    if kind not in there:
        has = ", ".join(f"{corruption} {severity}" for corruption, severity in there)
        st.info(
            f"No splices on {plain(name.replace('_', ' '))} yet"
            + (f"; there are some on {plain(has.replace('_', ' '), 300)}. " if has else ". ")
            + 'Put its set beside the clean one, of as many images, and `kind = "consistency"`:'
        )
        st.code(
            '[[analyses]]\nkind = "splices"\nevaluations = [\n    { split = "test" },\n'
            f'    {{ split = "test", corruption = "{kind[0]}", severity = {kind[1]} }},\n]',
            language=None,
        )
        return
    arms = runs["arm"].unique(maintain_order=True).to_list()
    told = runs.select("run_id", "arm", pl.col("name").alias("run"))
    stored, scores = (_of(each, kind, told) for each in (stored, scores))
    cuts = pl.concat([each.select("cut", "depth") for each in (stored, scores)]).unique()
    names = cuts.sort("depth")["cut"].to_list()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        cut = controls.slider("Cut after block", "cut", names, names[len(names) // 3])
        stored, scores = (each.filter(pl.col("cut") == cut) for each in (stored, scores))
        if not stored.is_empty():
            stored, epoch = _step(stored)
    kept = stored.filter(pl.col("clean").is_not_null(), pl.col("retention").is_not_null())
    with st.container(horizontal=True, gap="medium"):
        if not kept.is_empty():
            retentions = retained.beside_clean(kept, "retention")
            figure(
                partial(
                    charts.slopes,
                    retentions,
                    arms,
                    f"Retention, shallow part of epoch {epoch}",
                    "retention under the final deep part",
                    ".0%",
                    "Fieller",
                ),
                retentions,
                about=(
                    "What an earlier shallow part retains under the final deep part, on clean "
                    "images and on the same ones corrupted. A line that falls: consistency is "
                    "weaker there than on clean images."
                ),
                name="retention, clean and corrupted",
                provenance=_provenance(study, kept, "corrupted_retentions", cut, "Fieller"),
            )
        if not scores.is_empty():
            both_scores = retained.beside_clean(scores, "score")
            figure(
                partial(
                    charts.slopes, both_scores, arms, "Score", "TC of accuracy", ".2~f", "bootstrap"
                ),
                both_scores,
                about=(
                    "Temporal consistency over all forward pairs, on clean images and on the same "
                    "ones corrupted. A line a run; a flat one: the effect extends to them."
                ),
                name="scores, clean and corrupted",
                provenance=_provenance(study, scores, "corrupted_scores", cut, "bootstrap"),
            )
    if kept.is_empty():
        st.caption(
            "Retention is not in the store here, or not defined: on one of the sets the last "
            "network is too close to chance."
        )
    else:
        st.markdown(retained.finding(kept, name.replace("_", " "), epoch, arms))
    rows = kept if scores.is_empty() else scores
    st.caption(
        f"{retained.rule()} The same pictures clean and under {plain(name.replace('_', ' '))}; "
        f"cut after {plain(cut)}, BatchNorm `{rows['norm'][0]}`: statistics are never estimated "
        f"on corrupted images; n = {rows['n'][0]:,}. A line a run."
    )


def _provenance(study: str, rows: pl.DataFrame, query: str, cut: str, over: str) -> Provenance:
    """Say what rows of one corruption rest on; ``over``: how their intervals are found."""
    first = rows.row(0, named=True)
    kind = f"{first['corruption'].replace('_', ' ')} {first['severity']}"
    basis = (
        f"Test images, n = {first['n']:,}, clean and under {plain(kind)}; cut after {plain(cut)}, "
        f"BatchNorm `{first['norm']}`: statistics are never estimated on corrupted images. Null: "
        f"the clean images. Intervals: 95 % over examples ({over}), one training each."
    )
    return Provenance(study, tuple(rows["run_id"].unique(maintain_order=True)), (query,), basis)


def _of(rows: pl.DataFrame, kind: tuple[str, int], told: pl.DataFrame) -> pl.DataFrame:
    """Rows of one corruption, of one normalisation and number format a run, with their arms."""
    chosen = rows.filter(pl.col("corruption") == kind[0], pl.col("severity") == kind[1])
    variant = ["norm", "dtype", "n", "eval_id"]
    best = (
        chosen.select("run_id", *variant)
        .unique()
        .sort("run_id", pl.col("dtype") != "float32", *variant)
        .unique("run_id", keep="first")
    )
    whole = chosen.join(best, on=["run_id", *variant], how="semi", maintain_order="left")
    return told.join(whole, on="run_id", maintain_order="left_right")


def _step(stored: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Draw the choice of the earlier checkpoint; return its rows, and its epoch."""
    epochs = dict(
        stored.filter(pl.col("shallow_epoch").is_not_null())
        .select(pl.col("shallow_step").cast(pl.String), "shallow_epoch")
        .unique(maintain_order=True)
        .sort("shallow_epoch")
        .rows()
    )
    steps = list(epochs)
    # Late enough that something has been learned.
    step = controls.slider("Shallow part of step", "shallow", steps, steps[len(steps) // 2])
    return stored.filter(pl.col("shallow_step") == int(step)), epoch_label(epochs[step])
