"""What would make features a help: noise that has directions, and shallow parts that move.

Claims 5 and 6 of the paper (arXiv 2509.20334), each put to a study. The rules are ours.
"""

from typing import Any

import altair as alt
import polars as pl

from app import charts, noises
from app.report.gallery import Gallery, means_of
from app.report.verdicts import (
    FAILS,
    HOLDS,
    LEAST_COST,
    PART,
    UNTOLD,
    Finding,
    by_means,
    nothing,
)
from app.words import counted

MOST_PLACES, SOME_PLACES = 0.9, 0.1
# Isotropic parameter noise of equal norm, as a whole and tensor by tensor.
ISOTROPIC = ["global", "tensorwise"]
NOISE_RULE = (
    f"it holds where, in each of two or more trainings, {MOST_PLACES:.0%} of the places after step "
    f"0 show it for the steps of plain SGD; in part where {SOME_PLACES:.0%} do in each; it doesn't "
    "where fewer do in each."
)
FREEZING_RULE = (
    f"it holds where every frozen shallow part costs {100 * LEAST_COST:.0f} point or more on clean "
    "images beyond its control, a frozen block behind the cut, with an interval that leaves out 0, "
    "and where the final weights, held from the beginning, cost something too: these are mature, "
    "but don't drift. In part where the former alone is shown: then immature features cost, not "
    "those that stand still. It doesn't where every cost is shown to be smaller."
)
PLACE = ["run_id", "eval_id", "cut", "step", "example", "batch_size", "step_rule", "representation"]


def anisotropic(gallery: Gallery) -> Finding:
    """Claim 5: dimension of the noise of SGD against isotropic noise through the same network.

    A place is a checkpoint, cut and example. It shows the claim where noise has fewer directions
    than both controls have; the verdict is that of gradients' own steps at trained networks.
    """
    tests = gallery.ask("noise_tests", gallery.run_ids)
    against = tests.filter(pl.col("source").is_in(ISOTROPIC), pl.col("delta").is_not_null())
    shows = (pl.col("delta_high") < 0) & (pl.col("delta_p_holm") < 0.05)
    places = against.group_by(PLACE, maintain_order=True).agg(
        shows.all().alias("shows"),
        (pl.col("source").n_unique() == len(ISOTROPIC)).alias("both"),
        pl.col("depth").first(),
        pl.col("n").first(),
        pl.col("delta").max().alias("delta"),
    )
    judged = places.filter(pl.col("both"))
    if judged.is_empty():
        return nothing("No noise was measured beside both of its controls.")
    trained = judged.filter(pl.col("step") > 0)
    first = judged.sort("depth", "step").row(0, named=True)
    said = (
        "Places (checkpoint, cut, example) where the features' noise of an update has fewer "
        "directions than isotropic parameter noise through the same network, both that of equal "
        "norm as a whole and that of equal norm tensor by tensor (interval of the difference of "
        "log PR_sign below 0, p < 0.05 after Holm over the examples of a cut): "
        f"{'; '.join(_by_series(gallery, trained))}. At step 0: "
        f"{'; '.join(_by_series(gallery, judged.filter(pl.col('step') == 0))) or 'not measured'}. "
        f"{first['n']} mini-batches a place; BatchNorm statistics frozen. Places of one training "
        "are not independent, nor are trainings that draw the same mini-batches.",
    )
    of_runs = (
        trained.filter(pl.col("step_rule") == "sgd").group_by("run_id").agg(pl.col("shows").mean())
    )
    return Finding(said, by_shares(of_runs["shows"].to_list()), (_scree(gallery, tests, first),))


def by_shares(shares: list[float]) -> str:
    """Judge the share of places of each training."""
    if len(shares) < 2:
        return UNTOLD
    if min(shares) >= MOST_PLACES:
        return HOLDS
    if min(shares) >= SOME_PLACES:
        return PART
    return FAILS if max(shares) < SOME_PLACES else UNTOLD


def _scree(gallery: Gallery, tests: pl.DataFrame, place: dict[str, Any]) -> alt.TopLevelMixin:
    """Draw the spectrum of the noise at one place beside that of its control."""
    at = tests.filter(
        *[pl.col(name) == place[name] for name in ("run_id", "eval_id", "cut", "step", "example")]
    )
    both = noises.with_series(
        at.filter(pl.col("source").is_in(["sgd", "global"])), {place["run_id"]: gallery.arms[0]}
    )
    keys = ["eval_id", "step", "example", "representation", "source", *noises.SERIES]
    spectra = gallery.ask("noise_spectra", [place["run_id"]], place["cut"])
    shares = noises.as_shares(spectra.join(both.select("series", *keys), on=keys))
    series = both["series"].unique(maintain_order=True).to_list()
    return charts.scree(shares, noises.isotropic_bands(shares), series)


def _by_series(gallery: Gallery, places: pl.DataFrame) -> list[str]:
    """Say of each arm, batch size and step rule at how many places its noise is anisotropic."""
    keys = ["arm", "batch_size", "step_rule"]
    lines = []
    groups = gallery.named(places).sort("batch_size").group_by(keys, maintain_order=True)
    for (arm, batch_size, rule), rows in groups:
        deltas = rows["delta"].to_numpy()
        trainings = counted(rows["run_id"].n_unique(), "training")
        lines.append(
            f"{arm}, mini-batches of {batch_size}, {noises.RULES[str(rule)]}: "
            f"{rows['shows'].sum()} of {len(rows)}, {trainings}, mean of the smaller difference "
            f"{deltas.mean():+.2f}, range {deltas.min():+.2f} to {deltas.max():+.2f}"
        )
    return lines


def freezing_costs(gallery: Gallery) -> Finding:
    """Claim 6: final accuracy with a frozen shallow part, against its controls.

    The verdict is that of clean test images; what corrupted ones say stands beside it.
    """
    said: list[str] = []
    pictures: list[alt.TopLevelMixin] = []
    verdict = UNTOLD
    for images, name in (("clean", "test accuracy"), ("corrupted", "accuracy, corrupted images")):
        conditions = gallery.ask("freezing", gallery.study, images)
        held = conditions.filter(pl.col("part") != "none", pl.col("difference").is_not_null())
        frozen = held.filter(pl.col("part") == "shallow")
        if frozen.is_empty():
            continue
        said.append(
            f"Final {name} minus that of the run that is not frozen (paired by seed, Student's t; "
            f"n = {frozen['n'][0]:,}): {'; '.join(_costs(held, 'difference', 'n_pairs'))}."
        )
        over_deep = frozen.filter(pl.col("over_deep").is_not_null())
        if not over_deep.is_empty():
            said.append(
                "The same minus that of the run whose block behind the cut is frozen instead: "
                f"{'; '.join(_costs(over_deep, 'over_deep', 'n_deep'))}."
            )
        # Beside its own unfrozen run, not those of other recipes or labels.
        of_setting = conditions.filter(pl.col("setting") == frozen["setting"][0])
        pictures.append(charts.freezing(of_setting, f"final {name}"))
        if images == "clean":
            verdict = by_costs(frozen, held.filter(pl.col("part") == "final"))
    if not said:
        return nothing("No frozen run is in this study.")
    return Finding(tuple(said), verdict, tuple(pictures))


def by_costs(frozen: pl.DataFrame, final: pl.DataFrame) -> str:
    """Judge what freezing costs beyond the control, and what the final weights cost."""
    if frozen["over_deep"].null_count():
        return UNTOLD
    costs = [-mean for mean in means_of(frozen, "over_deep", "n_deep")]
    of_final = [-mean for mean in means_of(final, "difference", "n_pairs")]
    early = by_means(costs, 0, LEAST_COST)
    if early == HOLDS and min(cost.value for cost in costs) < LEAST_COST:
        early = UNTOLD
    if early != HOLDS:
        return early
    late = by_means(of_final, 0, LEAST_COST)
    return HOLDS if late == HOLDS else PART


def _costs(rows: pl.DataFrame, name: str, seeds: str) -> list[str]:
    """Put a difference of each condition in words."""
    means = means_of(rows, name, seeds)
    return [
        f"{_condition(row)} {mean.points}"
        for row, mean in zip(rows.iter_rows(named=True), means, strict=True)
    ]


def _condition(row: dict[str, Any]) -> str:
    blocks = f"blocks 1 to {row['frozen_depth']}"
    what = {
        "shallow": blocks,
        "deep": f"the control, a block behind {blocks},",
        "final": f"{blocks} with their final weights",
    }
    return f"{what[row['part']]} from epoch {row['frozen_from_epoch']:.3g}:"
