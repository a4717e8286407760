"""Temporal consistency: which shallow part still serves which deep part."""

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.views.study_choice import choose_study

METRICS = ["accuracy", "agreement", "retention"]
EARLY_FROM, EARLY_TO = 0.05, 1 / 6
OWN_ACCURACY = 0.9
THUMBNAIL = 105


def render() -> None:
    """Draw the page."""
    st.header("Temporal consistency", anchor=False)
    st.caption(
        "The shallow part of one checkpoint under the deep part of another, every pair. "
        "BatchNorm `inherit`: every block keeps its own running statistics."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        names = dict(runs.select("run_id", "name").iter_rows())
        choices = ask("splice_choices", tuple(names))
        if choices.is_empty():
            st.info(f"No splices of this study yet: `featdyn run` computes them ({study}).")
            return
        splits = choices["split"].unique(maintain_order=True).to_list()
        split = controls.segments("Examples", "split", splits, splits[0])
        metric = controls.segments("Metric", "metric", METRICS, METRICS[0])
        cuts = choices.sort("depth")["cut"].unique(maintain_order=True).to_list()
        # A third of the way down: after the first stage of a ResNet-20.
        cut = controls.slider("Cut after block", "cut", cuts, cuts[len(cuts) // 3])
    chance = 1 / choices["classes"][0]
    cells = ask("splice_cells", tuple(names), split, "inherit")
    present = {run_id: name for run_id, name in names.items() if run_id in set(cells["run_id"])}
    at_cut = cells.filter(pl.col("cut") == cut)

    with st.container(horizontal=True, gap="medium"):
        for run_id, name in present.items():
            matrix = at_cut.filter(pl.col("run_id") == run_id)
            chart = charts.heatmap(matrix, metric, chance, name)
            st.altair_chart(chart, width="content", alt=f"{metric} matrix, {name}, cut {cut}")
        points = own_accuracy_points(at_cut, present)
        if not points.is_empty():
            chart = charts.retention_against_own_accuracy(points, list(present.values()))
            st.altair_chart(chart, width="content", alt="retention against own accuracy")
    for name in undefined(at_cut, present, metric):
        st.caption(
            f"No retention for {name} on this set (grey): at no checkpoint is its accuracy "
            "9 standard errors above chance. Agreement needs no labels: choose it instead."
        )
    for sentence in findings(at_cut, present, cut, split):
        st.markdown(sentence)

    st.subheader("Every cut", anchor=False)
    st.caption(f"From top to bottom: {'; '.join(present.values())}. Colours and axes as above.")
    with st.container(horizontal=True, gap="small"):
        for name_of_cut in cuts:
            with st.container(width=THUMBNAIL, gap="small"):
                st.caption(f"**{name_of_cut}**" if name_of_cut == cut else name_of_cut)
                of_cut = cells.filter(pl.col("cut") == name_of_cut)
                for run_id in present:
                    matrix = of_cut.filter(pl.col("run_id") == run_id)
                    if not matrix.is_empty():
                        picture = charts.thumbnail(matrix, metric, chance, THUMBNAIL)
                        st.image(picture, width=THUMBNAIL)

    st.subheader("Lag profile", anchor=False)
    with st.container(horizontal=True, gap="medium"):
        for run_id, name in present.items():
            matrix = at_cut.filter(pl.col("run_id") == run_id, pl.col(metric).is_not_null())
            if not matrix.is_empty():
                profile = charts.lag_profile(matrix, metric, chance, name)
                st.altair_chart(profile, width="content", alt=f"lag profile, {name}, cut {cut}")

    with st.expander("The numbers behind the pictures"):
        named = at_cut.with_columns(pl.col("run_id").replace(present).alias("run"))
        st.dataframe(named.select("run", pl.exclude("run")), hide_index=True)


def undefined(cells: pl.DataFrame, names: dict[str, str], metric: str) -> list[str]:
    """Names of the runs for which the metric is defined in no cell."""
    defined = cells.filter(pl.col(metric).is_not_null())["run_id"].unique()
    return [name for run_id, name in names.items() if run_id not in set(defined)]


def own_accuracy_points(cells: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """Retention under the final deep part beside A(s,s), for each earlier checkpoint."""
    own = cells.filter(pl.col("shallow_step") == pl.col("deep_step")).select(
        "run_id", "shallow_step", pl.col("accuracy").alias("own_accuracy")
    )
    final = cells.filter(
        pl.col("deep_step") == pl.col("deep_step").max().over("run_id"),
        pl.col("shallow_step") < pl.col("deep_step"),
        pl.col("retention").is_not_null(),
    )
    return final.join(own, on=["run_id", "shallow_step"]).with_columns(
        pl.col("run_id").replace(names).alias("run")
    )


def findings(cells: pl.DataFrame, names: dict[str, str], cut: str, split: str) -> list[str]:
    """Say the contrast in words, at an equal epoch and at equal own accuracy."""
    final = cells.filter(pl.col("deep_step") == pl.col("deep_step").max().over("run_id"))
    last = max(final["deep_step"].to_list(), default=0)
    early = final.filter(
        pl.col("shallow_step") > EARLY_FROM * last, pl.col("shallow_step") <= EARLY_TO * last
    )
    sentences = []
    if not early.is_empty():
        step = early["shallow_step"].max()
        row = early.filter(pl.col("shallow_step") == step)
        intervals = {
            cell["run_id"]: f"**{cell['accuracy']:.1%}** "
            f"({cell['accuracy_low']:.1%} to {cell['accuracy_high']:.1%})"
            for cell in row.iter_rows(named=True)
        }
        parts = [f"{intervals[key]} with {names[key]}" for key in names if key in intervals]
        sentences.append(
            f"Equal epoch: the first blocks up to {cut}, taken from epoch "
            f"{charts.epoch_label(row['shallow_epoch'][0])}, under the final deep part score "
            f"{', '.join(parts)} ({split} set, n = {row['n'][0]:,}; intervals: 95 % over examples, "
            "single runs)."
        )
    passages = []
    points = own_accuracy_points(cells, names)
    for run_id, name in names.items():
        passed = points.filter(
            pl.col("run_id") == run_id, pl.col("own_accuracy") >= OWN_ACCURACY
        ).sort("shallow_step")
        if not passed.is_empty():
            first = passed.row(0, named=True)
            passages.append(
                f"**{first['retention']:.1%}** with {name} "
                f"(epoch {charts.epoch_label(first['shallow_epoch'])}, "
                f"own accuracy {first['own_accuracy']:.1%})"
            )
    if len(passages) > 1:
        sentences.append(
            "Equal own accuracy: where the earlier network itself first reaches "
            f"{OWN_ACCURACY:.0%}, its shallow part retains {', '.join(passages)}."
        )
    return sentences
