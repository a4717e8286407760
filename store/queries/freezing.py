"""What holding blocks still, or replaying stored ones, does to the final accuracy of a study."""

import duckdb
import polars as pl

from store.queries.frames import frame
from store.queries.over_seeds import half_width

# What a run is, but for its seeds: runs alike in these are the seeds of one condition.
CONDITION = ["setting", "freeze", "replayed"]
TOLD = [
    "setting",
    "arm",
    "dataset",
    "label_noise",
    "optimizer",
    "lr",
    "batch_size",
    "part",
    "replay",
    "frozen_depth",
    "frozen_from",
    "frozen_from_epoch",
    "weights_of",
    "share",
    "source",
    "step",
    "n",
]


# Accuracy of every run at its last step; $1 is the study.
FINAL = {
    "clean": """
        SELECT run_id, max(step) AS step, max(epoch) AS epoch, arg_max(n, step) AS n,
               arg_max(accuracy, step) AS accuracy
        FROM metrics WHERE split = 'test' AND mode = 'eval' GROUP BY run_id
    """,
    "corrupted": """
        WITH ends AS (
            SELECT run_id, max(step) AS step, max(epoch) AS last_epoch
            FROM study_runs JOIN metrics USING (run_id)
            WHERE study = $1 AND split = 'test' AND mode = 'eval' GROUP BY run_id
        ),
        scored AS (
            SELECT * FROM corruptions JOIN ends USING (run_id, step) WHERE corruption <> 'none'
        ),
        -- Differences are of the same images: sets on which every run was scored.
        shared AS (
            SELECT eval_id FROM scored GROUP BY eval_id
            HAVING count(DISTINCT run_id) = (SELECT count(DISTINCT run_id) FROM scored)
        ),
        of_kinds AS (
            SELECT run_id, step, last_epoch AS epoch, corruption, max(n) AS n,
                   avg(accuracy) AS accuracy
            FROM scored WHERE eval_id IN (FROM shared) GROUP BY ALL
        )
        SELECT run_id, step, epoch, max(n) AS n, avg(accuracy) AS accuracy
        FROM of_kinds GROUP BY ALL
    """,
}


def freezing(
    connection: duckdb.DuckDBPyConnection, study: str, images: str = "clean"
) -> pl.DataFrame:
    """Give every condition of a study its final test accuracy over seeds, against the unfrozen run.

    ``images``: ``clean``, or ``corrupted``: the mean over kinds of the mean over severities, on the
    sets that all of the study's scored runs share; no row where there is none.

    A row is one condition: the arm's data, network, training and intervention, all its seeds.
    ``setting`` is the same for conditions that differ in freezing and replay alone; so a sweep of
    optimisers, batch sizes or learning rates has one row with ``part = 'none'`` a setting.
    ``part``: ``none``, ``shallow``, ``deep`` (the control), ``final`` (the parent's shallow part of
    step ``weights_of``); ``replay`` beside it, of the features of ``source``. ``frozen_depth``,
    ``frozen_from`` and its epoch are those of the freezing, or of the replay where nothing is
    frozen. ``accuracy`` is the mean over
    ``n_seeds`` runs at their last step, ``accuracy_low`` and ``accuracy_high`` its 95 % limits by
    Student's t over seeds, NULL for one. ``difference`` is the mean over the ``n_pairs`` seeds of
    accuracy minus that of the run of the same setting and seeds that neither freezes nor replays,
    with limits alike; NULL for these runs themselves and without such a run. ``over_deep`` is the
    same against the control: for ``shallow``, the run of the same seeds whose deep counterpart of
    as many blocks was frozen from the same step on. Branches are left out: they have another data
    order. Runs that are not finished yet have no part in it.
    """
    runs = frame(
        connection,
        f"""
        WITH final AS ({FINAL[images]})
        SELECT
            md5(json_merge_patch(
                r.config, '{{"seeds": null, "freeze": null, "replay": null, "branch": null}}'
            )::VARCHAR) AS setting,
            s.arm, s.position, r.dataset, r.label_noise, r.optimizer,
            (r.config ->> '$.recipe.lr')::DOUBLE AS lr,
            (r.config ->> '$.recipe.batch_size')::BIGINT AS batch_size,
            CASE
                WHEN r.frozen_depth IS NULL THEN 'none'
                WHEN (r.config ->> '$.freeze.weights_of') IS NOT NULL THEN 'final'
                ELSE coalesce(r.config ->> '$.freeze.part', 'shallow')
            END AS part,
            r.replay,
            coalesce(r.frozen_depth, (r.config ->> '$.replay.depth')::INTEGER) AS frozen_depth,
            coalesce(r.frozen_from, (r.config ->> '$.replay.from_step')::BIGINT) AS frozen_from,
            f.epoch / f.step AS epochs_a_step,
            (r.config ->> '$.freeze.weights_of')::BIGINT AS weights_of,
            (r.config ->> '$.replay.share')::DOUBLE AS share,
            CASE WHEN r.replay THEN coalesce(r.config ->> '$.replay.source', 'stored') END
                AS source,
            r.config ->> '$.freeze' AS freeze,
            r.config ->> '$.replay' AS replayed,
            r.config ->> '$.seeds' AS seeds,
            f.step, f.n, f.accuracy
        FROM study_runs AS s
        JOIN runs AS r USING (run_id)
        JOIN final AS f USING (run_id)
        WHERE s.study = $1 AND s.role = 'arm' AND r.parent_step IS NULL
        ORDER BY s.position
        """,
        [study],
    )
    runs = runs.with_columns(
        (pl.col("frozen_from") * pl.col("epochs_a_step")).alias("frozen_from_epoch")
    )
    disturbed = pl.col("freeze").is_not_null() | pl.col("replayed").is_not_null()
    unfrozen = (
        runs.filter(~disturbed)
        .unique(["setting", "seeds"], keep="first", maintain_order=True)
        .select("setting", "seeds", pl.col("accuracy").alias("unfrozen"))
    )
    paired = runs.join(
        unfrozen, on=["setting", "seeds"], how="left", maintain_order="left"
    ).with_columns(
        pl.when(disturbed).then(pl.col("accuracy") - pl.col("unfrozen")).alias("difference")
    )
    counterpart = ["setting", "seeds", "frozen_depth", "frozen_from"]
    deep = runs.filter(pl.col("part") == "deep").select(
        *counterpart, pl.lit("shallow").alias("part"), pl.col("accuracy").alias("deep")
    )
    paired = paired.join(
        deep, on=[*counterpart, "part"], how="left", maintain_order="left"
    ).with_columns((pl.col("accuracy") - pl.col("deep")).alias("over_deep"))
    means = paired.group_by(CONDITION, maintain_order=True).agg(
        *(pl.col(name).first() for name in TOLD if name not in CONDITION),
        pl.col("accuracy").mean(),
        pl.col("accuracy").std().alias("accuracy_sd"),
        pl.len().cast(pl.Int64).alias("n_seeds"),
        pl.col("difference").mean(),
        pl.col("difference").std().alias("difference_sd"),
        pl.col("difference").count().cast(pl.Int64).alias("n_pairs"),
        pl.col("over_deep").mean(),
        pl.col("over_deep").std().alias("over_deep_sd"),
        pl.col("over_deep").count().cast(pl.Int64).alias("n_deep"),
    )
    for name, seeds in (
        ("accuracy", "n_seeds"),
        ("difference", "n_pairs"),
        ("over_deep", "n_deep"),
    ):
        half = half_width(means[f"{name}_sd"], means[seeds])
        means = means.with_columns(
            (pl.col(name) - half).alias(f"{name}_low"), (pl.col(name) + half).alias(f"{name}_high")
        )
    limits = [
        f"{name}{end}"
        for name in ("accuracy", "difference", "over_deep")
        for end in ("", "_low", "_high")
    ]
    return means.select(*TOLD, *limits, "n_seeds", "n_pairs", "n_deep")
