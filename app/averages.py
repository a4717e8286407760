"""What averages over late checkpoints gain on the last network: frames in, frames out."""

import polars as pl

from store.queries.over_seeds import half_width

NETWORKS = {"last": "last checkpoint", "swa": "SWA", "ensemble": "ensemble"}


def gains(stored: pl.DataFrame) -> pl.DataFrame:
    """Accuracy of each average minus that of the last network of its run on the same examples.

    ``stored``: rows of ``queries.comparators``. Returned are those of averages whose last network
    is there too, with ``network``, the name in words, and ``gain``, a difference of shares.
    """
    last = stored.filter(pl.col("comparator") == "last").select(
        "run_id", "eval_id", pl.col("accuracy").alias("last")
    )
    averaged = stored.filter(pl.col("comparator") != "last")
    paired = averaged.join(last, on=["run_id", "eval_id"], maintain_order="left")
    return paired.select(
        *averaged.columns,
        pl.col("comparator").replace(NETWORKS).alias("network"),
        (pl.col("accuracy") - pl.col("last")).alias("gain"),
    ).drop_nulls("gain")


def over_seeds(gained: pl.DataFrame) -> pl.DataFrame:
    """Mean gain of each arm with 95 % limits by Student's t over seeds; null for one seed.

    ``gained``: rows of ``gains`` with ``arm``, of one set, so a row a run and average. Columns:
    arm, comparator, network, gain, gain_low, gain_high, n_seeds, n.
    """
    what = ["arm", "comparator", "network"]
    means = gained.group_by(*what, maintain_order=True).agg(
        pl.col("gain").mean(),
        pl.col("gain").std().alias("deviation"),
        pl.len().cast(pl.Int64).alias("n_seeds"),
        pl.col("n").first(),
    )
    half = half_width(means["deviation"], means["n_seeds"])
    return means.select(
        *what,
        "gain",
        (pl.col("gain") - half).alias("gain_low"),
        (pl.col("gain") + half).alias("gain_high"),
        "n_seeds",
        "n",
    )
