"""Does the effect hold in each arm? What was changed, the rule, and its words. Frames in and out.

Ours, not the paper's (docs/notation.md, "Does the effect hold").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from app.findings import LEAST_DIFFERENCE, Comparison
from app.words import counted, plain

# A splice keeps at least half of the accuracy above chance, or half of the predictions.
LEAST_SCORE = 0.5
ONE_SEED = ", one seed, over examples"
Word = Literal["holds", "doesn't", "can't be told"]
# The first of these that an arm changes is what it stands under; a rate of its own often goes
# with another optimiser or normalisation.
FIELDS = {
    "dataset": "data",
    "train_size": "training images",
    "label_noise": "random labels",
    "pixels_permuted": "pixels permuted",
    "network": "network",
    "norm_layer": "norm layer",
    "optimizer": "optimiser",
    "augmentation": "augmentation",
    "batch_size": "batch size",
    "weight_decay": "weight decay",
    "steps": "steps",
    "lr": "learning rate",
}
SHORT = {"lr": "lr", "train_size": "images", "network": "net", "norm_layer": "norm"}
# What follows from others: a batch size in epochs, for one.
FOLLOWS = ("steps",)
NOTHING = "nothing (the first arm)"
ELSE = "something else"


@dataclass(frozen=True)
class Verdict:
    """Whether the effect holds in an arm, and why."""

    arm: str
    word: Word
    reason: str


def changed(settings: pl.DataFrame) -> pl.DataFrame:
    """Say what each arm changes against the first: ``arm``, ``field``, ``label``, ``runs``.

    ``settings``: rows of ``queries.arm_settings``. Several changes stand under the first of
    ``FIELDS``; the label has all their values. Arms that change one field stand together.
    """
    first, rows = settings.row(0, named=True), []
    for arm in settings.iter_rows(named=True):
        differing = [name for name in FIELDS if arm[name] != first[name]]
        told = [name for name in differing if name not in FOLLOWS] or differing
        label = " ".join(_value(name, arm[name]) for name in told[:1])
        if told[1:]:
            label += f" ({', '.join(_value(name, arm[name]) for name in told[1:])})"
        field = FIELDS[told[0]] if told else NOTHING if arm is first else ELSE
        label = label or arm["arm"]
        rows.append({"arm": arm["arm"], "field": field, "label": label, "runs": arm["n_seeds"]})
    rows[0]["field"] = NOTHING
    found = pl.DataFrame(rows)
    # Two arms that differ in something else than these fields keep their names.
    twice = found["label"].is_duplicated()
    fields = found["field"].unique(maintain_order=True).to_list()
    return found.with_columns(
        pl.when(twice).then(pl.col("arm")).otherwise(pl.col("label")).alias("label")
    ).sort(pl.col("field").cast(pl.Enum(fields)), maintain_order=True)


def _value(name: str, value: object) -> str:
    if name == "label_noise":
        return f"{value:.0%} random labels"
    if name == "pixels_permuted":
        return "pixels permuted" if value else "pixels in place"
    text = f"{value:,g}" if isinstance(value, float) else str(value)
    return f"{SHORT.get(name, FIELDS[name])} {text}"


def verdict(arm: str, quantities: pl.DataFrame, controls: Sequence[str]) -> Verdict:
    """Decide for one arm from its score and its excess over ``controls``.

    ``quantities``: rows of ``queries.sensitivity``. Holds: the lower limit of the score is at
    least ``LEAST_SCORE``, and the excess over each control that the arm has is at least
    ``LEAST_DIFFERENCE`` with a lower limit above 0. Doesn't: the upper limit of the score is below
    that, or the upper limit of an excess is. Else, and without a control, it can't be told.
    """
    own = quantities.filter(pl.col("arm") == arm, pl.col("value").is_not_null())
    score = own.filter(pl.col("quantity") == "score")
    if score.is_empty():
        return Verdict(arm, "can't be told", "it has no score")
    low, high = score["low"].item(), score["high"].item()
    if high < LEAST_SCORE:
        return Verdict(arm, "doesn't", f"TC is at most {high:.2f}")
    of_nulls = own.filter(pl.col("quantity") == "excess", pl.col("control").is_in(list(controls)))
    names = of_nulls["control"].str.replace_all("_", " ").to_list()
    equalled = [
        f"{_equalled(name, low_, high_)} ({100 * value:+.1f} points, {100 * low_:+.1f} to "
        f"{100 * high_:+.1f}{ONE_SEED if over == 'examples' else ''})"
        for name, value, low_, high_, over in zip(
            names, *(of_nulls[each] for each in ("value", "low", "high", "over")), strict=True
        )
        if high_ < LEAST_DIFFERENCE
    ]
    if equalled:
        return Verdict(arm, "doesn't", "; ".join(equalled))
    if not names:
        return Verdict(arm, "can't be told", "it has no null")
    if low < LEAST_SCORE:
        return Verdict(arm, "can't be told", f"TC may be {low:.2f} or {high:.2f}")
    wide = [
        name
        for name, value, low_ in zip(names, of_nulls["value"], of_nulls["low"], strict=True)
        if not (low_ > 0 and value >= LEAST_DIFFERENCE)
    ]
    if wide:
        return Verdict(arm, "can't be told", f"the excess over {' and '.join(wide)} is uncertain")
    return Verdict(arm, "holds", f"it exceeds {' and '.join(names)}")


def _equalled(name: str, low: float, high: float) -> str:
    """Say how a null stands that is not exceeded by as much as counts."""
    if high < 0:
        return f"{name} does better"
    if low > 0:
        return f"{name} is exceeded by less than {100 * LEAST_DIFFERENCE:.0f} points"
    return f"{name} does as well"


def finding(found: Sequence[Verdict], against: str) -> str:
    """Say in how many arms it holds, and name the others with their reasons."""
    holding = [each for each in found if each.word == "holds"]
    opening = (
        f"Against {against}, **the effect holds in {len(holding)} of {counted(len(found), 'arm')}**"
    )
    others = []
    for word, phrase in (("doesn't", "doesn't hold"), ("can't be told", "can't be told")):
        reasons: dict[str, list[str]] = {}
        for each in found:
            if each.word == word:
                reasons.setdefault(each.reason, []).append(each.arm)
        arms = sum(map(len, reasons.values()))
        if arms:
            told = f"in {arms} it {phrase}"
            if len(reasons) == 1:
                told += f" ({next(iter(reasons))})"
            others.append(told)
    return "; ".join([opening, *others]) + "."


def differing(comparisons: Sequence[Comparison], labels: dict[str, str]) -> str:
    """Say which arms differ from the first where both matched comparisons agree.

    ``labels``: what each arm changes, by its name.
    """
    first = comparisons[0].first
    by_outcome: dict[str, list[str]] = {}
    for each in comparisons:
        by_outcome.setdefault(each.outcome, []).append(plain(labels[each.second]))
    phrases = {
        "differ": "both show a difference for {}",
        "same": "neither shows a difference for {}",
        "undecided": "they do not agree, or one is missing, for {}",
        "contradict": "they contradict each other for {}",
        "untold": "it can't be told for {}",
    }
    parts = [
        phrase.format(f"{len(arms)} ({', '.join(arms)})")
        for outcome, phrase in phrases.items()
        if (arms := by_outcome.get(outcome, []))
    ]
    return (
        f"Retention against that of **{plain(first)}**, at equal accuracy of the earlier network "
        f"and at equal displacement: {'; '.join(parts)}."
    )


def rule() -> str:
    """State the rule of ``verdict``."""
    return (
        f"Holds: the lower limit of TC is at least {LEAST_SCORE:g}, and TC exceeds that of every "
        f"null of the arm by at least {100 * LEAST_DIFFERENCE:.0f} points, with an interval that "
        f"leaves out 0. Doesn't: the upper limit of TC is below {LEAST_SCORE:g}, or the excess "
        f"over some null is shown to be under {100 * LEAST_DIFFERENCE:.0f} points. Otherwise, or "
        "without a null, it can't be told. The rule is ours, not the paper's."
    )
