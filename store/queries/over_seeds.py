"""Limits of a mean over seeds: other runs of the same recipe, the examples held fixed."""

import polars as pl

# Student's quantile alone: scipy.stats takes half a second to import.
from scipy.special import stdtrit


def half_width(deviation: pl.Series, seeds: pl.Series) -> pl.Series:
    """Half the 95 % interval of a mean by Student's t; null for one seed.

    deviation: standard deviation over seeds (n - 1), null for one seed; seeds: how many.
    """
    quantile = pl.Series(stdtrit((seeds.to_numpy() - 1).clip(min=1), 0.975), dtype=pl.Float64)
    return quantile * deviation / seeds.cast(pl.Float64).sqrt()
