"""What replay and SWA do to the final accuracy, on clean and on corrupted images."""

import duckdb
import polars as pl

from store.queries.frames import frame
from store.queries.over_seeds import half_width

TOLD = ["arm", "depth", "share", "window", "source", "from_step", "passes", "without_gradient"]
ASKED = TOLD[:-2]
RUNS = """
    SELECT
        md5(json_merge_patch(r.config, '{"seeds": null, "replay": null}')::VARCHAR) AS setting,
        s.arm, s.position, s.run_id,
        r.config ->> '$.seeds' AS seeds,
        r.config ->> '$.replay' AS replayed,
        (r.config ->> '$.replay.depth')::INTEGER AS depth,
        (r.config ->> '$.replay.share')::DOUBLE AS share,
        (r.config ->> '$.replay.window')::INTEGER AS "window",
        CASE WHEN r.replay THEN coalesce(r.config ->> '$.replay.source', 'stored') ELSE 'none' END
            AS source,
        (r.config ->> '$.replay.from_step')::BIGINT AS from_step,
        (r.config ->> '$.recipe.batch_size')::BIGINT AS batch_size,
        (r.config ->> '$.swa_from')::DOUBLE AS swa_from
    FROM study_runs AS s JOIN runs AS r USING (run_id)
    WHERE s.study = ? AND s.role = 'arm' AND r.parent_step IS NULL AND r.frozen_depth IS NULL
"""


def replay(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """Give final test accuracies of a study's arms that replay, and of SWA, paired by seed.

    A row a condition (an arm that doesn't freeze: all its seeds), ``network`` (``last``, or
    ``swa``: the mean of its late checkpoints), ``images`` and ``against``. ``images``: ``clean``,
    or ``corrupted``: mean over kinds of the mean over severities, at the last step; that of ``swa``
    is of ``comparators`` over the checkpoints of ``swa_from``. ``against``: ``plain``, the last
    network of the run of the same setting and seeds without replay; ``control``, the run that
    replays as much of its current features (``source`` = ``current``). ``difference`` is the mean
    over ``n_pairs`` seeds of accuracy minus that, on the sets that both have; limits: 95 %,
    Student's t over seeds, the examples held fixed, NULL for one. ``passes``: images that went
    forward through the network in training, the same for each arm of a setting unless its steps
    or batch size differ; ``without_gradient``: those of them whose gradient did not reach the
    shallow part. Nothing where no arm replays and no training kept a mean.
    """
    runs = frame(connection, RUNS + " ORDER BY s.position", [study])
    scored = frame(
        connection,
        f"""
        WITH asked AS ({RUNS}),
        ends AS (SELECT run_id, max(step) AS last FROM checkpoints GROUP BY run_id),
        late AS (
            -- 0.55 * 100 is a little more than 55.
            SELECT a.run_id, min(c.step) AS first_step
            FROM asked AS a JOIN ends AS e USING (run_id) JOIN checkpoints AS c USING (run_id)
            WHERE c.step >= a.swa_from * e.last - 1e-6
            GROUP BY a.run_id
        )
        SELECT run_id, 'last' AS network, 'none' AS corruption, 'all' AS eval_id,
               max(step) AS step, arg_max(n, step) AS n, arg_max(accuracy, step) AS accuracy
        FROM metrics WHERE split = 'test' AND mode = 'eval' GROUP BY run_id
        UNION ALL
        SELECT run_id, 'swa', 'none', 'all', step, n, accuracy
        FROM metrics WHERE split = 'test' AND mode = 'swa'
        UNION ALL
        SELECT x.run_id, 'last', x.corruption, x.eval_id, x.step, x.n, x.accuracy
        FROM corruptions AS x JOIN ends AS e ON e.run_id = x.run_id AND e.last = x.step
        WHERE x.corruption <> 'none'
        UNION ALL
        SELECT c.run_id, 'swa', v.corruption, c.eval_id, c.last_step, c.n, c.accuracy
        FROM comparators AS c
        JOIN evaluations AS v USING (eval_id)
        JOIN late AS l ON l.run_id = c.run_id AND l.first_step = c.first_step
        WHERE c.comparator = 'swa' AND c.split = 'test' AND v.corruption <> 'none'
        """,
        [study],
    )
    found = runs.join(scored, on="run_id", maintain_order="left")
    tried = found.filter((pl.col("source") != "none") | (pl.col("network") == "swa"))
    found = found.join(tried.select("setting").unique(), on="setting", how="semi")
    of_runs = pl.concat([_against_plain(found), _against_control(found)])
    return _over_seeds(of_runs)


def _against_plain(found: pl.DataFrame) -> pl.DataFrame:
    """Put the plain run's last network beside each row; the plain run itself has none."""
    plain = found.filter(pl.col("source") == "none", pl.col("network") == "last")
    return _paired(found, plain, ["setting", "seeds"], "plain").with_columns(
        pl.when((pl.col("source") != "none") | (pl.col("network") != "last")).then("other")
    )


def _against_control(found: pl.DataFrame) -> pl.DataFrame:
    """Put the run that replays as much of its current features beside each that replays."""
    stored = found.filter(pl.col("source") == "stored")
    current = found.filter(pl.col("source") == "current")
    alike = ["setting", "seeds", "depth", "share", "from_step", "network"]
    paired = _paired(stored, current, alike, "control")
    return paired.filter(pl.col("other").is_not_null())


def _paired(
    found: pl.DataFrame, reference: pl.DataFrame, on: list[str], against: str
) -> pl.DataFrame:
    key = [*on, "eval_id"]
    others = reference.unique(key, keep="first", maintain_order=True).select(
        *key, pl.col("accuracy").alias("other")
    )
    return found.join(others, on=key, how="left", maintain_order="left").with_columns(
        pl.lit(against).alias("against")
    )


def _over_seeds(of_runs: pl.DataFrame) -> pl.DataFrame:
    """Mean over severities, then kinds, then seeds, with limits over these."""
    condition = ["setting", "replayed", "network", "images", "against"]
    kept = [pl.col(name).first() for name in (*ASKED, "batch_size", "step", "n", "position")]
    clean = pl.col("corruption") == "none"
    of_kinds = (
        of_runs.with_columns(
            pl.when(clean).then(pl.lit("clean")).otherwise(pl.lit("corrupted")).alias("images"),
            # NULL on a set that the other was not scored on: such sets are no part of the mean.
            (pl.col("accuracy") - pl.col("other")).alias("difference"),
        )
        .group_by(*condition, "run_id", "corruption", maintain_order=True)
        .agg(pl.col("accuracy", "difference").mean(), *kept)
    )
    each = of_kinds.group_by(*condition, "run_id", maintain_order=True).agg(
        pl.col("accuracy", "difference").mean(), pl.len().cast(pl.Int64).alias("kinds"), *kept
    )
    replayed = (pl.col("share") * pl.col("batch_size")).round()
    counted = each.with_columns(
        (pl.col("step") * pl.col("batch_size")).alias("passes"),
        (replayed * (pl.col("step") - pl.col("from_step")).clip(0))
        .fill_null(0)
        .cast(pl.Int64)
        .alias("without_gradient"),
    )
    means = (
        counted.group_by(condition, maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in (*TOLD, "n", "kinds")),
            pl.col("position").min(),
            pl.col("accuracy").mean(),
            pl.col("accuracy").std().alias("accuracy_sd"),
            pl.len().cast(pl.Int64).alias("n_seeds"),
            pl.col("difference").mean(),
            pl.col("difference").std().alias("difference_sd"),
            pl.col("difference").count().cast(pl.Int64).alias("n_pairs"),
        )
        .sort("position", "network", "images", pl.col("against") != "plain", maintain_order=True)
    )
    for name, seeds in (("accuracy", "n_seeds"), ("difference", "n_pairs")):
        half = half_width(means[f"{name}_sd"], means[seeds])
        means = means.with_columns(
            (pl.col(name) - half).alias(f"{name}_low"), (pl.col(name) + half).alias(f"{name}_high")
        )
    limits = [
        f"{name}{end}" for name in ("accuracy", "difference") for end in ("", "_low", "_high")
    ]
    return means.select(
        "setting",
        *TOLD,
        "network",
        "images",
        "kinds",
        "against",
        "n",
        *limits,
        "n_seeds",
        "n_pairs",
    )
