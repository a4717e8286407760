"""What random labels and permuted pixels do to consistency: bands of nulls, and words.

Frames in, frames and words out. A collapse is said only where both matched comparisons show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from app import findings
from app.findings import Comparison
from app.words import plain

# A fall to less than this share of what true labels retain, in both pictures.
COLLAPSE = 0.5
# A fall that an interval must exclude before it says that there is none.
LARGE = 0.1
GRID = 41


@dataclass(frozen=True)
class Supervision:
    """Arms of a study that differ in labels or pixels alone, the one of true labels first.

    ``names``: how pictures call each arm; ``left_out``: arms that are not compared, and why.
    """

    names: dict[str, str]
    left_out: dict[str, str]

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, in the order of their noise, permuted pixels last."""
        return tuple(self.names)


def supervision(settings: pl.DataFrame) -> Supervision | None:
    """Find the arms that a comparison of labels is about; None where there is nothing to compare.

    ``settings``: rows of ``queries.arm_settings``. The first arm of true labels and pixels in
    place is what the others are held against: of equal data, network, recipe, training images and
    steps, without further differences.
    """
    varied = ["label_noise", "pixels_permuted"]
    plain = settings.filter(pl.col("label_noise") == 0, ~pl.col("pixels_permuted"))
    others = settings.filter((pl.col("label_noise") > 0) | pl.col("pixels_permuted"))
    if plain.is_empty() or others.is_empty():
        return None
    first = plain.row(0, named=True)
    alike = [name for name in settings.columns if name not in ("arm", "n_seeds", *varied)]
    names, left_out = {first["arm"]: "true labels"}, {}
    for arm in others.sort("pixels_permuted", "label_noise", maintain_order=True).iter_rows(
        named=True
    ):
        differing = [name for name in alike if arm[name] != first[name]]
        if differing:
            told = ", ".join(
                f"{name.replace('_', ' ')} {arm[name]} instead of {first[name]}"
                for name in differing
            )
            left_out[arm["arm"]] = told
        else:
            names[arm["arm"]] = _name(arm["label_noise"], arm["pixels_permuted"])
    if len(set(names.values())) < len(names):
        names = {arm: arm for arm in names}
    return Supervision(names, left_out)


def _name(label_noise: float, permuted: bool) -> str:
    """Call an arm by what its supervision lacks."""
    if not permuted:
        return f"{label_noise:.0%} random labels"
    return "permuted pixels" + (f", {label_noise:.0%} random labels" if label_noise else "")


def bands(nulls: pl.DataFrame, matched_by: str) -> pl.DataFrame:
    """Envelope of each control over its runs, along ``own_accuracy`` or ``displacement``.

    ``nulls``: rows of ``queries.retentions`` of controls. The lowest lower and the highest upper
    limit, 95 % over examples, of all runs and draws, joined by straight lines; ``middle``: the
    mean of the runs. Columns: control, matched_by, low, high, middle.
    """
    known = nulls.filter(pl.col(matched_by).is_not_null(), pl.col("retention").is_not_null())
    rows = []
    for control in known["control"].unique(maintain_order=True):
        curves = []
        of_control = known.filter(pl.col("control") == control)
        for _, run in of_control.group_by("run_id", "replicate", maintain_order=True):
            ends = pl.col("retention", "retention_low", "retention_high").mean()
            by_value = run.group_by(matched_by).agg(ends).sort(matched_by)
            if len(by_value) > 1:
                curves.append(by_value.to_numpy().T)
        if not curves:
            continue
        low = min(curve[0, 0] for curve in curves)
        high = max(curve[0, -1] for curve in curves)
        grid = np.linspace(low, high, GRID)
        lines = np.array(
            [
                [np.interp(grid, curve[0], row, np.nan, np.nan) for row in curve[1:]]
                for curve in curves
            ]
        )
        there = ~np.isnan(lines[:, 0]).all(axis=0)
        rows.append(
            pl.DataFrame(
                {
                    "control": [control] * int(there.sum()),
                    matched_by: grid[there],
                    "middle": np.nanmean(lines[:, 0, there], axis=0),
                    "low": np.nanmin(lines[:, 1, there], axis=0),
                    "high": np.nanmax(lines[:, 2, there], axis=0),
                }
            )
        )
    schema = dict.fromkeys([matched_by, "middle", "low", "high"], pl.Float64)
    return pl.concat(rows) if rows else pl.DataFrame(schema={"control": pl.String, **schema})


def with_nulls(points: pl.DataFrame, nulls: pl.DataFrame) -> pl.DataFrame:
    """Put the rows of a picture and those of the ``bands`` behind it into one frame.

    ``row``: ``run`` or ``band of a null``; columns that the other kind lacks are empty.
    """
    kinds = {"run": points, "band of a null": nulls}
    named = [rows.select(pl.lit(kind).alias("row"), pl.all()) for kind, rows in kinds.items()]
    return pl.concat(named, how="diagonal_relaxed")


def _word(comparison: Comparison) -> str:
    """``collapses``, ``falls``, ``rises``, ``stays``, ``open`` or ``untold``."""
    if comparison.outcome == "same":
        excluded = all(each.difference_high < LARGE for each in comparison.told)
        return "stays" if excluded else "open"
    if comparison.outcome != "differ":
        return "untold"
    if comparison.told[0].difference < 0:
        return "rises"
    halved = all(each.second < COLLAPSE * each.first for each in comparison.told)
    return "collapses" if halved else "falls"


OPENINGS = {
    "collapses": "**Consistency collapses** with {}",
    "falls": "**Consistency is lower**, but does not collapse, with {}",
    "rises": "**Consistency is higher** with {}",
    "stays": "**No fall of consistency shows** with {}",
    "open": "No fall shows, and none of 10 points is excluded, with {}",
    "untold": "Whether consistency falls is not decided with {}",
}


def headline(comparisons: Sequence[Comparison]) -> str:
    """Say for which arms consistency collapses, falls, stays, or can't be told."""
    by_word: dict[str, list[str]] = {}
    for each in comparisons:
        by_word.setdefault(_word(each), []).append(each.second)
    said = [
        opening.format(", ".join(map(plain, by_word[word])))
        for word, opening in OPENINGS.items()
        if word in by_word
    ]
    against = f"against {plain(comparisons[0].first)}, at equal accuracy and at equal displacement"
    return f"{'. '.join(said)} ({against})."


def sentences(points: pl.DataFrame, comparisons: Sequence[Comparison]) -> list[str]:
    """Give each comparison's figures in both pictures."""
    return [f"{plain(each.second)}: {findings.details(points, each)}." for each in comparisons]


def rule() -> str:
    """State the rule of ``headline``."""
    return (
        "Lower: in both pictures, by at least "
        f"{100 * findings.LEAST_DIFFERENCE:.0f} points with an interval that leaves out 0. "
        f"Collapses: besides, in both less than {COLLAPSE:.0%} of what true labels retain. No fall "
        "shows: neither picture shows a difference, and both intervals exclude a fall of "
        f"{100 * LARGE:.0f} points. Not decided: they disagree, or one is missing. "
        "The rule is ours, not the paper's."
    )
