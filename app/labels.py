"""What random labels and permuted pixels do to consistency: bands of nulls, and words.

Frames in, frames and words out. A collapse is said only where both matched comparisons show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from app import findings
from app.findings import Comparison

# A fall to less than this share of what true labels retain, in both pictures.
COLLAPSE = 0.5
GRID = 41


@dataclass(frozen=True)
class Supervision:
    """Arms of a study that differ in labels or pixels alone, the one of true labels first.

    ``left_out``: arms that are not compared, with the reason.
    """

    arms: tuple[str, ...]
    left_out: dict[str, str]


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
    kept, left_out = [], {}
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
            kept.append(arm["arm"])
    return Supervision((first["arm"], *kept), left_out)


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


def _word(comparison: Comparison) -> str:
    """``collapses``, ``falls``, ``rises``, ``stays`` or ``untold``."""
    if comparison.outcome == "same":
        return "stays"
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
    "untold": "Whether consistency falls is not decided with {}",
}


def headline(comparisons: Sequence[Comparison]) -> str:
    """Say for which arms consistency collapses, falls, stays, or can't be told."""
    by_word: dict[str, list[str]] = {}
    for each in comparisons:
        by_word.setdefault(_word(each), []).append(each.second)
    return "; ".join(
        opening.format(", ".join(by_word[word]))
        for word, opening in OPENINGS.items()
        if word in by_word
    ) + (f" (against {comparisons[0].first}, at equal accuracy and at equal displacement).")


def sentences(points: pl.DataFrame, comparisons: Sequence[Comparison]) -> list[str]:
    """Give each comparison's figures in both pictures."""
    return [f"{each.second}: {findings.details(points, each)}." for each in comparisons]


def rule() -> str:
    """State the rule of ``headline``."""
    return (
        "Lower: in both pictures, by at least "
        f"{100 * findings.LEAST_DIFFERENCE:.0f} points with an interval that leaves out 0. "
        f"Collapses: besides, in both less than {COLLAPSE:.0%} of what true labels retain. No fall "
        "shows: neither picture shows a difference. Not decided: they disagree, or one is missing. "
        "The rule is ours, not the paper's."
    )
