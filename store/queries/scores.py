"""Questions about whole cubes: scores, their excess over controls, horizons, comparators."""

import duckdb
import polars as pl

from store.queries.frames import frame
from store.queries.over_seeds import half_width


def consistency_scores(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], split: str
) -> pl.DataFrame:
    """Scores of the runs' own cubes; intervals: 95 %, bootstrap over examples, this training."""
    return frame(
        connection,
        """
        SELECT c.run_id, c.cut, c.depth, c.norm, c.dtype, c.measure, c.weighting, c.pairs, c.score,
               c.score_low, c.score_high, c.n, c.checkpoints, c.resamples, c.eval_id,
               e.corruption, e.severity
        FROM consistency AS c JOIN evaluations AS e USING (eval_id)
        WHERE c.run_id IN (SELECT unnest(?)) AND c.split = ? AND c.control = 'none'
        ORDER BY c.run_id, c.depth, c.norm, c.measure, c.weighting, c.pairs, c.eval_id, c.dtype
        """,
        [run_ids, split],
    )


def excesses(connection: duckdb.DuckDBPyConnection, run_ids: list[str], split: str) -> pl.DataFrame:
    """Scores of the controls, and by how much the run's own exceeds each over the same pairs."""
    return frame(
        connection,
        """
        SELECT c.run_id, c.cut, c.depth, c.norm, c.dtype, c.control, c.replicate, c.measure,
               c.weighting, c.pairs, c.score, c.score_low, c.score_high, c.excess, c.excess_low,
               c.excess_high, c.n, c.checkpoints, c.resamples, c.eval_id, e.corruption, e.severity
        FROM consistency AS c JOIN evaluations AS e USING (eval_id)
        WHERE c.run_id IN (SELECT unnest(?)) AND c.split = ? AND c.control <> 'none'
        ORDER BY c.run_id, c.depth, c.control, c.replicate, c.norm, c.measure, c.weighting, c.pairs,
                 c.eval_id, c.dtype
        """,
        [run_ids, split],
    )


def scores_over_seeds(
    connection: duckdb.DuckDBPyConnection,
    study: str,
    eval_ids: list[str],
    cut: str,
    norm: str,
    pairs: str = "all",
    weighting: str = "learning_rate",
    measure: str = "accuracy",
) -> pl.DataFrame:
    """Mean score of each arm of a study over its seeds, on one evaluation set.

    ``eval_ids``: of that set; where an arm's seeds have sets of their own (other labels), of all.
    ``score_low`` and ``score_high``: 95 %, Student's t over seeds (run-to-run, the examples held
    fixed); NULL for one seed. Data sets, sizes of the set and number formats are kept apart.
    """
    of_runs = frame(
        connection,
        """
        SELECT s.arm, e.dataset, c.n, c.dtype, c.run_id, min(s.position) AS position,
               avg(c.score) AS score
        FROM study_runs AS s
        JOIN consistency AS c USING (run_id)
        JOIN evaluations AS e USING (eval_id)
        WHERE s.study = ? AND s.role = 'arm' AND c.eval_id IN (SELECT unnest(?)) AND c.cut = ?
          AND c.norm = ? AND c.pairs = ? AND c.weighting = ? AND c.measure = ?
          AND c.control = 'none' AND c.score IS NOT NULL
        GROUP BY s.arm, e.dataset, c.n, c.dtype, c.run_id
        """,
        [study, eval_ids, cut, norm, pairs, weighting, measure],
    )
    keys = ["arm", "dataset", "n", "dtype"]
    over_seeds = of_runs.group_by(keys).agg(
        pl.col("position").min(),
        pl.col("score").mean(),
        pl.col("score").std().alias("sd"),
        pl.len().cast(pl.Int64).alias("n_seeds"),
    )
    half = half_width(over_seeds["sd"], over_seeds["n_seeds"])
    return (
        over_seeds.with_columns(
            (pl.col("score") - half).alias("score_low"),
            (pl.col("score") + half).alias("score_high"),
        )
        .sort("position", "dataset", "n", "dtype")
        .select(*keys, "score", "score_low", "score_high", "n_seeds")
    )


def horizons(connection: duckdb.DuckDBPyConnection, run_ids: list[str], split: str) -> pl.DataFrame:
    """Memory horizons of runs by deep step: how many updates back a shallow part still serves."""
    return frame(
        connection,
        """
        SELECT h.run_id, h.cut, h.depth, h.norm, h.dtype, h.deep_step, b.epoch AS deep_epoch, h.eps,
               h.horizon, h.censored, h.n, h.eval_id, e.corruption, e.severity
        FROM horizons AS h
        JOIN evaluations AS e USING (eval_id)
        JOIN checkpoints AS b ON b.run_id = h.run_id AND b.step = h.deep_step
        WHERE h.run_id IN (SELECT unnest(?)) AND h.split = ?
        ORDER BY h.run_id, h.depth, h.norm, h.eps, h.deep_step, h.eval_id, h.dtype
        """,
        [run_ids, split],
    )


def comparators(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """List what splices are compared with: mean of weights, mean of probabilities, last network.

    With the columns that say which images a set holds, as in ``evaluation_sets``, in its order.
    """
    return frame(
        connection,
        """
        SELECT c.*, e.dataset, e.classes, e.labels, e.corruption, e.severity,
               coalesce(e.config ->> 'subset_seed', '0') AS subset
        FROM comparators AS c JOIN evaluations AS e USING (eval_id)
        WHERE c.run_id IN (SELECT unnest(?))
        ORDER BY c.split DESC, e.corruption <> 'none', e.corruption, e.severity, c.n DESC,
                 e.dataset, e.labels, subset, c.run_id, c.eval_id, c.comparator
        """,
        [run_ids],
    )
