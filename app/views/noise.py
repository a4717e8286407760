"""SGD noise: its spectrum and dimension beside isotropic noise through the same network."""

import polars as pl
import streamlit as st

from app import charts, controls
from app.cached import ask
from app.exports import Provenance
from app.views.figure import figure
from app.views.study_choice import choose_study

CONTROLS = {"global": "norm of the whole step", "tensorwise": "norm of each tensor"}
EFFECTS = ("participation_ratio", "first_share", "components_90", "effective_rank", "slope")


def render() -> None:
    """Draw the page."""
    st.header("SGD noise", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        tests = ask("noise_tests", tuple(runs["run_id"]))
        if not tests.is_empty():
            place = _chosen(tests, runs)
    if tests.is_empty():
        st.info("Not in the store yet. Put this into the study, and `featdyn run` it again:")
        st.code('[[analyses]]\nkind = "noise"', language="toml")
        return
    first = place.row(0, named=True)
    key = ["run_id", "eval_id", "cut", "step", "example", "source"]
    spectra = ask("noise_spectra", (first["run_id"],))
    shown = spectra.join(place.select(key), on=key, how="semi", maintain_order="left")
    figure(
        charts.scree(shown, first["edge_high"]),
        shown,
        about=(
            "How the noise of mini-batches spreads over directions, the largest first: filled SGD, "
            "hollow isotropic noise through the same network. A steeper fall than the control's "
            "means fewer directions."
        ),
        name="scree plot",
        provenance=Provenance(
            study,
            (first["run_id"],),
            ("noise_spectra", "noise_tests"),
            f"n = {first['n']:,} mini-batches, {first['p']:,} dimensions, BatchNorm "
            f"{first['norm']}, frozen. Null: the isotropic control; grey: isotropic, 95 % a rank.",
        ),
    )
    _verdict(place)
    st.dataframe(_effects(place), hide_index=True)
    st.caption(
        f"n = {first['n']:,} independent mini-batches, {first['p']:,} dimensions; augmentation "
        f"{first['augmentation']}; BatchNorm `{first['norm']}`, statistics frozen. Interval of "
        "PR_sign: 95 %, jackknife over draws at this one network. Null: isotropic parameter noise "
        "of the same norms through the same network. Tests of sphericity do not decide: heavy "
        "tails alone make the Gaussian ones reject."
    )
    with st.expander("Tests of sphericity and all numbers"):
        st.dataframe(place, hide_index=True)


def _chosen(tests: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Draw the choice of run, place and control; return the rows of SGD and of the control."""
    names = dict(runs.select("run_id", "name").rows())
    present = tests["run_id"].unique(maintain_order=True).to_list()
    run = controls.select("Run", "run", present, present[0], lambda key: names[key])
    of_run = tests.filter(pl.col("run_id") == run)
    columns = ["eval_id", "cut", "step", "example"]
    # Features first: what the gradient alone shows has no control.
    places = of_run.unique(columns, keep="first", maintain_order=True).sort(
        pl.col("example") < 0, maintain_order=True
    )
    titles = {
        "-".join(str(row[name]) for name in columns): (
            f"{row['cut']}, step {row['step']:,}"
            + (f", {row['dataset']} {row['split']} {row['example']}" if row["example"] >= 0 else "")
        )
        for row in places.iter_rows(named=True)
    }
    key = controls.select(
        "Where and when", "place", list(titles), next(iter(titles)), lambda each: titles[each]
    )
    control = controls.select(
        "Control keeps", "control", list(CONTROLS), "global", lambda each: CONTROLS[each]
    )
    at = places[list(titles).index(key)].select(columns)
    here = of_run.join(at, on=columns, how="semi", maintain_order="left")
    return here.filter(pl.col("source").is_in(["sgd", control]))


def _verdict(place: pl.DataFrame) -> None:
    """Say what the difference to the control shows, with its evidence."""
    control = place.filter(pl.col("source") != "sgd")
    if control.is_empty():
        st.markdown("The gradient itself has no control here: choose a cut for a verdict.")
        return
    row = control.row(0, named=True)
    st.markdown(
        f"**{row['verdict'].capitalize()}.** Δ log PR_sign (SGD minus control) = "
        f"{row['delta']:.2f} [{row['delta_low']:.2f}, {row['delta_high']:.2f}]; p over the "
        f"examples of this cut, after Holm: {row['delta_p_holm']:.2g}."
    )


def _effects(place: pl.DataFrame) -> pl.DataFrame:
    """One row an effect size and source, beside its isotropic value at the same n and p."""
    rows: list[tuple[object, ...]] = []
    for row in place.iter_rows(named=True):
        interval = f"{row['pr_sign_low']:.3g} to {row['pr_sign_high']:.3g}"
        # Isotropic rows have PR_sign p, whatever n.
        rows.append((row["source"], "PR_sign", row["pr_sign"], interval, float(row["p"])))
        rows += [
            (row["source"], name.replace("_", " "), row[name], None, row[f"{name}_isotropic"])
            for name in EFFECTS
        ]
    names = ["noise", "effect size", "value", "95 %", "isotropic"]
    return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
