"""Which noises a page compares, and what it draws of them. Frames in, frames out.

A *series* is the noise of one run, batch size and step rule: a colour on every chart of the page.
"""

import polars as pl

# scipy.stats would take half a second to import.
from scipy.special import stdtrit

SERIES = ["run_id", "batch_size", "step_rule"]
RULES = {"sgd": "steps of SGD", "adam": "steps of Adam", "adamw": "steps of AdamW"}
# What the lines of an alignment are called; the first is the noise itself.
NOISE, CONTROL, FEATURES, UNIFORM = (
    "noise",
    "isotropic control",
    "N(0, Cov h)",
    "uniform, k/p",
)
ALIGNMENTS = (NOISE, CONTROL, FEATURES, UNIFORM)


def with_series(rows: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """Add ``series``: the run's name, batch size and step rule, as far as rows differ in them.

    names: of runs, by run_id, unique ones.
    """
    several = {name: rows[name].n_unique() > 1 for name in SERIES}
    # Rules that follow from the run need no words of their own.
    own = rows.select("run_id", "step_rule").unique()["run_id"].is_duplicated().any()
    size = pl.format("mini-batches of {}", pl.col("batch_size"))
    parts = {
        "run_id": pl.col("run_id").replace(names),
        "batch_size": size,
        "step_rule": pl.col("step_rule").replace(RULES),
    }
    told = [part for name, part in parts.items() if several[name] and (name != "step_rule" or own)]
    return rows.with_columns(pl.concat_str(told or [size], separator=", ").alias("series"))


def as_shares(spectra: pl.DataFrame) -> pl.DataFrame:
    """Divide eigenvalues, and their bands, by their sum: those of ``series`` and ``source``.

    Noise of larger mini-batches is smaller; what is compared is how it spreads over directions.
    """
    total = pl.col("eigenvalue").sum().over("series", "source")
    return spectra.with_columns(
        *((pl.col(name) / total).alias(name) for name in ("eigenvalue", "band_low", "band_high"))
    )


def isotropic_bands(spectra: pl.DataFrame) -> pl.DataFrame:
    """Return one band of isotropic noise for each number of draws and dimensions among them.

    spectra: ``as_shares``. Also the upper Marchenko-Pastur ``edge`` of such noise, as a share.
    """
    edge = (1 + (pl.col("p") / (pl.col("n") - 1)).sqrt()) ** 2 / pl.col("p")
    return (
        spectra.filter(pl.col("source") == "sgd")
        .unique(["n", "p", "rank"], keep="first", maintain_order=True)
        .select("n", "p", "rank", "band_low", "band_high", edge.alias("edge"))
    )


def aligned(rows: pl.DataFrame, control: str) -> pl.DataFrame:
    """Mean alignment over the examples of each series and step, with its baselines, long.

    rows: alignments of one cut; control: ``global`` or ``tensorwise``. Returns series, step,
    epoch, of (one of ALIGNMENTS), value, low, high (95 %, t over examples; null for a single
    one), n (examples). N(0, Cov h) and k/p are those of the noise's own directions.
    """
    noise = rows.filter(pl.col("source") == "sgd")
    parts = [
        (noise, "alignment", NOISE),
        (rows.filter(pl.col("source") == control), "alignment", CONTROL),
        (noise, "features", FEATURES),
        (noise, "uniform", UNIFORM),
    ]
    return pl.concat([_mean(part, column, of) for part, column, of in parts])


def _mean(rows: pl.DataFrame, column: str, of: str) -> pl.DataFrame:
    means = (
        rows.filter(pl.col(column).is_not_null())
        .group_by("series", "step", "epoch", maintain_order=True)
        .agg(
            pl.col(column).mean().alias("value"),
            pl.col(column).std().alias("spread"),
            pl.len().cast(pl.Int64).alias("n"),
        )
    )
    factors = [stdtrit(n - 1, 0.975) / n**0.5 if n > 1 else None for n in means["n"]]
    half = pl.col("spread") * pl.Series(factors, dtype=pl.Float64)
    return means.select(
        "series",
        "step",
        "epoch",
        pl.lit(of).alias("of"),
        "value",
        (pl.col("value") - half).clip(0, 1).alias("low"),
        (pl.col("value") + half).clip(0, 1).alias("high"),
        "n",
    )
