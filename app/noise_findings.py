"""What the pictures of noise say, in sentences that name their evidence: frames in, words out."""

import polars as pl
from scipy.special import stdtrit

from app.words import counted, plain

JOINED = ["series", "example"]


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def of_noise(tests: pl.DataFrame, example: int, control: str) -> list[str]:
    """Say for each series what the difference to the control shows at one example, and at all.

    tests: rows of one cut and step, all examples: series, example, source, delta, delta_low,
    delta_high, delta_p_holm, verdict.
    """
    rows = tests.filter(pl.col("source") == control)
    if rows.is_empty():
        return ["The gradient itself has no control here: choose a cut for a verdict."]
    said = []
    for (series,), family in rows.group_by("series", maintain_order=True):
        row = family.row(by_predicate=pl.col("example") == example, named=True)
        alike = (family["verdict"] == row["verdict"]).sum()
        said.append(
            f"**{plain(series)}: {row['verdict']}.** Δ log PR_sign (noise minus control) = "
            f"{row['delta']:.2f} [{row['delta_low']:.2f}, {row['delta_high']:.2f}], "
            f"{_p(row['delta_p_holm'])} after Holm over the "
            f"{counted(len(family), 'example')} of this cut; the same verdict "
            f"at {alike} of {len(family)}."
        )
    return said


def of_alignment(rows: pl.DataFrame, control: str) -> list[str]:
    """Say for each series how much more of the drift its directions hold than the control's.

    rows: alignments of one cut and step: series, example, source, alignment, features, uniform.
    """
    known = rows.filter(pl.col("alignment").is_not_null())
    noise = known.filter(pl.col("source") == "sgd")
    base = known.filter(pl.col("source") == control).select(*JOINED, base="alignment")
    pairs = noise.join(base, on=JOINED, maintain_order="left").with_columns(
        excess=pl.col("alignment") - pl.col("base")
    )
    said = []
    for (series,), family in pairs.group_by("series", maintain_order=True):
        n = len(family)
        mean = family.select(pl.col("alignment", "base", "features", "uniform", "excess").mean())
        own, base_mean, features, uniform, excess = mean.row(0)
        if n > 1:
            half = stdtrit(n - 1, 0.975) * float(family["excess"].to_numpy().std(ddof=1)) / n**0.5
            low, high = 100 * (excess - half), 100 * (excess + half)
            interval = f" [{low:.1f}, {high:.1f}], 95 % over {n} examples"
            shown = "more" if low > 0 else "less" if high < 0 else "no shown difference"
        else:
            interval, shown = ", a single example", "no interval"
        said.append(
            f"**{plain(series)}:** {own:.1%} of the drift lies along the noise, {base_mean:.1%} "
            "along the "
            f"control: {100 * excess:+.1f} points{interval} ({shown}). Directions like the "
            f"features' own hold {features:.1%}, uniform ones {uniform:.1%}."
        )
    return said
