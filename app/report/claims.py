"""The claims of the paper (arXiv 2509.20334), each put to a study: figure, number, verdict.

The rules of the verdicts are ours and stand in each section's text.
"""

from typing import Any

import altair as alt
import polars as pl

from app import charts, findings, noises, retained
from app.report.gallery import Gallery, Mean, over_seeds
from app.report.verdicts import (
    FAILS,
    HOLDS,
    PART,
    STABLE,
    UNTOLD,
    Claim,
    Finding,
    by_contrasts,
    by_limits,
    nothing,
)
from app.selection import usual_cut
from featdyn_engine.domain import CONTROLS

LEAST = findings.LEAST_DIFFERENCE
# A share of accuracy: less than a few test images, alike in every seed, is no cost.
LEAST_COST = 0.01


def _scores(gallery: Gallery, split: str) -> pl.DataFrame:
    """TC of accuracy, all pairs, weighted by learning rate, on the clean set of a split."""
    stored = gallery.ask("consistency_scores", gallery.run_ids, split)
    return gallery.named(
        stored.filter(
            pl.col("eval_id").is_in(gallery.clean_set(split).eval_ids),
            pl.col("norm") == gallery.norm,
            pl.col("measure") == "accuracy",
            pl.col("pairs") == "all",
            pl.col("weighting") == "learning_rate",
            pl.col("score").is_not_null(),
        )
    )


def _by_cut(gallery: Gallery, split: str) -> pl.DataFrame:
    """Mean TC of each arm over its seeds at every cut, as the chart of scores draws it."""
    rows = [
        gallery.scores(split, cut).with_columns(pl.lit(cut).alias("cut")) for cut in gallery.cuts
    ]
    return pl.concat(rows)


def _mean(row: dict[str, Any]) -> Mean:
    return Mean(row["score"], row["score_low"], row["score_high"], row["n_seeds"])


def stable(gallery: Gallery, split: str) -> Finding:
    """Claim 1 on the training set, claim 3 on the test set: TC of the first arm at every cut."""
    if split not in gallery.clean_sets:
        return nothing(f"No splice was scored on the {split} set.")
    scores = _scores(gallery, split)
    arm = gallery.arms[0]
    every = _by_cut(gallery, split)
    # A run that another study shares may have cuts that the other seeds have not.
    of_arm = every.filter(pl.col("arm") == arm).filter(pl.col("n_seeds") == pl.col("n_seeds").max())
    means = [_mean(row) for row in of_arm.iter_rows(named=True)]
    several = every.filter(pl.col("n_seeds") > 1)
    chart = charts.scores_by_depth(scores, several, gallery.arms, "accuracy")
    listed = [f"`{cut}` {mean}" for cut, mean in zip(of_arm["cut"], means, strict=True)]
    shown = scores.filter(pl.col("arm") == arm)
    said = (
        f"TC, the share of accuracy above chance that splices of {arm} keep ({split} set, n = "
        f"{shown['n'][0]:,}, BatchNorm `{gallery.norm}`, forward pairs weighted by learning rate): "
        f"{'; '.join(listed)}.",
        f"The rule, ours: it holds where the lower limit over seeds is above {STABLE} at every "
        "cut, in part where at some.",
    )
    verdict = by_limits([mean.low for mean in means], STABLE, [mean.high for mean in means])
    return Finding(said, verdict, (chart,))


def not_trivial(gallery: Gallery) -> Finding:
    """Claim 2: the excess of the score over every control."""
    arm = gallery.arms[0]
    stored = gallery.ask("excesses", gallery.of_arm(arm), "train")
    kept = stored.filter(
        pl.col("measure") == "accuracy",
        pl.col("pairs") == "all",
        pl.col("weighting") == "learning_rate",
        pl.col("excess").is_not_null(),
    )
    if kept.is_empty():
        return nothing("No control was computed.")
    at = usual_cut(kept.sort("depth")["cut"].unique(maintain_order=True).to_list())
    here = gallery.named(kept.filter(pl.col("cut") == at))
    chart = charts.excess_forest(here, CONTROLS, gallery.arms, at)
    lines, beaten = [], []
    for (control,), rows in here.group_by(["control"], maintain_order=True):
        low, high = float(rows["excess_low"].to_numpy().min()), rows["excess_high"].to_numpy().max()
        mean = float(rows["excess"].to_numpy().mean())
        lines.append(
            f"`{control}` {100 * mean:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
        )
        beaten.append(low >= LEAST)
    said = (
        f"Excess of TC over each control at `{at}` ({arm}, training set, n = {here['n'][0]:,}; "
        f"the widest of the intervals, 95 % over examples, of "
        f"{here['run_id'].n_unique()} seed(s)): {'; '.join(lines)}.",
        f"The rule, ours: it holds where every control is exceeded by {100 * LEAST:.0f} points or "
        "more, in part where some are.",
    )
    verdict = HOLDS if all(beaten) else PART if any(beaten) else FAILS
    return Finding(said, verdict, (chart,))


def collapse(gallery: Gallery) -> Finding:
    """Claim 4: random labels against true ones, at equal accuracy and at equal displacement."""
    noise = dict(gallery.runs.select("arm", "label_noise").iter_rows())
    first, noisiest = gallery.arms[0], max(gallery.arms, key=lambda arm: noise[arm])
    arms = [first, noisiest]
    if noise[first] == noise[noisiest] or "train" not in gallery.clean_sets:
        return nothing("No arm of the study has other labels.")
    cut = usual_cut(gallery.cuts)
    points = gallery.points("train", cut).filter(pl.col("arm").is_in(arms))
    cells = gallery.cells("train", cut)
    chance = 1 / gallery.clean_set("train").classes
    pictures: list[alt.TopLevelMixin] = [
        charts.heatmap(cells.filter(pl.col("run_id") == run), "accuracy", chance, arm)
        for arm in arms
        for run in gallery.of_arm(arm)[:1]
    ]
    pictures += [
        charts.retention_against(points, name, gallery.arms)
        for name in findings.MATCHED_BY
        if not points[name].drop_nulls().is_empty()
    ]
    of_arms = {row["arm"]: _mean(row) for row in gallery.scores("train", cut).to_dicts()}
    # Shares of random labels in between, where the study has them.
    graded = sorted((arm for arm in of_arms if noise[arm] > noise[first]), key=noise.__getitem__)
    scores = {arm: of_arms[arm] for arm in (first, *graded)}
    said = (
        "Scored over all forward pairs, at equal epochs: "
        + "; ".join(f"{arm} TC {mean}" for arm, mean in scores.items())
        + f" (cut `{cut}`, training set).",
        *findings.matched_arms(points, arms),
        findings.matched_basis(points),
        "The rule, ours: it holds where the arms differ at equal accuracy of the earlier network "
        "and at equal displacement, true labels above; in part where in one of the two; it can't "
        "be told where the two say opposite things; it doesn't where the interval of either "
        f"excludes {100 * LEAST:.0f} points.",
    )
    contrasts = [findings.contrast(points, first, noisiest, name) for name in findings.MATCHED_BY]
    return Finding(said, by_contrasts(contrasts), tuple(pictures))


def corrupted(gallery: Gallery) -> Finding:
    """Claim 3 on corrupted images: TC there beside TC on the clean set of equal size."""
    arm = gallery.arms[0]
    scores = gallery.ask("corrupted_scores", gallery.of_arm(arm)).filter(
        pl.col("score").is_not_null(), pl.col("norm") == gallery.norm
    )
    if scores.is_empty():
        return nothing("No cube on corrupted images was computed.")
    lines, means = [], []
    keys = ["corruption", "severity", "cut"]
    for (kind, severity, cut), rows in scores.sort("depth").group_by(keys, maintain_order=True):
        mean = over_seeds(rows["score"])
        means.append(mean)
        lines.append(f"`{cut}`, {kind} {severity}: {mean}")
    said = (
        f"TC on corrupted test images ({arm}, n = {scores['n'][0]:,}, BatchNorm "
        f"`{gallery.norm}`, C-like corruptions made by featdyn): {'; '.join(lines)}.",
        f"The rule, ours: as on clean images, the lower limit over seeds above {STABLE}.",
    )
    first = scores.sort("depth").row(0, named=True)
    at = gallery.named(scores).filter(*[pl.col(name) == first[name] for name in keys])
    chart = charts.slopes(
        retained.beside_clean(at, "score"),
        [arm],
        f"Score at {first['cut']}",
        "TC of accuracy",
        ".2~f",
        "bootstrap",
    )
    verdict = by_limits([m.low for m in means], STABLE, [m.high for m in means])
    return Finding(said, verdict, (chart,))


def anisotropic(gallery: Gallery) -> Finding:
    """Claim 5: dimension of the noise of SGD against isotropic noise through the same network."""
    tests = gallery.ask("noise_tests", gallery.run_ids)
    judged = tests.filter(pl.col("source") == "global", pl.col("delta").is_not_null())
    if judged.is_empty():
        return nothing("No noise was measured.")
    shows = (pl.col("delta_high") < 0) & (pl.col("delta_p_holm") < 0.05)
    share = judged.select(shows.mean()).item()
    lines = _by_series(gallery, judged.with_columns(shows.alias("shows")))
    first = judged.sort("depth", "step").row(0, named=True)
    place = ["run_id", "eval_id", "cut", "step", "example"]
    at = tests.filter(*[pl.col(name) == first[name] for name in place])
    both = noises.with_series(
        at.filter(pl.col("source").is_in(["sgd", "global"])), {first["run_id"]: gallery.arms[0]}
    )
    keys = ["eval_id", "step", "example", "representation", "source", *noises.SERIES]
    spectra = gallery.ask("noise_spectra", [first["run_id"]], first["cut"])
    shares = noises.as_shares(spectra.join(both.select("series", *keys), on=keys))
    series = both["series"].unique(maintain_order=True).to_list()
    scree = charts.scree(shares, noises.isotropic_bands(shares), series)
    said = (
        "Places (checkpoint, cut, example) where the features' noise of an update has fewer "
        "directions than isotropic parameter noise of equal norm through the same network "
        "(interval of the difference of log PR_sign below 0, p < 0.05 after Holm over the examples "
        f"of a cut): {'; '.join(lines)}. {first['n']} mini-batches a place, "
        f"{judged['run_id'].n_unique()} training(s); BatchNorm statistics frozen.",
        "The rule, ours: it holds where nine places in ten show it, in part where one in ten does.",
    )
    verdict = HOLDS if share >= 0.9 else PART if share >= 0.1 else FAILS
    return Finding(said, verdict, (scree,))


def _by_series(gallery: Gallery, judged: pl.DataFrame) -> list[str]:
    """Say of each arm, batch size and step rule at how many places its noise is anisotropic."""
    keys = ["arm", "batch_size", "step_rule"]
    lines = []
    groups = gallery.named(judged).sort("batch_size").group_by(keys, maintain_order=True)
    for (arm, batch_size, rule), places in groups:
        deltas = places["delta"].to_numpy()
        lines.append(
            f"{arm}, mini-batches of {batch_size}, {noises.RULES[str(rule)]}: "
            f"{places['shows'].sum()} of {len(places)}, mean difference {deltas.mean():+.2f} "
            f"({deltas.min():+.2f} to {deltas.max():+.2f})"
        )
    return lines


def freezing_costs(gallery: Gallery) -> Finding:
    """Claim 6: final accuracy with a frozen shallow part, against the unfrozen run.

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
        pairs = max(held["n_pairs"].to_list())
        said.append(
            f"Final {name} minus that of the run that is not frozen ({pairs} seed(s), paired, 95 % "
            f"by Student's t over seeds; n = {frozen['n'][0]:,}): "
            f"{'; '.join(map(_cost, held.iter_rows(named=True)))}."
        )
        # Beside its own unfrozen run, not those of other recipes or labels.
        of_setting = conditions.filter(pl.col("setting") == frozen["setting"][0])
        pictures.append(charts.freezing(of_setting, f"final {name}"))
        if images == "clean":
            # A cost below the least one is none: its interval begins at 0 at most.
            costs = frozen.select(
                pl.when(pl.col("difference") > -LEAST_COST)
                .then(pl.min_horizontal(-pl.col("difference_high"), pl.lit(0.0)))
                .otherwise(-pl.col("difference_high"))
                .alias("low"),
                (-pl.col("difference_low")).alias("high"),
            )
            verdict = by_limits(costs["low"].to_list(), 0.0, costs["high"].to_list())
    if not said:
        return nothing("No frozen run is in this study.")
    said.append(
        "The rule, ours: it holds where every frozen shallow part costs a point or more on clean "
        "images, with an upper limit below 0; in part where some do."
    )
    return Finding(tuple(said), verdict, tuple(pictures))


def _cost(row: dict[str, Any]) -> str:
    """Put the difference of one condition in words."""
    blocks = f"blocks 1 to {row['frozen_depth']}"
    what = {
        "shallow": blocks,
        "deep": f"the control, a block behind {blocks},",
        "final": f"{blocks} with their final weights",
    }
    told = (
        f"{what[row['part']]} from epoch {row['frozen_from_epoch']:.3g}: "
        f"{100 * row['difference']:+.1f} points"
    )
    if row["difference_low"] is None:
        return told
    return f"{told} ({100 * row['difference_low']:+.1f} to {100 * row['difference_high']:+.1f})"


CLAIMS = (
    Claim(
        "consistency",
        "1. Temporal consistency",
        "Do predictions stay stable when the shallow part of an earlier checkpoint is put under "
        "the deep part of a later one?",
        lambda gallery: stable(gallery, "train"),
    ),
    Claim(
        "controls",
        "2. Not a trivial artefact",
        "Is the score more than a common beginning, a size of movement, or any displacement?",
        not_trivial,
    ),
    Claim(
        "unseen",
        "3a. Unseen data",
        "Does it extend to test images?",
        lambda gallery: stable(gallery, "test"),
    ),
    Claim(
        "corrupted",
        "3b. Corrupted data",
        "Does it extend to corrupted images?",
        corrupted,
    ),
    Claim(
        "random_labels",
        "4. Collapse under random labels",
        "Does it collapse when the labels have no meaning?",
        collapse,
    ),
    Claim(
        "noise",
        "5. Anisotropic noise",
        "Is the noise of SGD confined to fewer directions than the network alone explains?",
        anisotropic,
    ),
    Claim(
        "freezing",
        "6. Freezing shallow layers",
        "Does holding shallow layers still lower the final accuracy?",
        freezing_costs,
    ),
)
