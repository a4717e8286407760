"""Sensitivity: does the effect hold under another optimiser, rate, batch size, norm layer?"""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls, findings
from app import sensitivity as rules
from app.cached import ask
from app.exports import Provenance
from app.views.figure import figure
from app.views.scene import Scene, choose
from app.words import plain
from featdyn_engine.domain import CONTROLS

EXAMPLE = """[[arms]]
name = "as it is"

[[arms]]
name = "optimiser"
training = { lr = 0.003 }
sweep.training.optimizer = ["adam", "adamw", "muon"]

[[arms]]
name = "batch"
sweep.training.batch_size = [32, 512]

[[analyses]]
kind = "splices"

[[analyses]]
kind = "controls"
controls = ["other_example", "mirror"]

[[analyses]]
kind = "consistency\""""
EVERY = "every null"


def render() -> None:
    """Draw the page."""
    st.header("Sensitivity", anchor=False)
    scene = choose(["accuracy", "agreement"])
    if scene is None:
        return
    quantities = ask(
        "sensitivity", scene.study, scene.shown.eval_ids, scene.cut, scene.norms, scene.measure
    )
    # Arms that no cube was asked for, frozen ones for instance, are no part of the question.
    settings = rules.changed(ask("arm_settings", scene.study)).filter(
        pl.col("arm").is_in(quantities["arm"].to_list())
    )
    if quantities.is_empty() or len(settings) < 2:
        st.info("No scores of several arms on this set at this cut yet. A study sweeps them so:")
        st.code(EXAMPLE, language=None)
        return
    nulls = [name for name in CONTROLS if name in set(quantities["control"])]
    chosen = EVERY
    if len(nulls) > 1:
        chosen = controls.select(
            "Against", "null", [EVERY, *nulls], EVERY, lambda key: key.replace("_", " ")
        )
    asked = nulls if chosen == EVERY else [chosen]
    found = [rules.verdict(arm, quantities, asked) for arm in settings["arm"]]
    rows = _rows(settings, quantities, found)
    comparisons = _pictures(scene, settings, rows, asked)
    against = chosen.replace("_", " ") if nulls else "no null"
    st.markdown(rules.finding(found, against))
    if comparisons:
        labels = dict(settings.select("arm", "label").iter_rows())
        st.markdown(rules.differing(comparisons, labels))
    _caption(scene, quantities)
    _numbers(found, rows)


def _rows(
    settings: pl.DataFrame, quantities: pl.DataFrame, found: list[rules.Verdict]
) -> pl.DataFrame:
    """Quantities that there are, with what the arm changes and its verdict; in that order."""
    words = pl.DataFrame({"arm": [v.arm for v in found], "verdict": [v.word for v in found]})
    return settings.join(words, on="arm", maintain_order="left").join(
        quantities.filter(pl.col("value").is_not_null()), on="arm", maintain_order="left"
    )


def _pictures(
    scene: Scene, settings: pl.DataFrame, rows: pl.DataFrame, nulls: list[str]
) -> list[findings.Comparison]:
    """Draw a forest a quantity; return the matched comparisons of the first arm with each other."""
    order = settings.select("label", "field")
    score = rows.filter(pl.col("quantity") == "score")
    points = _points(scene)
    comparisons = _compared(points, settings)
    with st.container(horizontal=True, gap="medium"):
        if not score.is_empty():
            figure(
                partial(charts.score_forest, score, order, scene.measure, rules.LEAST_SCORE),
                score,
                about=(
                    "Temporal consistency of each arm with its interval, and in words whether the "
                    "effect holds there. Arms that change one field of the recipe stand together."
                ),
                name="score of each arm",
                provenance=_provenance(scene, score, "Null: those of the forests beside it."),
            )
        for name in nulls:
            of_null = rows.filter(pl.col("quantity") == "excess", pl.col("control") == name)
            if not of_null.is_empty():
                words = name.replace("_", " ")
                figure(
                    partial(
                        charts.difference_forest,
                        of_null,
                        order,
                        f"Over {words}",
                        "TC minus that of the null",
                        0.05,
                    ),
                    of_null,
                    about=(
                        "How much more consistent each arm is than this null. An interval right of "
                        "zero: the null alone doesn't explain the score."
                    ),
                    name=f"excess over {words}",
                    provenance=_provenance(scene, of_null, f"Null: {words}."),
                )
        asymmetry = rows.filter(pl.col("quantity") == "asymmetry")
        if not asymmetry.is_empty():
            figure(
                partial(
                    charts.difference_forest,
                    asymmetry,
                    order,
                    "Forward minus backward",
                    "TC minus that of backward pairs",
                ),
                asymmetry,
                about=(
                    "Whether earlier shallow parts serve later deep parts better than later ones "
                    "serve earlier. Right of zero: the arrow of time shows."
                ),
                name="asymmetry of each arm",
                provenance=_provenance(scene, asymmetry, "Null: pairs in the other order."),
            )
        for matched_by, place in findings.MATCHED_BY.items():
            matched = _matched_rows(settings, comparisons, matched_by)
            if not matched.is_empty():
                heading = f"At {place.removesuffix(' of the earlier network')}"
                figure(
                    partial(
                        charts.difference_forest,
                        matched,
                        order,
                        heading,
                        "retention minus that of the first arm",
                        None,
                    ),
                    matched,
                    about=(
                        "How much more an arm's earlier shallow parts retain under its final deep "
                        f"part than those of the first arm, at {place}. Near zero: the change of "
                        "recipe doesn't matter for it."
                    ),
                    name=f"retention {heading[0].lower()}{heading[1:]}",
                    provenance=_matched_provenance(scene, points),
                )
    return comparisons


def _provenance(scene: Scene, rows: pl.DataFrame, null: str) -> Provenance:
    """Say what rows of ``queries.sensitivity`` rest on."""
    return scene.provenance(
        *("sensitivity", "arm_settings"),
        n=max(rows["n"].drop_nulls().to_list(), default=0),
        rest=f"Cut after {plain(scene.cut)}; TC of {scene.measure} over forward pairs, weighted by "
        f"cumulative learning rate. {null} Intervals: 95 % over seeds (Student's t), the examples "
        "held fixed; of one seed over examples.",
    )


def _matched_provenance(scene: Scene, points: pl.DataFrame) -> Provenance:
    """Say what matched retentions rest on."""
    return scene.provenance(
        *("matched_points", "retentions"),
        n=max(points["n"].to_list()),
        rest=f"Cut after {plain(scene.cut)}; retention is averaged over the range in common. Null: "
        "the first arm. Intervals: 95 % over seeds (Welch's t) where both arms have several, else "
        "over examples.",
    )


def _points(scene: Scene) -> pl.DataFrame:
    """Retention at every earlier checkpoint at the cut; empty without splices there."""
    cells = scene.cells().filter(pl.col("cut") == scene.cut)
    return pl.DataFrame() if cells.is_empty() else scene.points(cells)


def _compared(points: pl.DataFrame, settings: pl.DataFrame) -> list[findings.Comparison]:
    if points.is_empty():
        return []
    first, *others = settings["arm"]
    present = set(points["arm"])
    return [findings.compared(points, first, each) for each in others if each in present]


def _matched_rows(
    settings: pl.DataFrame, comparisons: list[findings.Comparison], matched_by: str
) -> pl.DataFrame:
    """Rows of a forest: retention of each arm minus that of the first, where it can be told."""
    rows = []
    for each in comparisons:
        found = each.found[matched_by]
        if found is not None:
            rows.append(
                {
                    "arm": each.second,
                    "control": "none",
                    "value": -found.difference,
                    "low": -found.difference_high,
                    "high": -found.difference_low,
                    "over": found.over,
                    "n_seeds": found.seeds[1],
                    "n": None,
                }
            )
    if not rows:
        return pl.DataFrame()
    return settings.join(pl.DataFrame(rows), on="arm", maintain_order="left")


def _caption(scene: Scene, quantities: pl.DataFrame) -> None:
    sizes = quantities["n"].drop_nulls()
    st.caption(
        f"{rules.rule()} TC over all forward pairs, weighted by cumulative learning rate. "
        f"{scene.about}, cut after {plain(scene.cut)}, n = {max(sizes.to_list()):,}. Intervals "
        "over seeds "
        "are Student's t, the examples held fixed; of one seed they are over examples and say "
        "nothing of other trainings. They are not corrected for looking at several arms."
    )


def _numbers(found: list[rules.Verdict], rows: pl.DataFrame) -> None:
    reasons = pl.DataFrame(
        {
            "arm": [each.arm for each in found],
            "the effect": [each.word for each in found],
            "because": [each.reason for each in found],
        }
    )
    with st.expander("Verdict and numbers of each arm"):
        st.dataframe(reasons, hide_index=True)
        kept = ["arm", "field", "quantity", "control", "value", "low", "high", "over", "n"]
        st.dataframe(rows.select(kept), hide_index=True)
