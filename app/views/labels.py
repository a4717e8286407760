"""Labels and controls: what is left of consistency where the supervision means nothing?"""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls, findings
from app import labels as rules
from app.cached import ask
from app.views.figure import figure
from app.views.scene import Scene, choose
from app.words import counted, plain
from featdyn_engine.domain import CONTROLS

EXAMPLE = """[[arms]]
name = "true labels"

[[arms]]
name = "random labels"
sweep.label_noise = [0.2, 0.4, 0.6, 0.8, 1.0]

[[arms]]
name = "permuted pixels"
data = { permute_pixels = true }

[[analyses]]
kind = "consistency"

[[analyses]]
kind = "controls"
controls = ["other_seed", "other_example", "random_parameters"]"""

NOT_COMPARED = "no arm of this study has random labels or permuted pixels beside one of true labels"
DRAWN = {
    "own_accuracy": (
        "What an earlier shallow part retains under the final deep part, against how accurate that "
        "earlier network was itself, a line a run"
    ),
    "displacement": (
        "What an earlier shallow part retains under the final deep part, against how far its "
        "features still had to move, a line a run"
    ),
}
ABOUT_MATCHED = {
    "own_accuracy": (
        ", coloured by its share of random labels. Lines that coincide mean that a fall at equal "
        "epochs comes from how little had been learned."
    ),
    "displacement": (
        ", coloured by its share of random labels. A lower line keeps less at an equal distance."
    ),
}
ABOUT_NULLS = ". Grey: the nulls. Where a line lies within a band, that null does as well."


def render() -> None:
    """Draw the page."""
    st.header("Labels and controls", anchor=False)
    scene = choose(["accuracy"])
    if scene is None:
        return
    settings = ask("arm_settings", scene.study)
    compared = rules.supervision(settings)
    if compared is None:
        arm = _arm_with_nulls(scene)
        if arm is None:
            st.info(
                f"{NOT_COMPARED.capitalize()}, and none has nulls on this set at this cut. "
                "A study asks for both so:"
            )
            st.code(EXAMPLE, language=None)
            return
        compared = rules.Supervision({arm: arm}, {})
        st.caption(f"{plain(arm)} beside its nulls alone: {NOT_COMPARED}.")
    cells = scene.cells().filter(pl.col("cut") == scene.cut)
    points = scene.points(cells) if not cells.is_empty() else pl.DataFrame()
    if not points.is_empty():
        points = points.filter(pl.col("arm").is_in(compared.arms)).with_columns(
            pl.col("arm").replace(compared.names)
        )
    if points.is_empty():
        st.info(
            "No retention of these arms on this set at this cut: no splices, or networks too close "
            "to chance. On the training set each arm is scored against the labels that it saw."
        )
        return
    _pictures(scene, settings, compared, points)
    present = set(points["arm"])
    first, *others = compared.names.values()
    comparisons = [
        findings.compared(points, first, each)
        for each in others
        if first in present and each in present
    ]
    if comparisons:
        st.markdown(rules.headline(comparisons))
        with st.expander("Each arm against that of true labels, in both pictures", expanded=True):
            for sentence in rules.sentences(points, comparisons):
                st.markdown(sentence)
        st.caption(
            f"{findings.matched_basis(points)} {rules.rule()} Not corrected for how many arms are "
            "compared."
        )
    absent = [name for name in compared.names.values() if name not in present]
    if absent:
        st.caption(
            f"Not drawn: {', '.join(map(plain, absent))}. No retention on this set: its networks "
            "are within 9 standard errors of chance, or it has no splices here."
        )
    for arm, reason in compared.left_out.items():
        st.warning(
            f"{plain(arm)} is not compared: {plain(reason, 300)}. Arms of other labels must be "
            "trained on the same images in the same number of steps."
        )
    with st.expander("The numbers behind the pictures"):
        st.dataframe(points, hide_index=True)


def _arm_with_nulls(scene: Scene) -> str | None:
    """Return the arm to show beside its nulls, chosen where several have some; None without."""
    own = {scene.arms[run] for run in _nulls(scene, set(scene.run_ids))["run_id"]}
    arms = [arm for arm in scene.arm_names if arm in own]
    if len(arms) > 1:
        return controls.segments("Arm", "arm", arms, arms[0])
    return arms[0] if arms else None


def _pictures(
    scene: Scene, settings: pl.DataFrame, compared: rules.Supervision, points: pl.DataFrame
) -> None:
    of_arms = settings.filter(pl.col("arm").is_in(compared.arms))
    shares = dict(of_arms.select("arm", "label_noise").iter_rows())
    present = set(points["arm"])
    noise = {name: shares[arm] for arm, name in compared.names.items() if name in present}
    permuted = {compared.names[arm] for arm in of_arms.filter("pixels_permuted")["arm"]}
    # Of one arm: those of random labels are others, and a band over all would be of none.
    first = next(iter(noise))
    nulls = _nulls(scene, set(points.filter(pl.col("arm") == first)["run_id"]))
    alone = len(compared.arms) == 1
    beside = "nulls" if alone else "share of random labels"
    with st.container(horizontal=True, gap="medium"):
        for matched_by in findings.MATCHED_BY:
            if points[matched_by].null_count() < len(points):
                bands = rules.bands(nulls, matched_by)
                figure(
                    partial(charts.retention_by_noise, points, bands, matched_by, noise, permuted),
                    rules.with_nulls(points, bands),
                    about=DRAWN[matched_by] + (ABOUT_NULLS if alone else ABOUT_MATCHED[matched_by]),
                    name=f"retention by {beside} against {matched_by.replace('_', ' ')}",
                    provenance=scene.provenance(
                        *("matched_points", "retentions", "arm_settings"),
                        n=max(points["n"].to_list()),
                        rest=f"Cut after {plain(scene.cut)}. Nulls of {plain(first)}: "
                        f"{_told(nulls)}, grey; a guess, 0. Bands: 95 % over examples, one "
                        "training each.",
                    ),
                )
        scores = pl.DataFrame() if alone else _scores(scene, of_arms)
        if not scores.is_empty():
            figure(
                partial(charts.score_by_noise, scores, scene.measure),
                scores,
                about=(
                    "Temporal consistency of each arm against the share of its labels that are "
                    "random; squares: pixels permuted. It is at equal epochs, so both pictures "
                    "beside it say how much of a fall comes from how little was learned."
                ),
                name="score by share of random labels",
                provenance=scene.provenance(
                    *("sensitivity", "arm_settings"),
                    n=max(points["n"].to_list()),
                    rest=f"Cut after {plain(scene.cut)}; TC of {scene.measure} over forward pairs. "
                    "Null: the arm of true labels. Intervals: 95 % over seeds (Student's t), over "
                    "examples for one seed.",
                ),
            )
    if nulls.is_empty():
        st.caption(
            f"No nulls of {plain(first)} on this set: "
            '`kind = "controls"` and `kind = "consistency"` in the '
            "`[[analyses]]` of the study ask for them."
        )
    else:
        st.caption(
            f"Grey: nulls of {plain(first)}, at the accuracy and displacement of the step that "
            "they stand in for; bands from the lowest to the highest 95 % limit over examples of "
            f"{counted(nulls['run_id'].n_unique(), 'run')}."
        )
    if points["displacement"].null_count() == len(points):
        st.caption(
            'Displacement is not in the store for this set: add `kind = "displacement"` to the '
            "`[[analyses]]` of the study."
        )


def _told(nulls: pl.DataFrame) -> str:
    names = nulls["control"].cast(pl.String).unique(maintain_order=True).to_list()
    return ", ".join(name.replace("_", " ") for name in names) or "none stored"


def _nulls(scene: Scene, run_ids: set[str]) -> pl.DataFrame:
    """Retention of the controls of the runs shown, in the order of the controls."""
    return (
        scene.retentions()
        .filter(
            pl.col("control").is_in(list(CONTROLS)),
            pl.col("run_id").is_in(list(run_ids)),
            pl.col("eval_id").is_in(scene.shown.eval_ids),
            pl.col("dtype") == "float32",
            pl.col("norm").is_in(scene.norms) | (pl.col("control") == "other_seed_matched"),
        )
        .sort(pl.col("control").cast(pl.Enum(list(CONTROLS))), maintain_order=True)
    )


def _scores(scene: Scene, of_arms: pl.DataFrame) -> pl.DataFrame:
    rows = ask(
        "sensitivity", scene.study, scene.shown.eval_ids, scene.cut, scene.norms, scene.measure
    ).filter(pl.col("quantity") == "score", pl.col("value").is_not_null())
    pixels = pl.when("pixels_permuted").then(pl.lit("permuted")).otherwise(pl.lit("in place"))
    told = of_arms.select("arm", "label_noise", pixels.alias("pixels"))
    return rows.join(told, on="arm", maintain_order="left")
