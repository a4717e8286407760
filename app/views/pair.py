"""Two runs against each other, cell by cell."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls
from app.selection import against_control
from app.views.figure import figure
from app.views.scene import Scene
from app.words import counted


def render(scene: Scene, at_cut: pl.DataFrame, names: dict[str, str]) -> None:
    """Draw the cells of one run minus those of another at the same pairs of steps."""
    with_cells = set(at_cut["run_id"].unique())
    present = [run_id for run_id in names if run_id in with_cells]
    if len(present) < 2:
        return
    st.subheader("Difference of two runs", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = controls.select("Run", "first", present, present[0], lambda key: names[key])
        # The first run of another arm: of the same seed, where the study has it.
        others = [run_id for run_id in present if scene.arms[run_id] != scene.arms[present[0]]]
        usual = (others or present[1:])[0]
        second = controls.select("minus", "second", present, usual, lambda key: names[key])
    own, other = (at_cut.filter(pl.col("run_id") == run) for run in (first, second))
    cells = against_control(own, other.with_columns(pl.lit(first).alias("run_id")), scene.metric)
    shared = cells["difference"].count()
    if not shared:
        st.caption("The two runs have no pair of steps in common.")
        return
    figure(
        partial(
            charts.difference_heatmap, cells, scene.metric, names[first], f"minus {names[second]}"
        ),
        cells,
        about=(
            f"{scene.metric.capitalize()} of each cell of one run minus that of the other at the "
            "same two steps. Orange: the first run's splice does better. Early differences may "
            "only say that one had learned more by then."
        ),
        name=f"difference, {names[first]} minus {names[second]}",
        at=f"cut {scene.cut}",
        provenance=scene.provenance(
            "splice_cells",
            n=max(cells["n"].to_list()),
            rest=(
                f"Null: 0. {counted(shared, 'cell')} in common; two single trainings, no interval."
            ),
        ),
    )
