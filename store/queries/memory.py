"""Questions about memory: flips and shares by lag, gaps between laws, examples over runs."""

import duckdb
import polars as pl

from store.queries.frames import frame
from store.queries.over_seeds import half_width

# One reading of one cube: rows alike in these, of one run and cut, differ in their steps alone.
READING = ["norm", "dtype", "gamma", "eps", "loss_eps", "high"]
SAME_IMAGES = ["split", "dataset", "n", "labels", "corruption", "severity", "subset"]
# What is averaged over seeds, and its range: a symmetric interval may leave it.
MEASURES = {
    "share": (0, 1),
    "right_to_wrong": (0, 1),
    "wrong_to_right": (0, 1),
    "lost": (-1, 1),
    "gap": (-2, 2),
}
# Ranks of fewer runs say nothing: at three, one order in three has a correlation of 1 or -1.
FEWEST_RUNS = 4


def memory_choices(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Which memory there is for runs: a row each run, set, cut and reading."""
    return frame(
        connection,
        """
        SELECT DISTINCT run_id, eval_id, split, cut, depth, norm, dtype, gamma, eps, loss_eps, high
        FROM memory WHERE run_id IN (SELECT unnest(?)) AND shallow_step = deep_step
        ORDER BY run_id, eval_id, depth, norm, dtype, gamma, eps, loss_eps, high
        """,
        [run_ids],
    )


def memory_cells(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], cut: str
) -> pl.DataFrame:
    """Every cell of runs at a cut against the network of its deep part, by deep step and lag.

    ``lag``: deep minus shallow step, below 0 where the deep part reads features of its future;
    ``lag_epochs`` the same in epochs. Of one cell every set and reading has a row; ``subset`` is
    the seed that drew the images of the set.
    """
    return frame(
        connection,
        """
        SELECT m.*, a.epoch AS shallow_epoch, b.epoch AS deep_epoch,
               m.deep_step - m.shallow_step AS lag, b.epoch - a.epoch AS lag_epochs,
               e.dataset, e.labels, e.corruption, e.severity,
               coalesce(e.config ->> 'subset_seed', '0') AS subset
        FROM memory AS m
        JOIN evaluations AS e USING (eval_id)
        JOIN checkpoints AS a ON a.run_id = m.run_id AND a.step = m.shallow_step
        JOIN checkpoints AS b ON b.run_id = m.run_id AND b.step = m.deep_step
        WHERE m.run_id IN (SELECT unnest(?)) AND m.cut = ?
        ORDER BY m.run_id, m.eval_id, m.norm, m.dtype, m.gamma, m.eps, m.loss_eps, m.high,
                 m.deep_step, lag
        """,
        [run_ids, cut],
    )


def transfer_gaps(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], cut: str
) -> pl.DataFrame:
    """List what each shallow part costs on the training set beyond what it costs on another law.

    A row a law Q, pair of steps, ``norm`` and ``dtype``: ``lost`` is A(t,t) - A(s,t) on Q,
    ``train_lost`` the same on the training set P, ``gap`` the second minus the first. Intervals:
    95 %, over examples.
    """
    return frame(
        connection,
        """
        SELECT m.run_id, m.eval_id, e.dataset, m.split, e.corruption, e.severity, m.cut, m.depth,
               m.norm, m.dtype, m.shallow_step, m.deep_step, a.epoch AS shallow_epoch,
               b.epoch AS deep_epoch, b.epoch - a.epoch AS lag_epochs, m.n, p.n AS train_n,
               m.lost, m.gap + m.lost AS train_lost, m.gap, m.gap_low, m.gap_high, m.train_eval_id
        FROM memory AS m
        JOIN evaluations AS e ON e.eval_id = m.eval_id
        JOIN evaluations AS p ON p.eval_id = m.train_eval_id
        JOIN checkpoints AS a ON a.run_id = m.run_id AND a.step = m.shallow_step
        JOIN checkpoints AS b ON b.run_id = m.run_id AND b.step = m.deep_step
        WHERE m.run_id IN (SELECT unnest(?)) AND m.cut = ? AND m.gap IS NOT NULL
        -- Margins and tolerances don't enter: of several readings one is shown.
        QUALIFY row_number() OVER (
            PARTITION BY m.run_id, m.eval_id, m.norm, m.dtype, m.shallow_step, m.deep_step
            ORDER BY m.gamma, m.eps, m.loss_eps, m.high
        ) = 1
        ORDER BY m.run_id, m.norm, m.dtype, m.deep_step, lag_epochs, m.split, e.corruption,
                 e.severity, m.eval_id
        """,
        [run_ids, cut],
    )


def memory_over_seeds(connection: duckdb.DuckDBPyConnection, study: str, cut: str) -> pl.DataFrame:
    """Mean of each arm of a study over its seeds, cell by cell, set by set, at a cut.

    Of ``share``, ``lost``, ``gap``, and the flips ``right_to_wrong`` and ``wrong_to_right`` as
    shares of the examples; each with ``_low`` and ``_high``: 95 %, Student's t over seeds, the
    examples held fixed, cut to the range of the measure. NULL for one seed. ``n_seeds`` counts the
    runs.
    """
    of_runs = frame(
        connection,
        """
        SELECT s.arm, s.position, e.split, e.dataset, e.n, e.labels, e.corruption, e.severity,
               coalesce(e.config ->> 'subset_seed', '0') AS subset,
               m.norm, m.dtype, m.gamma, m.eps, m.loss_eps, m.high, m.shallow_step, m.deep_step,
               a.epoch AS shallow_epoch, b.epoch AS deep_epoch, m.share,
               m.right_to_wrong / m.n AS right_to_wrong, m.wrong_to_right / m.n AS wrong_to_right,
               m.lost, m.gap
        FROM study_runs AS s
        JOIN memory AS m USING (run_id)
        JOIN evaluations AS e USING (eval_id)
        JOIN checkpoints AS a ON a.run_id = m.run_id AND a.step = m.shallow_step
        JOIN checkpoints AS b ON b.run_id = m.run_id AND b.step = m.deep_step
        WHERE s.study = ? AND s.role = 'arm' AND m.cut = ?
        """,
        [study, cut],
    )
    keys = ["arm", *SAME_IMAGES, *READING, "shallow_step", "deep_step"]
    means = of_runs.group_by(keys).agg(
        pl.col("position", "shallow_epoch", "deep_epoch").min(),
        pl.len().cast(pl.Int64).alias("n_seeds"),
        *(pl.col(name).mean() for name in MEASURES),
        *(pl.col(name).std().alias(f"{name}_sd") for name in MEASURES),
        *(pl.col(name).count().cast(pl.Int64).alias(f"{name}_seeds") for name in MEASURES),
    )
    for name, span in MEASURES.items():
        half = half_width(means[f"{name}_sd"], means[f"{name}_seeds"])
        means = means.with_columns(
            (pl.col(name) - half).clip(*span).alias(f"{name}_low"),
            (pl.col(name) + half).clip(*span).alias(f"{name}_high"),
        )
    limits = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    return means.sort("position", *keys).select(
        *keys, "shallow_epoch", "deep_epoch", *limits, "n_seeds"
    )


def example_memory(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """How well runs keep an example on average over forward pairs, at each cut, on each set.

    Without the list of the examples, which the view ``memory_examples`` has.
    """
    return frame(
        connection,
        """
        SELECT m.* EXCLUDE (of_examples), e.dataset, e.labels, e.corruption, e.severity
        FROM memory_examples AS m JOIN evaluations AS e USING (eval_id)
        WHERE m.run_id IN (SELECT unnest(?))
        ORDER BY m.run_id, m.depth, m.norm, m.dtype, m.gamma, m.split, m.eval_id
        """,
        [run_ids],
    )


def induction_points(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """Put memory on the training set beside test behaviour: a row a run of a study and reading.

    ``train_memory``: mean memory of an example of the largest training set; ``test_memory``: that
    of the largest clean test set of the same data; ``test_accuracy``: A(T,T) there, T the last
    step. Runs without one of the first two have no row.
    """
    return frame(
        connection,
        """
        WITH of_sets AS (
            SELECT m.*, e.dataset, e.labels, e.corruption
            FROM memory_examples AS m JOIN evaluations AS e USING (eval_id)
            WHERE m.memory IS NOT NULL
        ),
        train AS (
            FROM of_sets WHERE labels = 'trained_on'
            QUALIFY row_number() OVER (
                PARTITION BY run_id, cut, norm, dtype, gamma ORDER BY n DESC, eval_id
            ) = 1
        ),
        test AS (
            FROM of_sets WHERE labels = 'true' AND split = 'test' AND corruption = 'none'
            QUALIFY row_number() OVER (
                PARTITION BY run_id, cut, norm, dtype, gamma, dataset ORDER BY n DESC, eval_id
            ) = 1
        ),
        final AS (
            SELECT run_id, eval_id, cut, norm, dtype,
                   arg_max(own_accuracy, deep_step) AS test_accuracy
            FROM memory WHERE shallow_step = deep_step GROUP BY ALL
        )
        SELECT s.arm, s.name, a.run_id, a.cut, a.depth, a.norm, a.dtype, a.gamma,
               a.memory AS train_memory, a.memory_low AS train_memory_low,
               a.memory_high AS train_memory_high, a.n AS train_n, b.memory AS test_memory,
               b.memory_low AS test_memory_low, b.memory_high AS test_memory_high,
               f.test_accuracy, b.n AS test_n
        FROM study_runs AS s
        JOIN train AS a USING (run_id)
        JOIN test AS b USING (run_id, cut, norm, dtype, gamma, dataset)
        JOIN final AS f ON f.run_id = a.run_id AND f.eval_id = b.eval_id AND f.cut = a.cut
          AND f.norm = a.norm AND f.dtype = a.dtype
        WHERE s.study = ? AND s.role = 'arm'
        ORDER BY a.depth, a.norm, a.dtype, a.gamma, s.position
        """,
        [study],
    )


def induction(connection: duckdb.DuckDBPyConnection, study: str) -> pl.DataFrame:
    """Say whether memory on the training set goes with test behaviour over the runs of a study.

    Spearman's rank correlation of ``train_memory`` with ``test_accuracy`` and ``test_memory`` of
    ``induction_points``; NULL for fewer than 4 ``runs``, or where one side is constant. Runs of
    several ``arms`` differ in more than chance, so that no p-value belongs to it.
    """
    points = induction_points(connection, study)
    of_training = pl.col("train_memory")
    told = pl.col("runs") >= FEWEST_RUNS
    return (
        points.group_by(["cut", "depth", "norm", "dtype", "gamma"], maintain_order=True)
        .agg(
            pl.corr(of_training, pl.col("test_accuracy"), method="spearman")
            .fill_nan(None)
            .alias("with_accuracy"),
            pl.corr(of_training, pl.col("test_memory"), method="spearman")
            .fill_nan(None)
            .alias("with_memory"),
            pl.len().cast(pl.Int64).alias("runs"),
            pl.col("arm").n_unique().cast(pl.Int64).alias("arms"),
        )
        .with_columns(
            pl.when(told).then(pl.col(name)).alias(name)
            for name in ("with_accuracy", "with_memory")
        )
    )
