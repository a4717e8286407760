"""Whether consistency extends to corrupted images, in words: frames in, sentences out."""

from collections.abc import Sequence

import polars as pl

# scipy.stats would take half a second to import.
from scipy.special import stdtrit

from app.findings import LEAST_DIFFERENCE
from app.words import plain

CLEAN = "clean"


def _arm(rows: pl.DataFrame) -> tuple[str, str]:
    """Verdict of one arm's runs, and their figures."""
    gaps = (rows["retention"] - rows["clean"]).to_numpy()
    clean, corrupted, gap = (
        float(each.mean())
        for each in (rows["clean"].to_numpy(), rows["retention"].to_numpy(), gaps)
    )
    figures = f"{100 * corrupted:.1f} % against {100 * clean:.1f} % on clean images"
    if len(gaps) > 1:
        half = float(stdtrit(len(gaps) - 1, 0.975) * gaps.std(ddof=1) / len(gaps) ** 0.5)
        low, high = gap - half, gap + half
        figures += (
            f", {100 * gap:+.1f} points, {100 * low:+.1f} to {100 * high:+.1f} over "
            f"{len(gaps)} seeds"
        )
    else:
        # Both intervals are of the same pictures: their difference is at most as wide as this.
        row = rows.row(0, named=True)
        low = row["retention_low"] - row["clean_high"]
        high = row["retention_high"] - row["clean_low"]
        figures += f", {100 * gap:+.1f} points, one seed"
    if high < 0 and gap <= -LEAST_DIFFERENCE:
        return "less", figures
    if low > 0 and gap >= LEAST_DIFFERENCE:
        return "more", figures
    if low > -LEAST_DIFFERENCE and high < LEAST_DIFFERENCE:
        return "as much", figures
    return "can't be told", figures


def finding(rows: pl.DataFrame, corruption: str, epoch: str, arms: Sequence[str]) -> str:
    """Say what each arm's earlier shallow part retains under a corruption, beside clean images.

    ``rows``: arm, clean, clean_low, clean_high, retention, retention_low, retention_high; a row a
    run of one cut and shallow step.
    """
    parts = []
    for arm in arms:
        of_arm = rows.filter(pl.col("arm") == arm)
        if not of_arm.is_empty():
            word, figures = _arm(of_arm)
            retains = "it can't be told" if word == "can't be told" else f"it retains **{word}**"
            parts.append(f"{plain(arm)}: {retains} ({figures})")
    return (
        f"Under {plain(corruption)}, the shallow part of epoch {epoch} below the final deep part. "
        f"{'; '.join(parts)}."
    )


def rule() -> str:
    """State the rule of ``finding``."""
    least = 100 * LEAST_DIFFERENCE
    return (
        f"Less, more: by at least {least:.0f} points, with an interval that leaves out 0. As much: "
        f"the interval lies within {least:.0f} points of 0. Otherwise it can't be told. Intervals "
        "of differences: over seeds (t), paired; of one seed from the ends of both intervals over "
        "examples, which is wide."
    )


def beside_clean(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Give a row a run and set: clean, then corrupted, whose column is ``name``."""
    kept = ["run_id", "run", "arm", "cut", "n"]
    clean = rows.select(
        *kept,
        pl.lit(CLEAN).alias("set"),
        pl.col("clean").alias("value"),
        pl.col("clean_low").alias("low"),
        pl.col("clean_high").alias("high"),
    )
    corrupted = rows.select(
        *kept,
        pl.format("{} {}", pl.col("corruption").str.replace_all("_", " "), "severity").alias("set"),
        pl.col(name).alias("value"),
        pl.col(f"{name}_low").alias("low"),
        pl.col(f"{name}_high").alias("high"),
    )
    return pl.concat([clean, corrupted])
