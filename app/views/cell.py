"""One cell of a matrix: its scores, its classes, the examples that it flips."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls, links
from app.cached import ask
from app.charts import epoch_label
from app.views.figure import figure
from app.views.scene import Scene


def choose(run_id: str, clicked: dict[str, int]) -> None:
    """Make a clicked cell the one that is shown: its parameters go into the URL."""
    controls.remember(
        cell_run=run_id, shallow=str(clicked["shallow_step"]), deep=str(clicked["deep_step"])
    )


def render(scene: Scene, at_cut: pl.DataFrame, names: dict[str, str]) -> None:
    """Draw the choice of a cell, and what is known of it."""
    st.subheader("One cell", anchor=False)
    with_cells = set(at_cut["run_id"].unique())
    present = [run_id for run_id in names if run_id in with_cells]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        run = controls.select("Cell of", "cell_run", present, present[0], lambda key: names[key])
        of_run = at_cut.filter(pl.col("run_id") == run)
        early = _steps(of_run, "shallow")
        late = _steps(of_run, "deep")
        shallow = controls.slider(
            "Shallow part, epoch",
            "shallow",
            list(early),
            list(early)[len(early) // 3],
            early.__getitem__,
        )
        deep = controls.slider(
            "Deep part, epoch", "deep", list(late), list(late)[-1], late.__getitem__
        )
    found = of_run.filter(
        pl.col("shallow_step") == int(shallow), pl.col("deep_step") == int(deep)
    ).to_dicts()
    if not found:
        st.caption("This pair of steps is not in the store.")
        return
    row = found[0]
    _scores(row)
    _classes(scene, row, names[run])
    if links.known("lab"):
        links.to(
            "lab",
            "Evaluate this splice live",
            ":material/experiment:",
            study=scene.study,
            run=run,
            shallow=shallow,
            deep=deep,
            cut=scene.cut,
            eval=row["eval_id"],
            norm=row["norm"],
        )


def _steps(cells: pl.DataFrame, part: str) -> dict[str, str]:
    """Return the epochs of a part's steps, by step."""
    known = cells.select(f"{part}_step", f"{part}_epoch").unique().sort(f"{part}_step")
    return {str(step): epoch_label(epoch) for step, epoch in known.rows()}


def _scores(row: dict[str, float]) -> None:
    low, high = 100 * row["accuracy_low"], 100 * row["accuracy_high"]
    retention = "not defined" if row["retention"] is None else f"{row['retention']:.1%}"
    st.markdown(
        f"Shallow part of step {row['shallow_step']:,} under the deep part of step "
        f"{row['deep_step']:,}: **{row['accuracy']:.1%}** right ({low:.1f} to {high:.1f}, 95 % "
        f"over n = {row['n']:,} examples), retention {retention}, agreement "
        f"{row['agreement']:.1%}, chance {row['chance']:.1%}, loss {row['loss']:.3g} nats, margin "
        f"{row['margin']:.3g}."
    )


def _classes(scene: Scene, row: dict[str, object], name: str) -> None:
    """Draw the classes of the cell beside those of its network, and count what it flips."""
    place = (row["run_id"], row["eval_id"], scene.cut, row["norm"])
    cell = (row["shallow_step"], row["deep_step"])
    own = (row["deep_step"], row["deep_step"])
    same = (pl.col("dtype") == row["dtype"], pl.col("batch_size") == row["batch_size"])
    run_id, *about = place
    # Both parts are of one run.
    classes = ask("stored_classes", run_id, run_id, *about, cell).filter(*same)
    if classes.is_empty():
        st.caption(
            "Predictions of single examples are not in the store for this cell (refined cells, or "
            "a set without labels), so there is no view by class."
        )
        return
    basis = "Null: the deep part's own network, ticks. Intervals: 95 % over examples (Wilson)."
    figure(
        partial(charts.by_class, classes),
        classes,
        about=(
            "Accuracy of this cell class by class, beside that of the deep part's own network. "
            "Classes that fall far behind are those whose features have moved on."
        ),
        name=f"one cell by class, {name}",
        at=f"cut {scene.cut}",
        provenance=scene.provenance("stored_classes", n=int(str(row["n"])), rest=basis),
    )
    flips = ask("prediction_pair", *place, own, cell).filter(*same)
    if not flips.is_empty():
        lost, won, n, agreement = flips.select(
            "right_to_wrong", "wrong_to_right", "n", "agreement"
        ).row(0)
        st.markdown(
            f"Against its own network the splice changes **{1 - agreement:.1%}** of "
            f"{n:,} predictions: **{lost:,}** from right to wrong, **{won:,}** from wrong to right."
        )
