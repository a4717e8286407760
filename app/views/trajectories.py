"""Trajectories: how single examples move through the features of a cut while a network learns."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.exports import Provenance
from app.views.figure import figure
from app.views.study_choice import choose_study
from app.words import plain

SIDE = 560
WARNING = "Distances and cluster sizes in a UMAP mean nothing."


def render() -> None:
    """Draw the page."""
    st.header("Trajectories", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        names = dict(runs.select("run_id", "name").iter_rows())
        pictures = ask("trajectory_pictures", tuple(names))
        if not pictures.is_empty():
            chosen = _choose(pictures, names)
    if pictures.is_empty():
        st.info("No trajectories of this study yet. Ask for them in its file, then run it:")
        st.code('[[analyses]]\nkind = "trajectories"', language=None)
        st.code("featdyn run STUDY.toml", language="bash")
        return
    _draw(chosen, study)


def _choose(pictures: pl.DataFrame, names: dict[str, str]) -> dict[str, object]:
    """Draw the controls; return the row of the picture chosen, ``shown`` the method drawn."""
    present = [run for run in names if run in set(pictures["run_id"])]
    run = controls.select("Run", "run", present, present[0], lambda key: names[key])
    pictures = pictures.filter(pl.col("run_id") == run)
    sets = {
        row["eval_id"]: f"{row['dataset']}, {row['split']}"
        + ("" if row["corruption"] == "none" else f", {row['corruption']} {row['severity']}")
        for row in pictures.iter_rows(named=True)
    }
    examples = controls.select("Examples", "set", list(sets), next(iter(sets)), sets.__getitem__)
    pictures = pictures.filter(pl.col("eval_id") == examples)
    cuts = pictures.sort("depth")["cut"].unique(maintain_order=True).to_list()
    cut = controls.slider("Cut after block", "cut", cuts, cuts[len(cuts) // 3])
    pictures = pictures.filter(pl.col("cut") == cut)
    methods = [*dict.fromkeys([*pictures["method"], "pca"])]
    shown = controls.segments(
        "Picture", "method", methods, methods[0], lambda key: key.replace("_", " ")
    )
    # The comparator's quality stands in the rows of the picture that it is held against.
    own = pictures.filter(pl.col("method") == shown)
    row: dict[str, object] = (pictures if own.is_empty() else own).row(0, named=True)
    colouring = controls.segments(
        "Colour", "colour", list(charts.COLOURINGS), "class", charts.COLOURINGS.__getitem__
    )
    return row | {"shown": shown, "colouring": colouring}


def _draw(chosen: dict[str, object], study: str) -> None:
    """Draw the picture, what to trust of it, and the motion in the original space."""
    place = (chosen["run_id"], chosen["eval_id"], chosen["cut"])
    points = ask("trajectories", *place, chosen["shown"])
    quality = ask("trajectory_quality", *place, chosen["method"])
    classes = chosen["class_names"] or [str(k) for k in range(int(str(chosen["classes"])))]
    basis = (
        f"{str(chosen['split']).capitalize()} set, n = {chosen['n']:,} examples, {chosen['cut']}, "
        f"BatchNorm {chosen['norm']}. Nulls are drawn; one run, no interval."
    )
    of_run = (str(chosen["run_id"]),)
    with st.container(horizontal=True, gap="medium"):
        contours = ask("trajectory_contours", *place, chosen["shown"])
        images = ask("trajectory_images", chosen["eval_id"])
        with st.container(width=SIDE):
            figure(
                partial(
                    charts.trajectory,
                    points,
                    contours,
                    images,
                    list(classes),  # type: ignore[call-overload]
                    str(chosen["shown"]),
                    str(chosen["colouring"]),
                ),
                points,
                about=(
                    "Every point is an example at one checkpoint; the slider, or the box Play, "
                    f"moves time. {WARNING}"
                ),
                name="examples in the plane, by checkpoint",
                provenance=Provenance(study, of_run, ("trajectories",), basis),
                width="stretch",
                moving=charts.with_clock,
            )
        with st.container(horizontal=True, gap="medium", width=620):
            for drawn, words in (
                (partial(charts.trust, quality), "trustworthiness by checkpoint"),
                (partial(charts.overlap, quality), "overlap of nearest neighbours by checkpoint"),
                (partial(charts.motion, quality), "displacement of the features by checkpoint"),
                (partial(charts.pace, quality), "speed of the features by checkpoint"),
                (partial(charts.turning, quality), "turning cosine by checkpoint"),
            ):
                figure(
                    drawn,
                    quality,
                    about=f"{words.capitalize()}, beside what it is held against.",
                    name=words,
                    provenance=Provenance(study, of_run, ("trajectory_quality",), basis),
                )
    compared = str(chosen["method"]).replace("_", " ")
    st.caption(
        f"**{WARNING}** Trust neighbourhoods as far as the curves say: of {compared}, held against "
        "the features themselves at each checkpoint, beside two principal components, and for the "
        f"overlap beside the chance k / (n - 1) of k = {chosen['k']} neighbours. Displacement and "
        "turning are measured in the features, not in the picture."
    )
    st.caption(
        f"{str(chosen['split']).capitalize()} set, n = {chosen['n']:,} examples followed, "
        f"{plain(chosen['cut'])}, BatchNorm {chosen['norm']}; one run, so that no interval is "
        "drawn."
    )
    with st.expander("How it was made, and the numbers"):
        st.json({"parameters": chosen["parameters"], "versions": chosen["versions"]})
        st.dataframe(quality, hide_index=True)
