"""Do splices keep what the later network does, on which images, and more than nulls do?

Claims 1 to 4 of the paper (arXiv 2509.20334), each put to a study. The rules are ours.
"""

import altair as alt
import polars as pl

from app import charts, findings, retained
from app.report.gallery import Gallery, Mean, means_of, over_seeds
from app.report.verdicts import (
    FAILS,
    HOLDS,
    PART,
    STABLE,
    TAIL,
    UNTOLD,
    Finding,
    by_contrasts,
    by_means,
    nothing,
)
from app.selection import usual_cut
from featdyn_engine.domain import CONTROLS

LEAST = findings.LEAST_DIFFERENCE
# Channels of another seed stand in another order.
FLOOR = "other_seed"
# Training accuracy with which an arm has learned its labels.
FIT = 0.99
CORRUPTED_PLACE = ["corruption", "severity", "cut"]
STABLE_RULE = (
    "it holds where the lower limits over seeds of TC and of agreement are above "
    f"{STABLE} at every cut; in part where one is, after Bonferroni's correction for their "
    "number; it doesn't where all upper limits are below."
)
CONTROLS_RULE = (
    f"it holds where every control but `{FLOOR}`, which is near chance by construction, is "
    f"exceeded by {100 * LEAST:.0f} points or more, with a lower limit above 0; it doesn't where "
    "the upper limit of one is below that: such a control does as well; in part where some are "
    "exceeded and none is shown to do as well."
)
COLLAPSE_RULE = (
    "it holds where the arms differ at equal accuracy of the earlier network and at equal "
    "displacement, true labels above; in part where in one of the two, and the other doesn't show "
    "the opposite; it doesn't where neither shows it and the interval of one excludes "
    f"{100 * LEAST:.0f} points. It can't be told where the two say opposite things, and without "
    "two seeds of each arm, all labels random, and every run fit to "
    f"{100 * FIT:.0f} % of its training set."
)


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


def _by_cut(gallery: Gallery, split: str, measure: str = "accuracy") -> pl.DataFrame:
    """Mean score of each arm over its seeds at every cut, as the chart of scores draws it."""
    rows = [
        gallery.scores(split, cut, measure).with_columns(pl.lit(cut).alias("cut"))
        for cut in gallery.cuts
    ]
    return pl.concat(rows)


def _of_arm(every: pl.DataFrame, arm: str) -> tuple[list[str], list[Mean]]:
    """Return the cuts that were scored for an arm, and the means there."""
    # A run that another study shares may have cuts that the other seeds have not.
    rows = every.filter(pl.col("arm") == arm).filter(pl.col("n_seeds") == pl.col("n_seeds").max())
    return rows["cut"].to_list(), means_of(rows, "score")


def _listed(places: list[str], means: list[Mean]) -> str:
    return "; ".join(f"{place} {mean}" for place, mean in zip(places, means, strict=True))


def stable(gallery: Gallery, split: str) -> Finding:
    """Claim 1 on the training set, claim 3 on the test set: scores of the first arm at every cut.

    By accuracy and by agreement: a composite may keep the one with other right answers.
    """
    if split not in gallery.clean_sets:
        return nothing(f"No splice was scored on the {split} set.")
    scores = _scores(gallery, split)
    arm = gallery.arms[0]
    every = _by_cut(gallery, split)
    cuts, kept = _of_arm(every, arm)
    alike_cuts, alike = _of_arm(_by_cut(gallery, split, "agreement"), arm)
    several = every.filter(pl.col("n_seeds") > 1)
    chart = charts.scores_by_depth(scores, several, gallery.arms, "accuracy")
    shown = scores.filter(pl.col("arm") == arm)
    said = (
        f"TC, the share of accuracy above chance that splices of {arm} keep ({split} set, n = "
        f"{shown['n'][0]:,}, BatchNorm `{gallery.norm}`, forward pairs weighted by learning rate): "
        f"{_listed([f'`{cut}`' for cut in cuts], kept)}.",
        "Agreement, the share of examples that the splice and the later network answer alike (the "
        f"same pairs and weights): {_listed([f'`{cut}`' for cut in alike_cuts], alike)}.",
    )
    return Finding(said, by_means([*kept, *alike], STABLE), (chart,))


def not_trivial(gallery: Gallery) -> Finding:
    """Claim 2: the excess of the score over every control, but those that are a floor."""
    arm = gallery.arms[0]
    sets = {
        split: gallery.ask("excesses", gallery.run_ids, split).filter(
            pl.col("measure") == "accuracy",
            pl.col("pairs") == "all",
            pl.col("weighting") == "learning_rate",
            pl.col("corruption") == "none",
            # Other seeds are matched under recalibrate alone.
            (pl.col("norm") == gallery.norm) | (pl.col("control") == "other_seed_matched"),
            pl.col("excess").is_not_null(),
        )
        for split in ("train", "test")
    }
    # The set that most of the study's controls were scored on.
    split = max(sets, key=lambda each: sets[each].select("run_id", "control").n_unique())
    kept = sets[split].filter(pl.col("run_id").is_in(gallery.of_arm(arm)))
    if kept.is_empty():
        return nothing("No control was computed.")
    at = usual_cut(kept.sort("depth")["cut"].unique(maintain_order=True).to_list())
    here = gallery.named(kept.filter(pl.col("cut") == at))
    chart = charts.excess_forest(here, CONTROLS, gallery.arms, at)
    # Draws of one run are no seeds.
    of_runs = here.group_by("control", "run_id", maintain_order=True).agg(pl.col("excess").mean())
    means = {
        str(control): over_seeds(rows["excess"])
        for (control,), rows in of_runs.group_by(["control"], maintain_order=True)
    }
    said = (
        f"Excess of TC over each control at `{at}` ({arm}, {split} set, n = {here['n'][0]:,}): "
        f"{'; '.join(f'`{control}` {mean.points}' for control, mean in means.items())}.",
    )
    nulls = [mean for control, mean in means.items() if control != FLOOR]
    return Finding(said, excess_verdict(nulls), (chart,))


def excess_verdict(nulls: list[Mean]) -> str:
    """Judge the excess over nulls: the rule of ``sensitivity.verdict``, and a part of it."""
    if any(mean.high is not None and mean.high < LEAST for mean in nulls):
        return FAILS
    exceeded = [mean.low is not None and mean.low > 0 and mean.value >= LEAST for mean in nulls]
    if nulls and all(exceeded):
        return HOLDS
    known = [mean for mean, clear in zip(nulls, exceeded, strict=True) if clear]
    clearest = min((mean.p_not_above(0) for mean in known), default=1.0)
    return PART if known and clearest * len(nulls) < TAIL else UNTOLD


def collapse(gallery: Gallery) -> Finding:
    """Claim 4: random labels against true ones, at equal accuracy and at equal displacement."""
    noise = dict(gallery.runs.select("arm", "label_noise").iter_rows())
    first, noisiest = gallery.arms[0], max(gallery.arms, key=lambda arm: noise[arm])
    arms = [first, noisiest]
    if noise[first] == noise[noisiest] or "train" not in gallery.clean_sets:
        return nothing("No arm of the study has other labels.")
    amiss = _unfit(gallery, arms, noise[noisiest])
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
    by_arm = gallery.scores("train", cut)
    of_arms = dict(zip(by_arm["arm"], means_of(by_arm, "score"), strict=True))
    # Shares of random labels in between, where the study has them.
    graded = sorted((arm for arm in of_arms if noise[arm] > noise[first]), key=noise.__getitem__)
    scores = {arm: of_arms[arm] for arm in (first, *graded)}
    said = (
        "Scored over all forward pairs, at equal epochs: "
        + "; ".join(f"{arm} TC {mean}" for arm, mean in scores.items())
        + f" (cut `{cut}`, training set).",
        *findings.matched_arms(points, arms),
        findings.matched_basis(points),
        *amiss,
    )
    contrasts = [findings.contrast(points, first, noisiest, name) for name in findings.MATCHED_BY]
    return Finding(said, UNTOLD if amiss else by_contrasts(contrasts), tuple(pictures))


def _unfit(gallery: Gallery, arms: list[str], noise: float) -> list[str]:
    """Say why two arms can't tell whether consistency collapses without meaning; else nothing."""
    run_ids = [run for arm in arms for run in gallery.of_arm(arm)]
    least = gallery.ask("final_training_accuracy", run_ids)["accuracy"].to_numpy().min()
    reasons = {
        f"at most {noise:.0%} of the labels are random": noise < 1,
        "there is one seed of an arm": min(len(gallery.of_arm(arm)) for arm in arms) < 2,
        f"a run ends at {least:.1%} on its training set": least < FIT,
    }
    amiss = [reason for reason, true in reasons.items() if true]
    return [f"It can't be told here: {', and '.join(amiss)}."] if amiss else []


def corrupted(gallery: Gallery) -> Finding:
    """Claim 3 on corrupted images: scores there beside those on the clean set of equal size."""
    arm = gallery.arms[0]
    scores, kept = _corrupted(gallery, "accuracy")
    if scores.is_empty():
        return nothing("No cube on corrupted images was computed.")
    _, alike = _corrupted(gallery, "agreement")
    said = (
        f"TC on corrupted test images ({arm}, n = {scores['n'][0]:,}, BatchNorm "
        f"`{gallery.norm}`, C-like corruptions made by featdyn): "
        f"{_listed(list(kept), list(kept.values()))}.",
        f"Agreement with the later network there: {_listed(list(alike), list(alike.values()))}.",
    )
    first = scores.row(0, named=True)
    at = gallery.named(scores).filter(*[pl.col(name) == first[name] for name in CORRUPTED_PLACE])
    chart = charts.slopes(
        retained.beside_clean(at, "score"),
        [arm],
        f"Score at {first['cut']}",
        "TC of accuracy",
        ".2~f",
        "bootstrap",
    )
    return Finding(said, by_means([*kept.values(), *alike.values()], STABLE), (chart,))


def _corrupted(gallery: Gallery, measure: str) -> tuple[pl.DataFrame, dict[str, Mean]]:
    """Return the scores of the first arm's runs on corrupted images, and their means by place."""
    stored = gallery.ask("corrupted_scores", gallery.of_arm(gallery.arms[0]), measure)
    scores = stored.filter(pl.col("score").is_not_null(), pl.col("norm") == gallery.norm).sort(
        "depth"
    )
    groups = scores.group_by(CORRUPTED_PLACE, maintain_order=True)
    means = {
        f"`{cut}`, {kind} {severity}": over_seeds(rows["score"])
        for (kind, severity, cut), rows in groups
    }
    return scores, means
