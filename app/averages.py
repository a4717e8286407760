"""What averages over late checkpoints gain on the last network: frames in, frames out."""

import polars as pl

from store.queries.over_seeds import half_width

NETWORKS = {"last": "last checkpoint", "swa": "SWA", "ensemble": "ensemble"}


def gains(stored: pl.DataFrame) -> pl.DataFrame:
    """Accuracy of each average minus that of the last network of its run on the same examples.

    ``stored``: rows of ``queries.comparators``. Returned are those of averages, with ``network``,
    its name in words, and ``gain``, a difference of shares.
    """
    last = stored.filter(pl.col("comparator") == "last").select(
        "run_id", "eval_id", pl.col("accuracy").alias("last")
    )
    averaged = stored.filter(pl.col("comparator") != "last")
    return averaged.join(last, on=["run_id", "eval_id"], maintain_order="left").select(
        *averaged.columns,
        pl.col("comparator").replace(NETWORKS).alias("network"),
        (pl.col("accuracy") - pl.col("last")).alias("gain"),
    )


def over_seeds(gained: pl.DataFrame) -> pl.DataFrame:
    """Mean gain of each arm with 95 % limits by Student's t over seeds; null for one seed.

    ``gained``: rows of ``gains`` with ``arm``. Columns: arm, comparator, network, gain, gain_low,
    gain_high, n_seeds, n.
    """
    what = ["arm", "comparator", "network"]
    of_runs = gained.group_by(*what, "run_id", maintain_order=True).agg(
        pl.col("gain").mean(), pl.col("n").max()
    )
    means = of_runs.group_by(*what, maintain_order=True).agg(
        pl.col("gain").mean(),
        pl.col("gain").std().alias("deviation"),
        pl.len().cast(pl.Int64).alias("n_seeds"),
        pl.col("n").max(),
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
