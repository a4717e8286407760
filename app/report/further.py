"""What the paper's claims leave open, put to the studies: recipes, averages, replay."""

import polars as pl

from app import charts, replays, sensitivity
from app.report.gallery import Gallery, over_seeds
from app.report.verdicts import STABLE, Claim, Finding, by_limits, nothing
from app.selection import usual_cut
from featdyn_engine.domain import CONTROLS

# Two arms are a contrast of their own; a sweep has more.
LEAST_ARMS = 3


def robust(gallery: Gallery) -> Finding:
    """TC of every arm at the usual cut, and whether it exceeds its nulls.

    On the test set, or on the training set where that was scored for more of the arms.
    """
    settings = gallery.ask("arm_settings", gallery.study)
    splits = [split for split in ("test", "train") if split in gallery.clean_sets]
    if len(settings) < LEAST_ARMS or not splits:
        return nothing("No study changed the recipe.")
    shown = max(map(gallery.clean_set, splits), key=gallery.scored_on)
    cut = usual_cut(gallery.cuts)
    quantities = gallery.ask(
        "sensitivity", gallery.study, list(shown.eval_ids), cut, ["inherit", "none"]
    )
    scores = quantities.filter(pl.col("quantity") == "score", pl.col("value").is_not_null())
    if len(scores) < LEAST_ARMS:
        return nothing("No score of several recipes was computed.")
    nulls = [name for name in CONTROLS if name in set(quantities["control"])]
    found = [sensitivity.verdict(arm, quantities, nulls) for arm in scores["arm"]]
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
    listed = [
        f"{arm} {value:.3f} ({low:.3f} to {high:.3f})"
        for arm, value, low, high in scores.select("arm", "value", "low", "high").iter_rows()
    ]
    said = (
        f"TC on the {shown.split} set at `{cut}` (n = {shown.n:,}, the networks' own "
        "normalisation, forward pairs weighted by learning rate, "
        f"{scores['n_seeds'].to_numpy().min()} or more seeds an arm, 95 % by Student's "
        f"t over seeds): {'; '.join(listed)}.",
        f"The rule, ours: it holds where the lower limit over seeds is above {STABLE} in every "
        "arm, in part where in some.",
        f"Beyond the score: {sensitivity.finding(found, 'every null of the study')} "
        f"{sensitivity.rule()}",
    )
    verdict = by_limits(scores["low"].to_list(), STABLE, scores["high"].to_list())
    return Finding(said, verdict, (forest, *forests))


def averages(gallery: Gallery) -> Finding:
    """Accuracy of SWA and of the ensemble of late checkpoints minus the last network's, by run."""
    arm = gallery.arms[0]
    stored = gallery.ask("comparators", gallery.of_arm(arm)).filter(
        pl.col("split") == "test", pl.col("corruption") == "none"
    )
    if stored.is_empty():
        return nothing("No average of checkpoints was computed.")
    last = stored.filter(pl.col("comparator") == "last").select(
        "run_id", "eval_id", pl.col("accuracy").alias("last")
    )
    gains = stored.filter(pl.col("comparator") != "last").join(last, on=["run_id", "eval_id"])
    lines, means = [], []
    for comparator in gains["comparator"].unique(maintain_order=True).to_list():
        of_one = gains.filter(pl.col("comparator") == comparator)
        mean = over_seeds(of_one["accuracy"] - of_one["last"])
        means.append(mean)
        lines.append(f"{comparator}: {mean}")
    said = (
        f"Test accuracy minus that of the last network, paired by seed ({arm}, "
        f"n = {stored['n'][0]:,}, {max(stored['checkpoints'].to_list())} checkpoints): "
        f"{'; '.join(lines)}.",
        "The rule, ours: it holds where the lower limit over seeds of each is above 0, in part "
        "where of one.",
    )
    return Finding(said, by_limits([m.low for m in means], 0.0, [m.high for m in means]))


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
        "Student's t over seeds.",
        "The rule, ours: it holds where replaying older features does better than replaying "
        "current ones, clean and corrupted, with intervals above 0 for every share; in part where "
        "for some.",
    )
    verdict = by_limits(aged["difference_low"].to_list(), 0.0, aged["difference_high"].to_list())
    return Finding(said, verdict, tuple(forests))


FURTHER = (
    Claim(
        "recipes",
        "7. Other recipes",
        "Is the score as high with another optimiser, batch size, normalisation or augmentation, "
        "and where labels are wrong in part?",
        robust,
    ),
    Claim(
        "averages",
        "8. Averages of checkpoints",
        "Do the mean of late weights (SWA) and of late predictions do better than the last "
        "network, as implicit augmentation over time would suggest?",
        averages,
    ),
    Claim(
        "replay",
        "9. Replay as a way to train",
        "Does training on features of earlier checkpoints make the network better, as augmentation "
        "would?",
        replayed,
    ),
)
