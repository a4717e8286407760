"""Probes: where along depth, and when, a line tells the classes apart; and is a splice more?"""

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.views.study_choice import choose_study
from app.words import plain

LABELS = {"true": "true labels", "trained_on": "labels trained on"}
SAME_PROBES = ["eval_id", "fit_labels", "pool"]


def render() -> None:
    """Draw the page."""
    st.header("Probes", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _, runs = choose_study()
        stored = ask("probes", tuple(runs["run_id"]))
        if not stored.is_empty():
            probes = _chosen(stored, runs)
    if stored.is_empty():
        st.info("Not in the store yet. Put this into the study, and `featdyn run` it again:")
        st.code('[[analyses]]\nkind = "probes"', language="toml")
        return
    with st.container(horizontal=True, gap="medium"):
        st.altair_chart(
            charts.probes_by_depth(probes), width="content", alt="accuracy of probes along depth"
        )
        st.altair_chart(
            charts.probe_heatmap(probes), width="content", alt="accuracy of probes, depth and time"
        )
    first = probes.row(0, named=True)
    st.caption(
        f"Ridge classifiers on {first['fit_n']:,} training examples with "
        f"{LABELS[first['fit_labels']]}, strength by leave-one-out on these; scored on n = "
        f"{first['n']:,} ({plain(first['dataset'])}, {_set(first)}). {_pooling(first['pool'])} "
        f"BatchNorm `{first['norm']}`. Intervals: 95 % over examples (Wilson), for this one "
        "network and its probe; other seeds are another variance. Null: the chance of the probe's "
        "own predictions. Behind the cut where a line no longer rises lies the tunnel."
    )
    _beside_splices(first)
    with st.expander("Numbers"):
        st.dataframe(probes, hide_index=True)


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


def _beside_splices(probe: dict[str, object]) -> None:
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
    st.altair_chart(
        charts.probe_against_splice(points), width="content", alt="splice against probe, by cut"
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
