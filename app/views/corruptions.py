"""Corruption: what checkpoints still see through noise, blur, weather and files."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.charts import epoch_label
from app.exports import Provenance
from app.views import corrupted_consistency
from app.views.figure import figure
from app.views.study_choice import choose_study
from app.words import counted, plain

SAME_SET = ["n", "subset", "official"]
CLEAN = "clean"


def render() -> None:
    """Draw the page."""
    st.header("Corruption", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        stored = ask("corruptions", tuple(runs["run_id"]))
        if stored.is_empty():
            chosen = stored
        else:
            arms = runs["arm"].unique(maintain_order=True).to_list()
            named = runs.select("run_id", "arm", "name").join(
                stored, on="run_id", maintain_order="left_right"
            )
            rows = named.join(
                stored.select(SAME_SET).head(1), on=SAME_SET, how="semi", maintain_order="left"
            )
            chosen, heading = _checkpoint(rows)
            kind = _kind(rows, corrupted_consistency.followed(runs))
    if chosen.is_empty():
        st.info("Not in the store yet. Put this into the study, and `featdyn run` it again:")
        st.code('[[analyses]]\nkind = "corruptions"', language=None)
        return
    chance = 1 / int(chosen["classes"].item(0))
    basis = _basis(chosen, chance)
    of_runs = tuple(rows["run_id"].unique(maintain_order=True))
    with st.container(horizontal=True, gap="medium"):
        figure(
            partial(charts.corruption_heatmap, chosen, chance, heading),
            chosen,
            about=(
                "Accuracy of one checkpoint on test images corrupted in each way and ever more "
                "strongly; the column 0 is the clean set. Darker is closer to chance."
            ),
            name="accuracy by kind and severity",
            provenance=Provenance(study, (chosen["run_id"][0],), ("corruptions",), basis),
        )
        along = _along_training(rows, kind)
        figure(
            partial(charts.corruption_over_time, along, arms),
            along,
            about=(
                "Accuracy of every checkpoint on the clean test images (solid) and on those of one "
                "corruption (dashed). Lines that part show what the corruption costs while the "
                "network learns."
            ),
            name="clean and corrupted accuracy along training",
            provenance=Provenance(study, of_runs, ("corruptions",), basis),
        )
    _finding(chosen)
    st.caption(basis)
    corrupted_consistency.render(study, runs, kind)
    with st.expander("Numbers"):
        st.dataframe(ask("corruption_errors", tuple(runs["run_id"])), hide_index=True)
        st.dataframe(rows, hide_index=True)


def _basis(chosen: pl.DataFrame, chance: float) -> str:
    """Say what the numbers rest on: set, n, normalisation, null, variance."""
    first = chosen.row(0, named=True)
    made = "official files" if first["official"] else "C-like: made by featdyn"
    return (
        f"Test images of {plain(first['dataset'])}, n = {first['n']:,}, {made}. BatchNorm "
        f"`{first['norm']}`: statistics are never estimated on corrupted images. Intervals: 95 % "
        "over examples (Wilson), for these trainings; other seeds are another variance. Null: a "
        f"guess is right on {chance:.0%}."
    )


def _checkpoint(rows: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Draw the choice of run and checkpoint; return its rows, and what they are called."""
    names = dict(rows.select("run_id", "name").unique(maintain_order=True).rows())
    run = controls.select("Run", "run", list(names), next(iter(names)), lambda key: names[key])
    of_run = rows.filter(pl.col("run_id") == run)
    epochs = {
        str(step): epoch
        for step, epoch in of_run.select("step", "epoch").unique().sort("step").rows()
    }
    step = controls.slider("Checkpoint, step", "step", list(epochs), list(epochs)[-1])
    heading = f"{names[run]}, epoch {epoch_label(epochs[step])}"
    return of_run.filter(pl.col("step") == int(step)), heading


def _kind(rows: pl.DataFrame, spliced: list[tuple[str, int]]) -> tuple[str, int]:
    """Draw the choice of the corruption that is followed, along training and in splices.

    Usually the last one of those that are ``spliced``, so that both have something to show.
    """
    found = (
        rows.filter(pl.col("corruption") != "none")
        .select("corruption", "severity")
        .unique()
        .sort("corruption", "severity")
        .rows()
    )
    sets = {f"{kind} {severity}": (kind, severity) for kind, severity in found}
    usual = [name for name, each in sets.items() if each in spliced] or list(sets)
    return sets[controls.select("Corruption followed", "kind", list(sets), usual[-1])]


def _along_training(rows: pl.DataFrame, kind: tuple[str, int]) -> pl.DataFrame:
    name, severity = kind
    clean = rows.filter(pl.col("corruption") == "none").with_columns(pl.lit(CLEAN).alias("set"))
    of_kind = rows.filter(pl.col("corruption") == name, pl.col("severity") == severity)
    return pl.concat([clean, of_kind.with_columns(pl.lit(f"{name} {severity}").alias("set"))])


def _finding(chosen: pl.DataFrame) -> None:
    """Say what corruption costs this checkpoint on average, and which kind costs most."""
    corrupted = chosen.filter(pl.col("corruption") != "none")
    by_kind = corrupted.group_by("corruption").agg(pl.col("accuracy").mean()).sort("accuracy")
    worst, least = by_kind.row(0)
    mean = 100 * float(by_kind["accuracy"].to_numpy().mean())
    clean = 100 * float(chosen.filter(pl.col("corruption") == "none")["accuracy"].item())
    st.markdown(
        f"Clean images: **{clean:.1f}%** right. Corrupted ones: **{mean:.1f}%** on average over "
        f"{counted(len(by_kind), 'kind')} and severities, least under "
        f"{plain(worst.replace('_', ' '))}, **{100 * least:.1f}%**."
    )
