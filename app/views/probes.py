"""Probes: where along depth, and when, a line tells the classes apart; and is a splice more?"""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.exports import Provenance
from app.views.figure import figure
from app.views.study_choice import choose_study
from app.words import plain

LABELS = {"true": "true labels", "trained_on": "labels trained on"}
SAME_PROBES = ["eval_id", "fit_labels", "pool"]


def render() -> None:
    """Draw the page."""
    st.header("Probes", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        stored = ask("probes", tuple(runs["run_id"]))
        if not stored.is_empty():
            probes = _chosen(stored, runs)
    if stored.is_empty():
        st.info("Not in the store yet. Put this into the study, and `featdyn run` it again:")
        st.code('[[analyses]]\nkind = "probes"', language=None)
        return
    first = probes.row(0, named=True)
    with st.container(horizontal=True, gap="medium"):
        figure(
            partial(charts.probes_by_depth, probes),
            probes,
            about=(
                "How well a linear classifier reads the classes from the features behind each "
                "cut, one line a checkpoint. Where a line no longer rises, depth no longer helps."
            ),
            name="accuracy of probes along depth",
            provenance=_provenance(study, first, "probes"),
        )
        figure(
            partial(charts.probe_heatmap, probes),
            probes,
            about=(
                "The same accuracies, depth upwards and training time to the right. The top row "
                "is the whole network."
            ),
            name="accuracy of probes, depth and time",
            provenance=_provenance(study, first, "probes"),
        )
    st.caption(
        f"Ridge classifiers on {first['fit_n']:,} training examples with "
        f"{LABELS[first['fit_labels']]}, strength by leave-one-out on these; scored on n = "
        f"{first['n']:,} ({plain(first['dataset'])}, {_set(first)}). {_pooling(first['pool'])} "
        f"BatchNorm `{first['norm']}`. Intervals: 95 % over examples (Wilson), for this one "
        "network and its probe; other seeds are another variance. Null: the chance of the probe's "
        "own predictions. Behind the cut where a line no longer rises lies the tunnel."
    )
    _beside_splices(first, study)
    with st.expander("Numbers"):
        st.dataframe(probes, hide_index=True)


def _provenance(study: str, probe: dict[str, object], query: str) -> Provenance:
    """Say what the accuracies rest on."""
    basis = (
        f"{probe['dataset']}, {_set(probe)}, n = {probe['n']:,}; fitted on {probe['fit_n']:,} "
        f"training examples with {LABELS[str(probe['fit_labels'])]}; BatchNorm {probe['norm']}. "
        "Null: chance of the probe's own predictions. Intervals: 95 % over examples (Wilson)."
    )
    return Provenance(study, (str(probe["run_id"]),), (query,), basis)


def _set(row: dict[str, object]) -> str:
    corruption = "" if row["corruption"] == "none" else f", {row['corruption']} {row['severity']}"
    return f"{row['split']} split{corruption}"


def _pooling(pool: int) -> str:
    if pool == 1:
        return "Feature maps as channel means."
    return f"Feature maps as means over {pool} x {pool} places."


def _chosen(stored: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Draw the choice of run, set and probe; return the probes of these."""
    present = set(stored["run_id"])
    names = {
        run_id: name for run_id, name in runs.select("run_id", "name").rows() if run_id in present
    }
    run = controls.select("Run", "run", list(names), next(iter(names)), lambda key: names[key])
    of_run = stored.filter(pl.col("run_id") == run)
    # The test split without corruption first, then in the order of the store.
    variants = of_run.unique(SAME_PROBES, keep="first", maintain_order=True).sort(
        pl.col("corruption") != "none", "fit_labels", "pool", descending=[False, True, False]
    )
    titles = {
        f"{row['eval_id']}-{row['fit_labels']}-{row['pool']}": (
            f"{row['dataset']}, {_set(row)}, n = {row['n']:,}; {LABELS[row['fit_labels']]}, "
            f"pool {row['pool']}"
        )
        for row in variants.iter_rows(named=True)
    }
    key = controls.select(
        "Set and probe", "probe", list(titles), next(iter(titles)), lambda each: titles[each]
    )
    place = list(titles).index(key)
    return of_run.join(
        variants[place].select(SAME_PROBES), on=SAME_PROBES, how="semi", maintain_order="left"
    )


def _beside_splices(probe: dict[str, object], study: str) -> None:
    """Show whether the splice under the final deep part says more than the probe."""
    st.subheader("Beside the splice", anchor=False)
    key = [*SAME_PROBES, "norm"]

    def of_probe(question: str) -> pl.DataFrame:
        found = ask(question, (probe["run_id"],))
        return found.filter(*(pl.col(name) == probe[name] for name in key))

    points = of_probe("probe_points")
    if points.is_empty():
        st.info(
            'No splices on this set yet: `kind = "splices"` with the same evaluation sets asks '
            "for them."
        )
        return
    figure(
        partial(charts.probe_against_splice, points),
        points,
        about=(
            "Each point is an earlier checkpoint: what its shallow part reaches under the final "
            "deep part, against what a line reads from the same features. Points on one rising "
            "line: the splice says no more than the probe."
        ),
        name="splice against probe, by cut",
        provenance=_provenance(study, probe, "probe_points"),
    )
    table = of_probe("probe_agreement").select(
        "cut",
        "spearman",
        (100 * pl.col("residual")).alias("residual, points"),
        (100 * pl.col("spread")).alias("spread of A(s, t), points"),
        pl.col("points").alias("checkpoints"),
        "n",
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "spearman": st.column_config.NumberColumn(format="%.2f"),
            "residual, points": st.column_config.NumberColumn(format="%.1f"),
            "spread of A(s, t), points": st.column_config.NumberColumn(format="%.1f"),
        },
    )
    st.caption(
        "Rank correlation of A(s, t), t the last checkpoint, with the probe's accuracy at s, over "
        "the checkpoints s before it; residual: what a straight line on the probe leaves of the "
        "spread. Checkpoints of one run on the same examples are not independent: no interval and "
        "no p-value belong to these numbers. Near 1 with a small residual, the splice restates "
        "the probe."
    )
