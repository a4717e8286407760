"""What stands beside the score: memory horizons, comparators, connectivity."""

from functools import partial

import polars as pl
import streamlit as st

from app import averages, charts, controls
from app.cached import ask
from app.exports import Provenance
from app.selection import EvaluationSet, evaluation_sets
from app.views.figure import figure
from app.views.scene import Scene
from app.words import plain


def tabs(scene: Scene) -> None:
    """Draw all three in tabs, to keep the page calm."""
    st.subheader("Beside the score", anchor=False)
    memory, means, paths = st.tabs(["Memory horizon", "Averages over checkpoints", "Connectivity"])
    with memory:
        _horizons(scene)
    with means:
        _comparators(scene)
    with paths:
        _connectivity(scene)


def _missing(kind: str) -> None:
    st.info(
        f'Not in the store yet: `kind = "{kind}"` in the `[[analyses]]` of a study asks for it.'
    )


def _horizons(scene: Scene) -> None:
    stored = ask("horizons", scene.run_ids, scene.shown.split).filter(
        pl.col("eval_id").is_in(scene.shown.eval_ids),
        pl.col("norm").is_in(scene.norms),
        pl.col("cut") == scene.cut,
    )
    if stored.is_empty():
        _missing("consistency")
        return
    exact = stored.filter(pl.col("dtype") == "float32")
    stored = stored if exact.is_empty() else exact
    named = scene.named(stored)
    with st.container(horizontal=True, gap="medium"):
        for eps in sorted(set(stored["eps"])):
            of_eps = named.filter(pl.col("eps") == eps)
            figure(
                partial(charts.horizon, of_eps, scene.arm_names, eps),
                of_eps,
                about=(
                    "For each deep part, how many updates back every shallow part still keeps its "
                    f"network's accuracy but for {100 * eps:.0f} of 100 examples. Hollow marks: "
                    "even the first checkpoint does, so the horizon is at least this."
                ),
                name=f"memory horizon, {100 * eps:.0f} points",
                at=f"cut {scene.cut}",
                provenance=scene.provenance(
                    "horizons",
                    n=max(of_eps["n"].to_list()),
                    rest="Decided by paired lower 95 % limits over examples (Tango), one training.",
                ),
            )
    st.caption(
        "How many updates back every shallow part still keeps the accuracy of the deep part's own "
        f"network, but for that loss, at {plain(scene.cut)}; decided by a paired lower limit over "
        f"examples. {scene.about}, n = {max(stored['n'].to_list()):,}."
    )


def _comparators(scene: Scene) -> None:
    stored = ask("comparators", scene.run_ids)
    if stored.is_empty():
        _missing("comparators")
        return
    named = scene.named(stored)
    _gains(scene, averages.gains(named))
    in_order = named.sort(
        pl.col("run_id").cast(pl.Enum(scene.run_ids)),
        "eval_id",
        pl.col("comparator").cast(pl.Enum(list(averages.NETWORKS))),
    )
    table = in_order.select(
        pl.col("comparator").replace(averages.NETWORKS).alias("network"),
        (100 * pl.col("accuracy")).alias("accuracy"),
        (100 * pl.col("accuracy_low")).alias("from"),
        (100 * pl.col("accuracy_high")).alias("to"),
        "run",
        pl.col("loss").alias("loss, nats"),
        "checkpoints",
        "norm",
        "split",
        "corruption",
        "n",
    )
    percent = st.column_config.NumberColumn(format="%.1f %%")
    number = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "accuracy": percent,
            "from": percent,
            "to": percent,
            "loss, nats": number,
        },
    )
    st.caption(
        "What averages over late checkpoints reach without any splice. SWA: mean of the weights; "
        "ensemble: mean of the predicted probabilities; from, to: 95 % over examples (Wilson)."
    )


def _gains(scene: Scene, gained: pl.DataFrame) -> None:
    """Draw what averages gain on one set of images, chosen where there are several."""
    sets = {each.key: each for each in evaluation_sets(gained)}
    if not sets:
        return
    key = next(iter(sets))
    if len(sets) > 1:
        key = controls.select(
            "Averages on", "averages_on", list(sets), key, lambda one: _set_in_words(sets[one])
        )
    of_set = gained.filter(pl.col("eval_id").is_in(sets[key].eval_ids))
    shown = _set_in_words(sets[key])
    figure(
        partial(
            charts.average_gains,
            of_set,
            averages.over_seeds(of_set),
            scene.arm_names,
            f"{sets[key].split} set",
        ),
        of_set,
        about=(
            "How much more accurate the mean of late weights (SWA) and the mean of late predicted "
            "probabilities (ensemble) are than the last network alone, on the same examples. A "
            "splice has to stand beside these: they need no splicing."
        ),
        name="what averages gain",
        at=shown,
        provenance=Provenance(
            scene.study,
            scene.run_ids,
            ("comparators",),
            f"{shown}, n = {sets[key].n:,}. Null: 0, the last network. Paired by run; 95 % over "
            "seeds (Student's t), no interval for one seed. BatchNorm of SWA estimated anew, of "
            "others their own.",
        ),
    )


def _set_in_words(shown: EvaluationSet) -> str:
    return f"{shown.split} set: {shown.title}"


def _connectivity(scene: Scene) -> None:
    stored = ask("connectivity", scene.run_ids).filter(
        pl.col("split") == scene.shown.split, pl.col("barrier").is_not_null()
    )
    paths = stored.filter(
        pl.col("cut").is_in(["none", scene.cut]),
        pl.col("deep_step") == pl.col("deep_step").max().over("run_id"),
    )
    if paths.is_empty():
        _missing("connectivity")
        return
    # One set a run: the page's own where it is there.
    own = paths.filter(pl.col("eval_id").is_in(scene.shown.eval_ids))
    paths = (
        own
        if not own.is_empty()
        else paths.filter(pl.col("eval_id") == pl.col("eval_id").first().over("run_id"))
    )
    epochs = ask("checkpoints", scene.run_ids).select(
        "run_id", pl.col("step").alias("shallow_step"), pl.col("epoch").alias("shallow_epoch")
    )
    barriers = (
        paths.unique(["run_id", "path", "shallow_step"], keep="first", maintain_order=True)
        .join(epochs, on=["run_id", "shallow_step"], maintain_order="left")
        .filter(pl.col("shallow_step") < pl.col("deep_step"))
    )
    named = scene.named(barriers)
    figure(
        partial(charts.barrier, named, scene.arm_names),
        named,
        about=(
            "How high the loss rises on the straight line between the weights of an earlier "
            "network and those of the last one. Without a barrier a good splice may be linear "
            "connectivity and no more."
        ),
        name="barrier of the loss by earlier network",
        provenance=scene.provenance(
            "connectivity",
            n=max(paths["n"].to_list()),
            rest="Null: 0, no barrier. Single trainings, no interval.",
        ),
    )
    alone = stored.filter(pl.col("path") == "shallow_parameters")["cut"].unique(maintain_order=True)
    elsewhere = f" The shallow part alone: at {', '.join(map(plain, alone))}."
    st.caption(
        "Height of the loss on the straight line from an earlier network to the last one, above "
        "the line between its ends. Where a path has no barrier, a high splice may be linear "
        f"connectivity and no more. {scene.shown.split.capitalize()} set, n = "
        f"{max(paths['n'].to_list()):,}, BatchNorm "
        f"{paths['norm'][0]}.{elsewhere if len(alone) and scene.cut not in alone else ''}"
    )
