"""What replay and SWA do to the final accuracy, in words: frames in, sentences out."""

from typing import Literal

import polars as pl

from app.words import counted, plain

Word = Literal["helps", "hurts", "no difference shows", "can't be told"]
PLAIN, CONTROL = "plain", "control"


def named(rows: pl.DataFrame) -> pl.DataFrame:
    """Put ``condition`` and ``verdict`` beside rows of ``queries.replay`` that have a difference.

    Helps, hurts: the 95 % interval over seeds leaves out 0. Otherwise no difference shows, and
    with one seed, which has no interval, it can't be told.
    """
    swa = pl.when(pl.col("network") == "swa").then(pl.lit(", SWA")).otherwise(pl.lit(""))
    verdict = (
        pl.when(pl.col("difference_low").is_null())
        .then(pl.lit("can't be told"))
        .when(pl.col("difference_low") > 0)
        .then(pl.lit("helps"))
        .when(pl.col("difference_high") < 0)
        .then(pl.lit("hurts"))
        .otherwise(pl.lit("no difference shows"))
    )
    return rows.filter(pl.col("difference").is_not_null()).with_columns(
        (pl.col("arm") + swa).alias("condition"), verdict.alias("verdict")
    )


def _said(row: dict[str, object]) -> str:
    points = f"{100 * float(str(row['difference'])):+.1f}"
    if row["difference_low"] is None:
        return f"{plain(row['condition'])} {points} points"
    low, high = (100 * float(str(row[f"difference_{end}"])) for end in ("low", "high"))
    return f"{plain(row['condition'])} **{points} points** ({low:+.1f} to {high:+.1f})"


def finding(rows: pl.DataFrame, images: str, against: str) -> str | None:
    """Say what each condition does on these ``images``; None without rows.

    ``rows``: those of ``named``.
    """
    here = rows.filter(pl.col("images") == images, pl.col("against") == against)
    if here.is_empty():
        return None
    if against == CONTROL:
        here = here.filter(pl.col("network") == "last")
        opening = "Older features against current ones, at the same cost"
    else:
        opening = "Against the plain run"
    pairs = here["n_pairs"].to_list()
    most = counted(max(pairs), "seed")
    seeds = most if min(pairs) == max(pairs) else f"{min(pairs)} to {most}"
    parts: list[str] = []
    for word, text in (
        ("helps", "better"),
        ("hurts", "worse"),
        ("no difference shows", "no difference shows for"),
        ("can't be told", "one seed, so it can't be told for"),
    ):
        of_word = [_said(row) for row in here.iter_rows(named=True) if row["verdict"] == word]
        if of_word:
            # Names of swept arms have commas of their own.
            told = f"{text}: {'; '.join(of_word)}"
            parts.append(told[0].upper() + told[1:] if parts else told)
    return f"{opening}, {images} test images, {seeds}: {'. '.join(parts)}."


def cost(rows: pl.DataFrame) -> str:
    """Say how compute is counted, and whether it is equal."""
    passes = rows["passes"].unique().sort().to_list()
    equal = (
        f"Every arm passes {passes[0]:,} images forward through the network in training"
        if len(passes) == 1
        else f"Arms pass {passes[0]:,} to {passes[-1]:,} images forward in training"
    )
    spared = rows.filter(pl.col("without_gradient") > 0)
    told = ""
    if not spared.is_empty():
        shares = (spared["without_gradient"] / spared["passes"]).to_list()
        low, high = 100 * min(shares), 100 * max(shares)
        share = f"{low:.0f} %" if round(low) == round(high) else f"{low:.0f} to {high:.0f} %"
        told = (
            f"; the {share} that replay, old or current, pass no gradient back through the shallow "
            "part, so the plain run has the larger budget"
        )
    return (
        f"{equal}, and back through the deep part{told}. SWA adds one pass of at most 2,000 "
        "training images, for its statistics."
    )
