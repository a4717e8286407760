"""Scores of whole cubes: by depth, and their excess over each control."""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.selection import against_control, of_norms, unique_cubes
from app.views.figure import figure
from app.views.scene import Scene
from app.words import plain
from featdyn_engine.domain import CONTROLS

PAIRS = {
    "all": "all pairs",
    "final": "final deep part",
    "before_decay": "before the first decay",
    "after_decay": "after the first decay",
}
WEIGHTINGS = {"learning_rate": "cumulative learning rate", "steps": "updates"}
# Of accuracy chance is taken off, of agreement it isn't.
MEANS = {
    "accuracy": "accuracy above chance that splices keep, as a share of that of their deep parts' "
    "own networks",
    "agreement": "share of examples that splices and their deep parts' own networks answer alike",
}
SCORES = {
    "accuracy": "At each cut, how much of what the deep parts' own networks achieve above chance "
    "survives when their shallow parts come from earlier checkpoints. 1: all of it, 0: nothing "
    "above chance.",
    "agreement": "At each cut, how often a splice answers as its deep part's own network does, "
    "right or wrong. 1: always.",
}
NULLS = {"accuracy": "Null: 0, chance.", "agreement": "Null: what two guesses share, not 0."}
WIDTH = 620


def _chosen(frame: pl.DataFrame, scene: Scene, pairs: str, weighting: str) -> pl.DataFrame:
    return frame.filter(
        pl.col("measure") == scene.measure,
        pl.col("pairs") == pairs,
        pl.col("weighting") == weighting,
    )


def _pairs_and_weighting(found: pl.DataFrame) -> tuple[str, str]:
    """Draw the two choices that both pictures share."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pairs = [key for key in PAIRS if key in set(found["pairs"])]
        chosen = controls.select(
            "Pairs of checkpoints", "pairs", pairs, pairs[0], lambda key: PAIRS[key]
        )
        weightings = [key for key in WEIGHTINGS if key in set(found["weighting"])]
        weighting = controls.select(
            "Weighted by", "weighting", weightings, weightings[0], lambda key: WEIGHTINGS[key]
        )
    return chosen, weighting


def render(scene: Scene, at_cut: pl.DataFrame) -> None:
    """Draw the scores by depth, then their excess over controls; ``at_cut``: the runs' cells."""
    st.subheader("Score by depth", anchor=False)
    stored = ask("consistency_scores", scene.run_ids, scene.shown.split).filter(
        pl.col("eval_id").is_in(scene.shown.eval_ids), pl.col("norm").is_in(scene.norms)
    )
    if stored.is_empty():
        st.info(
            'No scores of this set with this normalisation yet: `kind = "consistency"` in the '
            "`[[analyses]]` of a study asks for them (8 checkpoints past the first 5 % of the "
            "steps, every example evaluated), then"
        )
        st.code("featdyn run STUDY.toml", language="bash")
        pairs, weighting = next(iter(PAIRS)), next(iter(WEIGHTINGS))
    else:
        pairs, weighting = _pairs_and_weighting(stored)
        _by_depth(scene, stored, pairs, weighting)
    _excess(scene, at_cut, pairs, weighting)


def _by_depth(scene: Scene, stored: pl.DataFrame, pairs: str, weighting: str) -> None:
    """Draw the score of each run at each cut, and the mean over the seeds of each arm."""
    scores = unique_cubes(_chosen(stored, scene, pairs, weighting), scene.shown.eval_ids)
    scores = scores.filter(pl.col("score").is_not_null())
    if scores.is_empty():
        st.caption("Not defined: no such pairs, or the networks are too close to chance.")
        return
    with st.container(width=WIDTH):
        named = scene.named(scores)
        figure(
            partial(
                charts.scores_by_depth,
                named,
                _over_seeds(scene, scores, pairs, weighting),
                scene.arm_names,
                scene.measure,
            ),
            named,
            about=SCORES[scene.measure],
            name="score by depth",
            provenance=scene.provenance(
                "consistency_scores",
                "scores_over_seeds",
                n=max(scores["n"].to_list()),
                rest=f"{PAIRS[pairs]}, weighted by {WEIGHTINGS[weighting]}. {NULLS[scene.measure]} "
                + _variance(scene.arms, scores),
            ),
            width="stretch",
        )
    st.caption(
        f"TC: {MEANS[scene.measure]}; {PAIRS[pairs]}, weighted by {WEIGHTINGS[weighting]}. "
        f"{scene.about}, n = {max(scores['n'].to_list()):,}, "
        f"{max(scores['checkpoints'].to_list())} checkpoints. " + _variance(scene.arms, scores)
    )


def _variance(arms: dict[str, str], scores: pl.DataFrame) -> str:
    """Say which of the two variances the intervals show."""
    of_arm: dict[str, int] = {}
    for run_id in scores["run_id"].unique():
        of_arm[arms[run_id]] = of_arm.get(arms[run_id], 0) + 1
    if max(of_arm.values()) == 1:
        return "Intervals: 95 % over examples; one seed an arm, so nothing about other trainings."
    return "Bars: 95 % over examples, of one training. Wide bars: 95 % over seeds (t)."


def _over_seeds(scene: Scene, scores: pl.DataFrame, pairs: str, weighting: str) -> pl.DataFrame:
    """Mean over seeds of the arms that have several, one row an arm and cut."""
    rows = [
        ask(
            "scores_over_seeds",
            scene.study,
            scene.shown.eval_ids,
            cut,
            norm,
            pairs,
            weighting,
            scene.measure,
        ).with_columns(pl.lit(cut).alias("cut"))
        for cut in scores["cut"].unique(maintain_order=True)
        for norm in scene.norms
    ]
    return pl.concat(rows).filter(
        pl.col("n_seeds") > 1, pl.col("dtype").is_in(scores["dtype"].to_list())
    )


def _excess(scene: Scene, at_cut: pl.DataFrame, pairs: str, weighting: str) -> None:
    """Draw by how much the run exceeds each control: as a score, and cell by cell."""
    st.subheader("Excess over each control", anchor=False)
    choices = ask("splice_choices", scene.run_ids).filter(
        pl.col("control") != "none", pl.col("eval_id").is_in(scene.shown.eval_ids)
    )
    here = choices.filter(pl.col("cut") == scene.cut)
    if here.is_empty():
        where = choices.sort("depth")["cut"].unique(maintain_order=True).to_list()
        st.info(
            (
                f"This set has controls at {', '.join(map(plain, where))} only. "
                if where
                else "No controls yet. "
            )
            + "A high score needs them: a study asks for them by"
        )
        st.code('[[analyses]]\nkind = "controls"', language=None)
        return
    with st.container(horizontal=True, gap="large"):
        with st.container(width=WIDTH):
            _forest(scene, pairs, weighting)
        _cell_by_cell(scene, at_cut, here)


def _forest(scene: Scene, pairs: str, weighting: str) -> None:
    stored = ask("excesses", scene.run_ids, scene.shown.split).filter(
        pl.col("eval_id").is_in(scene.shown.eval_ids), pl.col("cut") == scene.cut
    )
    if stored.is_empty():
        st.caption(
            'No scores of the controls here yet: `kind = "consistency"` in the `[[analyses]]` of '
            "the study asks for them."
        )
        return
    rows = _chosen(stored, scene, pairs, weighting).filter(pl.col("excess").is_not_null())
    if rows.is_empty():
        st.caption("Not defined for these pairs.")
        return
    exact = rows.filter(pl.col("dtype") == "float32")
    rows = of_norms(rows if exact.is_empty() else exact, scene.norms)
    named = scene.named(rows)
    figure(
        partial(charts.excess_forest, named, CONTROLS, scene.arm_names, scene.cut),
        named,
        about=(
            "The run's score minus that of each control, which puts something else under the same "
            "deep parts. Right of 0 the objection beside the bar does not explain the score; a bar "
            "across 0 says that it may."
        ),
        name="excess over controls",
        at=f"cut {scene.cut}",
        provenance=scene.provenance(
            "excesses",
            n=max(rows["n"].to_list()),
            rest="Null: each control. Bars: 95 % over examples, joint bootstrap; one training.",
        ),
        width="stretch",
    )
    st.caption(
        "A bar right of 0: the run's own earlier shallow parts do better than the control's, and "
        "the objection beside it does not explain the score. Run and control over the same pairs "
        f"({PAIRS[pairs]}); {scene.shown.split} set, n = {max(rows['n'].to_list()):,}; "
        f"normalisation: {_norms_of(rows)}. One training: nothing about other seeds."
    )


def _norms_of(rows: pl.DataFrame) -> str:
    """Name the normalisation of each control, the common one once."""
    by_norm = rows.group_by("norm").agg(pl.col("control").unique().sort()).sort("norm")
    if len(by_norm) == 1:
        return f"`{by_norm['norm'][0]}`"
    return "; ".join(
        f"`{norm}` for {', '.join(name.replace('_', ' ') for name in names)}"
        for norm, names in by_norm.iter_rows()
    )


def _cell_by_cell(scene: Scene, at_cut: pl.DataFrame, here: pl.DataFrame) -> None:
    """Draw the run's cells minus those of one control, of those that are ``here``."""
    names = [name for name in CONTROLS if name in set(here["control"])]
    with st.container(width="content"):
        control = controls.select(
            "Cells minus those of", "control", names, names[0], lambda name: name.replace("_", " ")
        )
        of_control = scene.cells(control).filter(pl.col("cut") == scene.cut)
        if of_control.is_empty():
            norms = sorted(set(here.filter(pl.col("control") == control)["norm"]))
            st.caption(f"Its cells are there under {' and '.join(norms)}: choose that above.")
        controlled = set(of_control["run_id"])
        for run_id in [run_id for run_id in scene.names if run_id in controlled]:
            of_run = at_cut.filter(pl.col("run_id") == run_id)
            cells = against_control(of_run, of_control, scene.metric)
            figure(
                partial(charts.difference_heatmap, cells, scene.metric, scene.names[run_id]),
                cells,
                about=(
                    f"{scene.metric.capitalize()} of each cell of the run minus that of the same "
                    "cell of the control. Orange: the run's own shallow part does better; blue: "
                    "the control's."
                ),
                name=f"excess over {control.replace('_', ' ')}, {scene.names[run_id]}",
                provenance=scene.provenance(
                    "splice_cells",
                    n=max(cells["n"].to_list()),
                    rest="Null: 0. No interval on single cells.",
                ),
            )
