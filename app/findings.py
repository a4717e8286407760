"""What the pictures say, in sentences: frames in, words out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

# scipy.stats would take half a second to import.
from scipy.special import stdtrit

from app.charts import epoch_label
from app.words import plain

# Smaller differences are none worth a word.
LEAST_DIFFERENCE = 0.05
# Of own accuracy, and of displacement: on a narrower range in common nothing is compared.
LEAST_RANGE = 0.05
GRID = 101
NORMAL_QUANTILE = 1.959964
MATCHED_BY = {
    "own_accuracy": "equal accuracy of the earlier network",
    "displacement": "equal displacement",
}
EARLY_FROM, EARLY_TO = 0.05, 1 / 6


@dataclass(frozen=True)
class Contrast:
    """Retention of two arms at equal values between ``low`` and ``high``, averaged over these.

    ``first``, ``second``: of each arm; ``difference``: first minus second, with its 95 % interval,
    widened by what straight lines between checkpoints may miss. ``seeds``: of each arm, as many as
    could be compared.
    """

    low: float
    high: float
    first: float
    second: float
    difference_low: float
    difference_high: float
    seeds: tuple[int, int]

    @property
    def over(self) -> Literal["seeds", "examples"]:
        """What the interval is over: seeds, where both arms have several."""
        return "seeds" if min(self.seeds) > 1 else "examples"

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second

    @property
    def differs(self) -> bool:
        """The interval leaves out zero, and the difference is no smaller than can be told."""
        clear = self.difference_low > 0 or self.difference_high < 0
        return clear and abs(self.difference) >= LEAST_DIFFERENCE


def _curve(run: pl.DataFrame, matched_by: str) -> NDArray[np.float64]:
    """Rows: matched value, rising; retention; its standard error over examples. Ties averaged."""
    error = (pl.col("retention_high") - pl.col("retention_low")) / (2 * NORMAL_QUANTILE)
    by_value = run.group_by(matched_by).agg(pl.col("retention").mean(), error.mean().alias("error"))
    return by_value.sort(matched_by).select(matched_by, "retention", "error").to_numpy().T


def contrast(points: pl.DataFrame, first: str, second: str, matched_by: str) -> Contrast | None:
    """Compare two arms at equal ``own_accuracy`` or ``displacement`` of the earlier network.

    Each run's retention is joined by straight lines and averaged evenly over the range that all
    runs of both arms reach. Interval: with two or more seeds in both arms Welch's t over seeds;
    otherwise over examples, errors of neighbouring checkpoints taken as one. At both ends it is
    widened by how far the mean would be off if retention rose or fell at once between neighbouring
    checkpoints: that is what checkpoints further apart can't tell. None where a run has fewer than
    two checkpoints in a range of ``LEAST_RANGE``.
    """
    known = points.filter(pl.col(matched_by).is_not_null(), pl.col("retention").is_not_null())
    curves = {
        arm: [
            _curve(run, matched_by)
            for run in known.filter(pl.col("arm") == arm).partition_by(
                "run_id", maintain_order=True
            )
        ]
        for arm in (first, second)
    }
    runs = [*curves[first], *curves[second]]
    if not (curves[first] and curves[second]):
        return None
    low, high = max(run[0, 0] for run in runs), min(run[0, -1] for run in runs)
    inside = min(int(((run[0] >= low) & (run[0] <= high)).sum()) for run in runs)
    if high - low < LEAST_RANGE or inside < 2:
        return None
    values = np.linspace(low, high, GRID)
    means = {
        arm: np.array(
            [[np.interp(values, run[0], row).mean() for row in run[1:]] for run in curves[arm]]
        )
        for arm in (first, second)
    }
    a, b = means[first][:, 0], means[second][:, 0]
    if min(len(a), len(b)) > 1:
        half_width = _welch_half_width(a, b)
    else:
        errors = [means[arm][:, 1].mean() for arm in (first, second)]
        half_width = NORMAL_QUANTILE * np.hypot(*errors)
    middle = a.mean() - b.mean()
    missed = {
        arm: np.mean([_missed(run[0], run[1], values) for run in curves[arm]], axis=0)
        for arm in (first, second)
    }
    below = missed[first][0] + missed[second][1]
    above = missed[first][1] + missed[second][0]
    return Contrast(
        low=float(low),
        high=float(high),
        first=float(a.mean()),
        second=float(b.mean()),
        difference_low=float(middle - half_width - below),
        difference_high=float(middle + half_width + above),
        seeds=(len(a), len(b)),
    )


def _welch_half_width(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Half of Welch's 95 % interval of the difference of two means; 0 where nothing varies."""
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    if not parts.any():
        return 0.0
    freedom = parts.sum() ** 2 / (parts**2 / [len(a) - 1, len(b) - 1]).sum()
    return float(stdtrit(freedom, 0.975) * np.sqrt(parts.sum()))


def _missed(
    places: NDArray[np.float64], kept: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[float, float]:
    """How far the mean of a joined line may lie above and below that of any monotone curve.

    Between neighbouring checkpoints such a curve stays between their two values, and at a
    checkpoint it is known: at most it jumps right behind the one, or right before the other.
    """
    right = np.clip(np.searchsorted(places, values), 1, len(places) - 1)
    ends = np.stack([kept[right - 1], kept[right]])
    line = np.interp(values, places, kept).mean()
    return float(line - ends.min(axis=0).mean()), float(ends.max(axis=0).mean() - line)


def _range(low: float, high: float, matched_by: str) -> str:
    if matched_by == "own_accuracy":
        return f"A(s,s) from {low:.0%} to {high:.0%}"
    return f"from {low:.2f} to {high:.2f}"


def _said(found: Contrast, matched_by: str) -> str:
    """Both retentions and their difference, in brackets behind a verdict."""
    return (
        f"({_range(found.low, found.high, matched_by)}: **{found.first:.1%}** against "
        f"**{found.second:.1%}** retained, {100 * found.difference:+.1f} points, 95 % over "
        f"{found.over}: {100 * found.difference_low:+.1f} to {100 * found.difference_high:+.1f})"
    )


def _untold(points: pl.DataFrame, arms: tuple[str, str], matched_by: str) -> str:
    """Why there is no contrast: nothing was measured, or too little at equal values."""
    reached = []
    for arm in arms:
        values = points.filter(pl.col("arm") == arm)[matched_by].drop_nulls().to_list()
        if not values:
            return f"{matched_by.replace('_', ' ')} of {plain(arm)} is not in the store"
        reached.append(f"{plain(arm)} {_range(min(values), max(values), matched_by)}")
    return f"too few checkpoints in a range in common: {'; '.join(reached)}"


Outcome = Literal["differ", "same", "contradict", "undecided", "untold"]


@dataclass(frozen=True)
class Comparison:
    """Two arms at equal accuracy and at equal displacement; None where nothing can be compared."""

    first: str
    second: str
    found: dict[str, Contrast | None]

    @property
    def told(self) -> list[Contrast]:
        """What could be compared."""
        return [each for each in self.found.values() if each is not None]

    @property
    def outcome(self) -> Outcome:
        """``differ`` and ``same`` only where both pictures say so."""
        verdicts = [each.differs for each in self.told]
        if not verdicts:
            return "untold"
        if len(verdicts) < len(self.found) or any(verdicts) != all(verdicts):
            return "undecided"
        if not any(verdicts):
            return "same"
        signs = {each.difference > 0 for each in self.told}
        return "differ" if len(signs) == 1 else "contradict"


def compared(points: pl.DataFrame, first: str, second: str) -> Comparison:
    """Compare two arms in both pictures; ``points`` as in ``matched_arms``."""
    found = {name: contrast(points, first, second, name) for name in MATCHED_BY}
    return Comparison(first, second, found)


def details(points: pl.DataFrame, comparison: Comparison) -> str:
    """Say what each picture shows, with its figures, or why it shows nothing."""
    phrases = []
    for name, place in MATCHED_BY.items():
        each = comparison.found[name]
        if each is None:
            reason = _untold(points, (comparison.first, comparison.second), name)
            phrases.append(f"at {place} it can't be told ({reason})")
        else:
            verdict = "they differ" if each.differs else "no difference shows"
            phrases.append(f"at {place} {verdict} {_said(each, name)}")
    return "; ".join(phrases)


OPENINGS: dict[Outcome, str] = {
    "differ": "**The arms differ**",
    "same": "No difference between the arms shows",
    "contradict": "The two pictures contradict each other and do not decide",
    "undecided": "This picture alone does not decide",
    "untold": "Whether the arms differ can't be told",
}


def _verdict(points: pl.DataFrame, first: str, second: str) -> str:
    comparison = compared(points, first, second)
    opening = OPENINGS[comparison.outcome]
    return f"{opening}, {plain(first)} against {plain(second)}: {details(points, comparison)}."


def matched_arms(points: pl.DataFrame, arms: list[str]) -> list[str]:
    """Compare the first arm with each other one: a difference only where both pictures agree.

    ``points``: run_id, arm, own_accuracy, displacement, retention, retention_low, retention_high;
    a row an earlier checkpoint under the final deep part. No sentence for one arm.
    """
    with_points = set(points["arm"].unique())
    present = [arm for arm in arms if arm in with_points]
    return [_verdict(points, present[0], other) for other in present[1:]]


def matched_basis(points: pl.DataFrame) -> str:
    """Say what ``matched_arms`` rests on: set, n, normalisation, seeds, which variance.

    ``points``: as there, and n, split, norm.
    """
    known = points.filter(pl.col("retention").is_not_null())
    seeds = known.group_by("arm", maintain_order=True).agg(pl.col("run_id").n_unique())
    counts = dict(seeds.iter_rows())
    of_arms = ", ".join(f"{count} of {plain(arm)}" for arm, count in counts.items())
    if len(counts) > 2 and len(set(counts.values())) == 1:
        of_arms = f"{next(iter(counts.values()))} of each arm"
    variance = f"over seeds (t; {of_arms}), the examples held fixed"
    several = sum(count > 1 for count in counts.values())
    alone = len(counts) - several
    if alone and several < 2:
        variance = "over examples; of some arm there is one seed, so nothing about other trainings"
    elif alone:
        variance = (
            f"over seeds (t; {of_arms}) of two arms that have several each, the examples held "
            "fixed; else over examples, which says nothing about other trainings"
        )
    low, high = min(points["n"].to_list()), max(points["n"].to_list())
    n = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    norms = " and ".join(f"`{norm}`" for norm in sorted(set(points["norm"])))
    return (
        f"{points['split'][0].capitalize()} set, n = {n}, BatchNorm {norms}. Retention is averaged "
        f"over the range in common; intervals: 95 % {variance}, widened by what lines between "
        f"checkpoints may miss. To differ means: by at least {100 * LEAST_DIFFERENCE:.0f} points, "
        "with an interval that leaves out 0."
    )


def equal_epoch(cells: pl.DataFrame, names: dict[str, str], cut: str, split: str) -> str | None:
    """Say the contrast at an equal epoch: plain to see, but early nothing may be learned yet.

    ``cells``: those of one cut; ``names``: of the runs, by run_id.
    """
    final = cells.filter(pl.col("deep_step") == pl.col("deep_step").max().over("run_id"))
    # Epochs, not steps: batch sizes may differ.
    early = final.filter(
        pl.col("shallow_epoch") > EARLY_FROM * pl.col("deep_epoch"),
        pl.col("shallow_epoch") <= EARLY_TO * pl.col("deep_epoch"),
    )
    in_common = early.filter(
        pl.col("run_id").n_unique().over("shallow_epoch") == final["run_id"].n_unique()
    )
    if in_common.is_empty():
        return None
    row = in_common.filter(pl.col("shallow_epoch") == pl.col("shallow_epoch").max())
    intervals = {
        cell["run_id"]: f"**{cell['accuracy']:.1%}** "
        f"({cell['accuracy_low']:.1%} to {cell['accuracy_high']:.1%})"
        for cell in row.iter_rows(named=True)
    }
    parts = [f"{intervals[key]} with {plain(names[key])}" for key in names if key in intervals]
    return (
        f"Equal epoch: the first blocks up to {plain(cut)}, taken from epoch "
        f"{epoch_label(row['shallow_epoch'][0])}, under the final deep part score "
        f"{', '.join(parts)} ({split} set, n = {row['n'][0]:,}; intervals: 95 % over examples, "
        "single runs)."
    )
