"""What the page on memory draws of each arm: a mean over its seeds, or its only run."""

import polars as pl

# What tells cells of one arm apart; all else of a row is a measure or about the row.
PLACE = ["shallow_step", "deep_step", "shallow_epoch", "deep_epoch"]
SETS = ["split", "dataset", "n", "labels", "corruption", "severity", "subset"]
LIMITS = [f"{name}{end}" for name in ("share", "change", "gap") for end in ("", "_low", "_high")]
COLUMNS = [
    "arm",
    *SETS,
    *PLACE,
    "right_to_wrong",
    "wrong_to_right",
    *LIMITS,
    "forgotten",
    "forgotten_in",
]


def _signed(cells: pl.DataFrame) -> pl.DataFrame:
    """Put ``change`` of accuracy, A(s,t) - A(t,t), in the place of what is lost."""
    return cells.with_columns(
        (-pl.col("lost")).alias("change"),
        (-pl.col("lost_high")).alias("change_low"),
        (-pl.col("lost_low")).alias("change_high"),
    )


def of_arms(cells: pl.DataFrame, over_seeds: pl.DataFrame) -> pl.DataFrame:
    """Return one row an arm, set and cell, with the interval that it has.

    ``cells``: rows of ``queries.memory_cells`` of one cut and reading, with ``arm`` and the
    columns of ``SETS``; ``over_seeds``: rows of ``queries.memory_over_seeds`` of the same. An arm
    with several seeds has their mean and the limits over seeds; another its run, over examples.
    ``n_seeds`` tells which. ``forgotten``: in more than half of the runs, ``forgotten_in`` of
    them. Flips are shares of the examples.
    """
    place = ["arm", *SETS, "shallow_step", "deep_step"]
    marked = cells.group_by(place).agg(
        pl.col("forgotten").sum().cast(pl.Int64).alias("forgotten_in"),
        (2 * pl.col("forgotten").sum() > pl.len()).alias("forgotten"),
    )
    several = over_seeds.filter(pl.col("n_seeds") > 1)
    means = _signed(several).join(marked, on=place, how="left")
    single = _signed(cells.drop("forgotten")).with_columns(
        pl.col("right_to_wrong", "wrong_to_right") / pl.col("n")
    )
    single = single.join(marked, on=place, how="left").join(
        several.select("arm").unique(), on="arm", how="anti"
    )
    rows = [
        means.select(*COLUMNS, "n_seeds"),
        single.select(*COLUMNS, pl.lit(1, pl.Int64).alias("n_seeds")),
    ]
    return (
        pl.concat(rows)
        .with_columns((pl.col("deep_epoch") - pl.col("shallow_epoch")).alias("lag_epochs"))
        # Clean sets first, in the order of the legend too.
        .sort("arm", "dataset", pl.col("corruption") != "none", *SETS, "deep_step", "shallow_step")
    )


def variance(shown: pl.DataFrame) -> str:
    """Say which variance the intervals of rows of ``of_arms`` show."""
    seeds = sorted(set(shown["n_seeds"]))
    if seeds == [1]:
        return "95 % over examples"
    if seeds[0] > 1:
        return f"95 % over {' or '.join(map(str, seeds))} seeds"
    return "95 % over seeds, or examples for one seed"


def intervals(shown: pl.DataFrame) -> str:
    """Say in a sentence which variance it is, and how intervals over examples are found."""
    said = f"Intervals: {variance(shown)}"
    if min(shown["n_seeds"].to_list()) > 1:
        return f"{said} (Student's t)."
    return f"{said} (of one network against itself: changes paired, shares Wilson's)."


def law(row: dict[str, object], training_data: str) -> str:
    """Name a law Q in a legend."""
    of = "" if row["dataset"] == training_data else f"{row['dataset']}, "
    corruption = "" if row["corruption"] == "none" else f", {row['corruption']} {row['severity']}"
    return f"{of}{row['split']}{corruption}".replace("_", " ")
