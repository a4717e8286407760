"""Overview: what is in this store, and its headline contrast."""

import polars as pl
import streamlit as st

from app import links
from app.cached import ask, store_revision
from app.charts import epoch_label
from app.views import contrast
from app.views.scene import Scene, headline
from app.views.study_choice import choose_study
from app.words import counted, plain

# A kind of work, the page that shows it, and the question that it answers.
QUESTIONS = {
    "splices": ("consistency", "Do earlier shallow parts still serve later deep parts?"),
    "corruptions": ("corruption", "Does it hold on corrupted images?"),
    "probes": ("probes", "Does a splice say more than a linear probe?"),
    "trajectories": ("trajectories", "How do single examples move through the features?"),
    "divergences": ("divergences", "How far do the laws of features move?"),
    "noise": ("noise", "Is the noise of SGD more than any noise would be?"),
    "memory": ("memory", "Which examples do splices lose, and which do they gain?"),
    "controls": ("labels", "Is the score more than its nulls, and what do labels change?"),
    "consistency": ("sensitivity", "Does the effect hold in every arm?"),
}
MOST_CARDS = 6
STUDY_CARD = 330


def render() -> None:
    """Draw the page."""
    st.header("How features move while a network learns", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
    scene = headline(study, runs)
    if scene is None:
        st.info("No splices of this study yet. They are computed by")
        st.code("featdyn run STUDY.toml", language="bash")
    else:
        _contrast(scene, runs)
    _questions(study)
    _studies()


def _arms(runs: pl.DataFrame) -> list[str]:
    """Return the first arm and the one of the most random labels; without such, the last arm."""
    arms = runs["arm"].unique(maintain_order=True).to_list()
    noisiest = runs.sort("label_noise", descending=True, nulls_last=True).row(0, named=True)
    other = noisiest["arm"] if (noisiest["label_noise"] or 0) > 0 else arms[-1]
    return list(dict.fromkeys([arms[0], other]))


def _contrast(scene: Scene, runs: pl.DataFrame) -> None:
    """Draw both arms beside what they are matched by, and say whether they differ."""
    cells = scene.cells()
    at_cut = cells.filter(pl.col("cut") == scene.cut)
    arms = _arms(runs)
    scored = set(at_cut["run_id"])
    first = {
        arm: next((run for run, of in scene.arms.items() if of == arm and run in scored), None)
        for arm in arms
    }
    names = {run: scene.names[run] for run in first.values() if run is not None}
    if not names:
        st.info("No splices of this study's arms yet.")
        return
    points = scene.points(at_cut)
    with st.container(horizontal=True, gap="small"):
        contrast.matrices(scene, at_cut, names)
        with st.container(horizontal=True, gap="small", width="content"):
            contrast.matched_pictures(scene, points.filter(pl.col("arm").is_in(arms)))
    _plainly(scene, at_cut, names)
    contrast.said(points, arms)
    links.to(
        "consistency",
        "Every cut, metric and control",
        ":material/grid_on:",
        study=scene.study,
    )


def _plainly(scene: Scene, at_cut: pl.DataFrame, names: dict[str, str]) -> None:
    """Say what the matrices show, with the interval of the cells."""
    final = at_cut.filter(pl.col("deep_step") == pl.col("deep_step").max().over("run_id"))
    last = final["deep_epoch"].max()
    early = final.filter(pl.col("shallow_epoch") * 8 <= last).filter(
        pl.col("shallow_step") == pl.col("shallow_step").max().over("run_id")
    )
    parts = [
        f"**{row['accuracy']:.1%}** with {plain(names[row['run_id']])} "
        f"({100 * row['accuracy_low']:.1f} "
        f"to {100 * row['accuracy_high']:.1f}, epoch {epoch_label(row['shallow_epoch'])})"
        for run in names
        for row in early.filter(pl.col("run_id") == run).iter_rows(named=True)
    ]
    if parts:
        st.markdown(
            f"The first blocks, up to {plain(scene.cut)}, of an early checkpoint are right under "
            f"the final deep part on {', on '.join(parts)} of the {scene.shown.split} set; n = "
            f"{max(early['n'].to_list()):,}, BatchNorm `{scene.norms[0]}`, 95 % over examples. "
            "Early on, little may have been learned, so both pictures on the right hold the arms "
            "at equal values."
        )


def _questions(study: str) -> None:
    """Link the pages that this study has rows for."""
    contents = {row["kind"]: row for row in ask("study_contents", study).iter_rows(named=True)}
    asked = [kind for kind in QUESTIONS if kind in contents and links.known(QUESTIONS[kind][0])]
    if not asked:
        return
    st.subheader("What this study answers", anchor=False)
    with st.container(horizontal=True, gap="small"):
        for kind in asked:
            path, question = QUESTIONS[kind]
            with st.container(border=True, width=STUDY_CARD):
                row = contents[kind]
                st.markdown(f"**{question}**")
                units = "unit" if row["units"] == 1 else "units"
                st.caption(f"{counted(row['rows'], 'row')} of {row['units']:,} {units} of work")
                links.to(path, "Look", ":material/arrow_forward:", study=study)


def _listed(names: list[str]) -> str:
    return ", ".join(plain(name) for name in names)


def _studies() -> None:
    """Show every study of the store as a card, or as a table where there are many."""
    st.subheader("In this store", anchor=False)
    found = ask("study_summaries")
    totals = found.select(pl.col("runs", "finished", "failed", "checkpoints").sum()).row(0)
    runs, finished, failed, checkpoints = totals
    st.caption(
        f"{len(found):,} {'study' if len(found) == 1 else 'studies'}; {finished:,} of "
        f"{counted(runs, 'run')} finished{f', {failed:,} failed' if failed else ''}; "
        f"{counted(checkpoints, 'checkpoint')}; "
        f"revision {store_revision():,} of the store."
    )
    if len(found) > MOST_CARDS:
        st.dataframe(found, hide_index=True)
        return
    with st.container(horizontal=True, gap="small"):
        for row in found.iter_rows(named=True):
            with st.container(border=True, width=STUDY_CARD):
                st.markdown(f"**{plain(row['title'])}**")
                failures = f", {row['failed']} failed" if row["failed"] else ""
                st.caption(
                    f"{_listed(row['datasets'])}; {_listed(row['networks'])}; arms: "
                    f"{_listed(row['arms'])}. {row['finished']:,} of "
                    f"{counted(row['runs'], 'run')} finished{failures}."
                )
                links.to("runs", "Runs", ":material/timeline:", study=row["study"])
