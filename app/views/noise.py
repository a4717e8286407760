"""SGD noise: its spectrum and dimension beside isotropic noise through the same network."""

from dataclasses import dataclass
from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls, noise_findings, noises
from app.cached import ask
from app.charts import ARM_COLOURS, epoch_label
from app.exports import Provenance
from app.views.figure import figure
from app.views.study_choice import choose_study

CONTROLS = {"global": "norm of the whole step", "tensorwise": "norm of each tensor"}
EFFECTS = ("participation_ratio", "first_share", "components_90", "effective_rank", "slope")
GRADIENT = "parameters"


@dataclass(frozen=True)
class Place:
    """What is looked at of one cut: a checkpoint, an example (-1: the gradient), a control."""

    step: int
    example: int
    control: str


def render() -> None:
    """Draw the page."""
    st.header("SGD noise", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        tests = ask("noise_tests", tuple(runs["run_id"]))
        if not tests.is_empty():
            names = _names(runs)
            at_cut, place = _chosen(noises.with_series(tests, names))
    if tests.is_empty():
        st.info("Not in the store yet. Put this into the study, and `featdyn run` it again:")
        st.code('[[analyses]]\nkind = "noise"', language=None)
        return
    series = at_cut["series"].unique(maintain_order=True).to_list()
    at_example = at_cut.filter(pl.col("example") == place.example)
    here = at_example.filter(
        pl.col("step") == place.step, pl.col("source").is_in(["sgd", place.control])
    )
    of_control = at_example.filter(pl.col("source") == place.control)
    with st.container(horizontal=True, gap="medium"):
        _scree(study, here, names, series)
        if not of_control.is_empty():
            figure(
                partial(charts.difference_to_control, of_control, series),
                of_control,
                about=(
                    "Whether the noise of SGD has fewer directions than isotropic noise of equal "
                    "norm through the same network, along training. Below zero: it has."
                ),
                name="difference to the control by checkpoint",
                provenance=Provenance(study, tuple(names), ("noise_tests",), _basis(here)),
            )
    at_step = at_cut.filter(pl.col("step") == place.step)
    _listed(noise_findings.of_noise(at_step, place.example, place.control))
    _alignment(study, at_cut, names, series, place)
    _effects_table(here)
    _caption(here)
    with st.expander("Tests of sphericity and all numbers"):
        st.dataframe(at_example.drop("run_id"), hide_index=True)


def _names(runs: pl.DataFrame) -> dict[str, str]:
    """Name runs by their arm, where it has one seed alone."""
    column = "arm" if runs["arm"].is_unique().all() else "name"
    return dict(runs.select("run_id", column).rows())


def _chosen(tests: pl.DataFrame) -> tuple[pl.DataFrame, Place]:
    """Draw the choices; return the rows of a cut and set, and what is looked at in them."""
    # Features first: what the gradient alone shows has no control.
    cuts = (
        tests.unique("cut", maintain_order=True)
        .sort(pl.col("cut") == GRADIENT, "depth", maintain_order=True)["cut"]
        .to_list()
    )
    cut = controls.select(
        "Noise of", "cut", cuts, cuts[0], lambda key: "the gradient" if key == GRADIENT else key
    )
    rows = tests.filter(pl.col("cut") == cut)
    ways = rows["representation"].unique(maintain_order=True).to_list()
    if len(ways) > 1:
        way = controls.segments(
            "Features as", "features", ways, ways[0], lambda key: key.replace("_", " ")
        )
        rows = rows.filter(pl.col("representation") == way)
    sets = {
        row["eval_id"]: f"{row['dataset']} {row['split']}"
        for row in rows.unique("eval_id", maintain_order=True).iter_rows(named=True)
    }
    if len(sets) > 1 and cut != GRADIENT:
        chosen = controls.select("Examples", "set", list(sets), next(iter(sets)), sets.__getitem__)
        rows = rows.filter(pl.col("eval_id") == chosen)
    else:
        rows = rows.filter(pl.col("eval_id") == next(iter(sets)))
    epochs = {
        str(row["step"]): f"epoch {epoch_label(row['epoch'])}"
        for row in rows.unique("step").sort("step").iter_rows(named=True)
    }
    step = controls.select("Checkpoint", "step", list(epochs), list(epochs)[-1], epochs.__getitem__)
    examples = [str(each) for each in rows["example"].unique().sort()]
    example, control = examples[0], "global"
    if cut != GRADIENT:
        example = controls.select("Example", "example", examples, examples[0])
        control = controls.select(
            "Control keeps", "control", list(CONTROLS), "global", lambda each: CONTROLS[each]
        )
    return rows, Place(int(step), int(example), control)


def _basis(here: pl.DataFrame, variance: str = "jackknife over draws at one network") -> str:
    """Say what the numbers rest on: n, normalisation, null, variance."""
    first = here.row(0, named=True)
    return (
        f"n = {first['n']:,} independent mini-batches, {first['p']:,} dimensions, BatchNorm "
        f"{first['norm']}, frozen. Null: isotropic parameter noise of equal norm through the same "
        f"network. Intervals: 95 %, {variance}."
    )


def _scree(study: str, here: pl.DataFrame, names: dict[str, str], series: list[str]) -> None:
    """Draw the spectra of the rows of one place."""
    first = here.row(0, named=True)
    place = ["eval_id", "step", "example", "representation", "source", *noises.SERIES]
    spectra = ask("noise_spectra", tuple(names), first["cut"])
    shown = spectra.join(here.select("series", *place), on=place, maintain_order="left")
    shares = noises.as_shares(shown)
    figure(
        partial(charts.scree, shares, noises.isotropic_bands(shares), series),
        shares,
        about=(
            "How the noise of mini-batches spreads over directions, the largest first: filled SGD, "
            "hollow isotropic noise through the same network. A steeper fall than the control's "
            "means fewer directions."
        ),
        name="scree plot",
        provenance=Provenance(study, tuple(names), ("noise_spectra", "noise_tests"), _basis(here)),
    )


def _alignment(
    study: str, at_cut: pl.DataFrame, names: dict[str, str], series: list[str], place: Place
) -> None:
    """Draw how far the noise points where features go, one picture a series."""
    first = at_cut.row(0, named=True)
    if first["cut"] == GRADIENT:
        return
    same = ["eval_id", "representation", *noises.SERIES]
    found = ask("noise_alignment", tuple(names), first["cut"]).join(
        at_cut.unique(same).select("series", *same), on=same, maintain_order="left"
    )
    if found.is_empty():
        return
    means = noises.aligned(found, place.control)
    st.subheader("Alignment with drift", anchor=False)
    with st.container(horizontal=True, gap="medium"):
        for number, each in enumerate(series):
            chart = partial(
                charts.noise_alignment,
                means.filter(pl.col("series") == each),
                each,
                ARM_COLOURS[number % len(ARM_COLOURS)],
                list(noises.ALIGNMENTS),
            )
            figure(
                chart,
                means.filter(pl.col("series") == each),
                about=(
                    "How much of the features' drift to the next checkpoint lies along the leading "
                    "directions of the noise. Only what exceeds the control speaks of SGD."
                ),
                name=f"alignment with drift, {each}",
                provenance=Provenance(
                    study,
                    tuple(names),
                    ("noise_alignment",),
                    _basis(at_cut, "Student's t over examples at one network"),
                ),
            )
    at_step = found.filter(pl.col("step") == place.step)
    _listed(noise_findings.of_alignment(at_step, place.control))
    k, p = found.select("k", "p").row(0)
    st.caption(
        f"Share of the squared drift to the next checkpoint that lies along the {k} leading "
        f"directions of the noise, of {p} dimensions; mean over {found['example'].n_unique()} "
        "examples. What counts is the excess over the control: one Jacobian aligns any noise with "
        "drift, so that k/p is a straw man. Intervals: Student's t over the examples of one "
        "network, which share their draws; not corrected for how many series are told."
    )


def _listed(lines: list[str]) -> None:
    """Write sentences close together."""
    st.markdown("\n".join(f"- {line}" for line in lines) if len(lines) > 1 else "".join(lines))


def _effects_table(here: pl.DataFrame) -> None:
    st.subheader("Effect sizes", anchor=False)
    most = float(here["pr_sign"].to_numpy().max())
    st.dataframe(
        _effects(here),
        hide_index=True,
        column_config={
            "PR_sign": st.column_config.ProgressColumn(format="%.1f", min_value=0, max_value=most)
        },
    )


def _effects(place: pl.DataFrame) -> pl.DataFrame:
    """One row a noise, effect sizes beside their isotropic value at the same n and p."""
    rows = []
    for row in place.iter_rows(named=True):
        shown = {
            "noise": row["series"] + ("" if row["source"] == "sgd" else ", control"),
            "PR_sign": row["pr_sign"],
            "95 %": f"{row['pr_sign_low']:.3g} to {row['pr_sign_high']:.3g}",
            # Isotropic rows have PR_sign p, whatever n.
            "isotropic": row["p"],
        }
        for name in EFFECTS:
            values = [row[name], row[f"{name}_isotropic"]]
            own, isotropic = ("none" if each is None else f"{each:.3g}" for each in values)
            shown[name.replace("_", " ")] = f"{own} ({isotropic})"
        rows.append(shown)
    return pl.DataFrame(rows)


def _caption(here: pl.DataFrame) -> None:
    """Say how the noise was drawn and what its null is."""
    first = here.row(0, named=True)
    told = [
        f"n = {first['n']:,} independent mini-batches, {first['p']:,} dimensions; augmentation "
        f"{first['augmentation']}; BatchNorm `{first['norm']}`, statistics frozen.",
        "In brackets: mean of isotropic Gaussian noise of the same n and dimensions. Interval of "
        "PR_sign: 95 %, jackknife over draws at this one network. Null: isotropic parameter "
        "noise of the same norms through the same network. Tests of sphericity do not decide: "
        "heavy tails alone make the Gaussian ones reject.",
    ]
    if first["representation"].startswith("projection"):
        told.append("Features: a fixed orthogonal projection, the same for every run and step.")
    if "estimated" in set(here["optimizer_state"]):
        told.append(
            "Adam's state is not stored: second and first moments are estimated from the "
            "mini-batches drawn at this checkpoint (ours)."
        )
    if "monte carlo" in set(here["mauchly_null"]):
        told.append("Mauchly's test: Monte Carlo null, as the dimensions are beyond n / 6.")
    st.caption(" ".join(told))
