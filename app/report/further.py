"""What the paper's claims leave open, put to the studies: recipes, averages, replay."""

import polars as pl

from app import averages, charts, replays, sensitivity
from app.report.gallery import Gallery, means_of
from app.report.verdicts import FAILS, HOLDS, LEAST_COST, PART, UNTOLD, Finding, by_means, nothing
from app.selection import evaluation_sets, usual_cut
from featdyn_engine.domain import CONTROLS

# Two arms are a contrast of their own; a sweep has more.
LEAST_ARMS = 3
RECIPES_RULE = (
    "it holds where the effect does in every arm, in part where in some, and doesn't where it "
    f"doesn't in every one. {sensitivity.rule()}"
)
AVERAGES_RULE = (
    "it holds where the lower limit over seeds of each gain is above 0; in part where one is, "
    "after Bonferroni's correction; it doesn't where both upper limits are below "
    f"{100 * LEAST_COST:.0f} point. It can't be told where the checkpoints lie after the last "
    "decay of the learning rate, when weights and features hardly move any more."
)
REPLAY_RULE = (
    "it holds where replaying older features does better than replaying current ones, clean and "
    "corrupted, with intervals above 0 for every share; in part where for one, after Bonferroni's "
    "correction for their number; it doesn't where every upper limit is below "
    f"{100 * LEAST_COST:.0f} point."
)
REFUSED = "no score (refused: of too few seeds the accuracy is clear of chance)"


def robust(gallery: Gallery) -> Finding:
    """TC of every arm at the usual cut, and whether it exceeds its nulls.

    On the set where nulls were scored for most arms; of equals on the test set.
    """
    settings = gallery.ask("arm_settings", gallery.study)
    sets = [gallery.clean_set(split) for split in ("test", "train") if split in gallery.clean_sets]
    if len(settings) < LEAST_ARMS or not sets:
        return nothing("No study changed the recipe.")
    cut = usual_cut(gallery.cuts)
    asked = {
        shown: gallery.ask(
            "sensitivity", gallery.study, list(shown.eval_ids), cut, ["inherit", "none"]
        )
        for shown in sets
    }
    shown = max(asked, key=lambda each: (_judged(asked[each]), gallery.scored_on(each)))
    quantities = asked[shown]
    scores = quantities.filter(pl.col("quantity") == "score", pl.col("value").is_not_null())
    if len(scores) < LEAST_ARMS:
        return nothing("No score of several recipes was computed.")
    nulls = [name for name in CONTROLS if name in set(quantities["control"])]
    # One seed says nothing of the recipe.
    several = quantities.filter(pl.col("n_seeds") > 1)
    found = [sensitivity.verdict(arm, several, nulls) for arm in settings["arm"]]
    words = pl.DataFrame({"arm": [v.arm for v in found], "verdict": [v.word for v in found]})
    changed = sensitivity.changed(settings)
    order = changed.select("label", "field")
    forest = charts.score_forest(
        changed.join(words, on="arm", maintain_order="left").join(scores, on="arm"),
        order,
        "accuracy",
        sensitivity.LEAST_SCORE,
    )
    excess = quantities.filter(pl.col("quantity") == "excess", pl.col("value").is_not_null())
    forests = [
        charts.difference_forest(
            changed.join(excess.filter(pl.col("control") == name), on="arm"),
            order,
            f"Over {name.replace('_', ' ')}",
            "TC minus that of the null",
            0.05,
        )
        for name in nulls
        if name in set(excess["control"])
    ]
    means = dict(zip(scores["arm"], means_of(scores), strict=True))
    listed = [f"{arm} {means.get(arm, REFUSED)}" for arm in settings["arm"]]
    said = (
        f"TC on the {shown.split} set at `{cut}` (n = {shown.n:,}, the networks' own "
        "normalisation, forward pairs weighted by learning rate, Student's t over seeds): "
        f"{'; '.join(listed)}.",
        sensitivity.finding(found, "every null of the study"),
    )
    return Finding(said, of_arms([each.word for each in found]), (forest, *forests))


def _judged(quantities: pl.DataFrame) -> int:
    """Count the arms that have a score over seeds and a null."""
    kept = quantities.filter(pl.col("n_seeds") > 1, pl.col("value").is_not_null())
    excess = kept.filter(pl.col("quantity") == "excess")
    return excess["arm"].n_unique()


def of_arms(words: list[str]) -> str:
    """Judge a study by the words of its arms: the effect holds in all, in some, in none."""
    if all(word == "holds" for word in words):
        return HOLDS
    if "holds" in words:
        return PART
    return FAILS if all(word == "doesn't" for word in words) else UNTOLD


def averaged(gallery: Gallery) -> Finding:
    """Accuracy of SWA and of the ensemble of late checkpoints minus the last network's, by run."""
    arm = gallery.arms[0]
    stored = gallery.ask("comparators", gallery.of_arm(arm)).filter(
        pl.col("split") == "test", pl.col("corruption") == "none"
    )
    gained = gallery.named(averages.gains(stored))
    if gained.is_empty():
        return nothing("No average of checkpoints was computed.")
    # Another study of the same runs may have averaged on other images: the largest set comes first.
    gained = gained.filter(pl.col("eval_id").is_in(evaluation_sets(gained)[0].eval_ids))
    of_arm = averages.over_seeds(gained)
    means = means_of(of_arm, "gain")
    first = min(gained["first_step"].to_list())
    decay = gallery.last_decay(gained["run_id"][0])
    still = decay is not None and first >= decay
    told = [f"{name} {mean.points}" for name, mean in zip(of_arm["network"], means, strict=True)]
    said = [
        f"Test accuracy minus that of the last network, paired by seed ({arm}, "
        f"n = {gained['n'][0]:,}, {max(gained['checkpoints'].to_list())} checkpoints from step "
        f"{first:,} on; BatchNorm of SWA estimated anew, others' own): {'; '.join(told)}.",
    ]
    if still:
        said.append(f"The last decay is at step {decay:,}: it can't be told from these.")
    verdict = UNTOLD if still else by_means(means, 0.0, LEAST_COST)
    chart = charts.average_gains(gained, of_arm, gallery.arms, "test set")
    return Finding(tuple(said), verdict, (chart,))


def replayed(gallery: Gallery) -> Finding:
    """Judge replay of older features by accuracy against its control of equal cost."""
    stored = gallery.ask("replay", gallery.study)
    paired = replays.named(stored)
    aged = paired.filter(
        pl.col("source") == "stored",
        pl.col("network") == "last",
        pl.col("against") == replays.CONTROL,
    )
    if aged.is_empty():
        return nothing("No study replays older features beside current ones.")
    headings = {replays.PLAIN: "Minus the plain run", replays.CONTROL: "Minus current features"}
    forests = [
        charts.replay_forest(paired.filter(pl.col("against") == against), heading)
        for against, heading in headings.items()
    ]
    sentences = [
        replays.finding(paired, images, against)
        for images in ("clean", "corrupted")
        for against in headings
    ]
    said = (
        *(sentence for sentence in sentences if sentence is not None),
        f"{replays.cost(stored)} Test set, n = {stored['n'][0]:,}; paired by seed, 95 % by "
        "Student's t over seeds; the sentences above are not corrected for their number.",
    )
    verdict = by_means(means_of(aged, "difference", "n_pairs"), 0.0, LEAST_COST)
    return Finding(said, verdict, tuple(forests))
