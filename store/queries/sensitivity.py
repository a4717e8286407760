"""Whether the effect holds in each arm of a study: score, asymmetry and excess over its nulls."""

import duckdb
import polars as pl

from store.queries.frames import frame
from store.queries.over_seeds import half_width


def arm_settings(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """List the arms of a study in its order, with the fields that sweeps change: a row an arm.

    ``augmentation``: names joined by spaces, ``none`` without; ``n_seeds``: finished runs.
    """
    return frame(
        connection,
        """
        SELECT s.arm, any_value(r.dataset) AS dataset, any_value(r.train_size) AS train_size,
               any_value(r.network) AS network, any_value(r.norm_layer) AS norm_layer,
               any_value(r.optimizer) AS optimizer,
               any_value((r.config ->> '$.recipe.lr')::DOUBLE) AS lr,
               any_value((r.config ->> '$.recipe.batch_size')::BIGINT) AS batch_size,
               any_value((r.config ->> '$.recipe.weight_decay')::DOUBLE) AS weight_decay,
               any_value((r.config ->> '$.recipe.steps')::BIGINT) AS steps,
               any_value(coalesce(nullif(array_to_string(
                   (r.config -> '$.recipe.augmentation')::VARCHAR[], ' '), ''), 'none'
               )) AS augmentation,
               any_value(r.label_noise) AS label_noise,
               any_value(r.pixels_permuted) AS pixels_permuted,
               count(*) FILTER (r.status = 'finished') AS n_seeds
        FROM study_runs AS s JOIN runs AS r USING (run_id)
        WHERE s.study = ? AND s.role = 'arm'
        GROUP BY s.arm ORDER BY min(s.position)
        """,
        [study],
    )


def sensitivity(
    connection: duckdb.DuckDBPyConnection,
    study: str,
    eval_ids: list[str],
    cut: str,
    norms: list[str],
    measure: str = "accuracy",
) -> pl.DataFrame:
    """Give each arm of a study its score, its asymmetry, and its excess over each of its controls.

    A row an arm and quantity: ``quantity`` is ``score``, ``asymmetry`` or ``excess``, ``control``
    that of the excess, else ``none``. All pairs, weighted by cumulative learning rate; float32
    alone; draws of a control are averaged. ``low`` and ``high``: 95 %, by Student's t over the
    ``n_seeds`` runs (``over`` = ``seeds``), or for one run over examples (``examples``: its
    bootstrap, of several draws the mean of their limits). ``value`` is NULL where the score is
    refused. An arm without scores has no row.
    """
    of_runs = frame(
        connection,
        """
        WITH rows AS (
            SELECT s.arm, s.position, c.*
            FROM study_runs AS s JOIN consistency AS c USING (run_id)
            WHERE s.study = ? AND s.role = 'arm' AND c.eval_id IN (SELECT unnest(?)) AND c.cut = ?
              AND c.measure = ? AND c.pairs = 'all' AND c.weighting = 'learning_rate'
              AND c.dtype = 'float32'
              -- Other seeds are matched under recalibrate alone, against that cube of the run.
              AND (c.norm IN (SELECT unnest(?)) OR c.control = 'other_seed_matched')
        ),
        quantities AS (
            SELECT *, 'score' AS quantity, score AS value, score_low AS low, score_high AS high
            FROM rows WHERE control = 'none'
            UNION ALL BY NAME
            SELECT *, 'asymmetry' AS quantity, asymmetry AS value, asymmetry_low AS low,
                   asymmetry_high AS high
            FROM rows WHERE control = 'none'
            UNION ALL BY NAME
            SELECT *, 'excess' AS quantity, excess AS value, excess_low AS low, excess_high AS high
            FROM rows WHERE control <> 'none'
        )
        SELECT arm, run_id, min(position) AS position, quantity, control, avg(value) AS value,
               avg(low) AS low, avg(high) AS high, max(n) AS n, max(checkpoints) AS checkpoints
        FROM quantities GROUP BY arm, run_id, quantity, control
        """,
        [study, eval_ids, cut, measure, norms],
    )
    keys = ["arm", "quantity", "control"]
    means = of_runs.group_by(keys).agg(
        pl.col("position").min(),
        pl.col("value").mean(),
        pl.col("value").std().alias("sd"),
        pl.col("low").mean(),
        pl.col("high").mean(),
        pl.col("value").count().cast(pl.Int64).alias("n_seeds"),
        pl.col("n").max(),
        pl.col("checkpoints").max(),
    )
    half = half_width(means["sd"], means["n_seeds"])
    several = pl.col("n_seeds") > 1
    return (
        means.with_columns(
            pl.when(several).then(pl.col("value") - half).otherwise("low").alias("low"),
            pl.when(several).then(pl.col("value") + half).otherwise("high").alias("high"),
            pl.when(several).then(pl.lit("seeds")).otherwise(pl.lit("examples")).alias("over"),
        )
        .sort("position", pl.col("quantity") != "score", "quantity", "control")
        .select(*keys, "value", "low", "high", "over", "n_seeds", "n", "checkpoints")
    )
