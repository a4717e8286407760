"""Questions about cubes, cell by cell: splices, displacement, the path between two networks."""

import duckdb
import polars as pl

from store.queries.frames import frame


def splice_choices(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Which cubes there are for runs, one row each: set, norm, cut, control, corruption."""
    # A unit of work is one cut of one cube: to take a row of each beats DISTINCT over all cells.
    return frame(
        connection,
        """
        WITH cubes AS (
            SELECT any_value(COLUMNS(* EXCLUDE unit_id)) FROM (
                SELECT unit_id, run_id, shallow_run_id, eval_id, split, norm, cut, depth, control,
                       corruption, severity
                FROM base.splices WHERE run_id IN (SELECT unnest(?))
            ) GROUP BY unit_id
        )
        SELECT DISTINCT s.split, s.norm, s.cut, s.depth, e.classes, s.control, s.corruption,
               s.severity, s.eval_id, e.dataset
        FROM cubes AS s JOIN evaluations AS e USING (eval_id)
        WHERE s.run_id IN (FROM base.wanted_runs) AND s.shallow_run_id IN (FROM base.wanted_runs)
        ORDER BY s.split DESC, s.norm, s.depth, s.control <> 'none', s.control,
                 s.corruption <> 'none', s.corruption, s.severity, s.eval_id
        """,
        [run_ids],
    )


def evaluation_sets(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Which sets the own cubes of runs were scored on: a row for each run and set.

    Arms of different labels have sets of their own (``eval_id``) of the same images: these are
    alike in all columns but the first two. ``subset`` is the seed that drew the images.
    """
    return frame(
        connection,
        """
        WITH cubes AS (
            SELECT any_value(run_id) AS run_id, any_value(eval_id) AS eval_id
            FROM base.splices
            WHERE run_id IN (SELECT unnest(?)) AND control = 'none'
            GROUP BY unit_id
        )
        SELECT DISTINCT run_id, eval_id, e.split, e.dataset, e.n, e.classes, e.labels,
               e.corruption, e.severity, coalesce(e.config ->> 'subset_seed', '0') AS subset
        FROM cubes JOIN evaluations AS e USING (eval_id)
        WHERE run_id IN (FROM base.wanted_runs)
        ORDER BY e.split DESC, e.corruption <> 'none', e.corruption, e.severity, e.n DESC,
                 e.dataset, e.labels, subset, run_id, eval_id
        """,
        [run_ids],
    )


def splice_cells(
    connection: duckdb.DuckDBPyConnection,
    run_ids: list[str],
    split: str,
    norm: str,
    control: str = "none",
    corruption: str = "none",
    severity: int = 0,
) -> pl.DataFrame:
    """Every cell of the cubes of runs on a split, with the epochs of both steps.

    By default the runs' own clean cubes. One cell has several rows where the store holds it for
    several sets of the split, number formats, batch sizes or target half-widths, or for several
    shallow runs or draws of a control: the last columns tell them apart.
    """
    return frame(
        connection,
        """
        SELECT s.run_id, s.cut, s.depth, s.shallow_step, s.deep_step,
               a.epoch AS shallow_epoch, b.epoch AS deep_epoch, s.n, s.correct, s.accuracy,
               s.accuracy_low, s.accuracy_high, s.loss, s.margin, s.agreement, s.chance,
               s.retention, s.half_width, s.eval_id, s.shallow_run_id, s.replicate, s.dtype,
               s.batch_size, s.target_half_width
        FROM splices AS s
        JOIN checkpoints AS a ON a.run_id = s.shallow_run_id AND a.step = s.shallow_step
        JOIN checkpoints AS b ON b.run_id = s.run_id AND b.step = s.deep_step
        WHERE s.run_id IN (SELECT unnest(?)) AND s.split = ? AND s.norm = ?
          AND s.control = ? AND s.corruption = ? AND s.severity = ?
        ORDER BY s.run_id, s.depth, s.shallow_step, s.deep_step, s.eval_id, s.shallow_run_id,
                 s.replicate, s.dtype, s.batch_size, s.target_half_width
        """,
        [run_ids, split, norm, control, corruption, severity],
    )


def lag_profile(
    connection: duckdb.DuckDBPyConnection, run_id: str, eval_id: str, cut: str, norm: str
) -> pl.DataFrame:
    """Every metric of a run's cells by deep step t and lag t - s; negative lags are backward.

    One line for each deep step: pooled over them the profile shows Simpson's paradox.
    """
    return frame(
        connection,
        """
        SELECT s.deep_step, b.epoch AS deep_epoch, s.shallow_step,
               s.deep_step - s.shallow_step AS lag, b.epoch - a.epoch AS lag_epochs, s.n,
               s.accuracy, s.accuracy_low, s.accuracy_high, s.loss, s.margin, s.agreement,
               s.retention, s.dtype, s.batch_size, s.target_half_width
        FROM splices AS s
        JOIN checkpoints AS a ON a.run_id = s.run_id AND a.step = s.shallow_step
        JOIN checkpoints AS b ON b.run_id = s.run_id AND b.step = s.deep_step
        WHERE s.run_id = ? AND s.eval_id = ? AND s.cut = ? AND s.norm = ? AND s.control = 'none'
        ORDER BY s.deep_step, lag, s.dtype, s.batch_size, s.target_half_width
        """,
        [run_id, eval_id, cut, norm],
    )


def asymmetry(
    connection: duckdb.DuckDBPyConnection, run_id: str, eval_id: str, cut: str, norm: str
) -> pl.DataFrame:
    """M(s, t) - M(t, s) for every pair s < t of a run: forward minus backward retention.

    NULL where one of the two retentions is.
    """
    return frame(
        connection,
        """
        WITH cells AS (
            FROM splices
            WHERE run_id = ? AND eval_id = ? AND cut = ? AND norm = ? AND control = 'none'
        )
        SELECT f.shallow_step, f.deep_step, f.retention AS forward, b.retention AS backward,
               f.retention - b.retention AS asymmetry, f.dtype, f.batch_size, f.target_half_width
        FROM cells AS f
        JOIN cells AS b ON b.shallow_step = f.deep_step AND b.deep_step = f.shallow_step
          AND b.dtype = f.dtype AND b.batch_size = f.batch_size
          AND b.target_half_width = f.target_half_width
        WHERE f.shallow_step < f.deep_step
        ORDER BY f.shallow_step, f.deep_step, f.dtype, f.batch_size, f.target_half_width
        """,
        [run_id, eval_id, cut, norm],
    )


def matched_points(
    connection: duckdb.DuckDBPyConnection,
    run_ids: list[str],
    split: str,
    cut: str,
    norm: str,
    corruption: str = "none",
    severity: int = 0,
) -> pl.DataFrame:
    """Each earlier shallow part of runs under the final deep part t, by default on clean sets.

    Beside retention stand what arms are matched by: ``own_accuracy`` A(s, s), under the same
    normalisation, and ``displacement`` of the features between s and t (NULL where it was not
    computed; that of ``inherit`` where statistics are estimated anew).
    """
    return frame(
        connection,
        """
        WITH cells AS (
            FROM splices
            WHERE run_id IN (SELECT unnest($run_ids)) AND split = $split AND cut = $cut
              AND norm = $norm AND control = 'none' AND corruption = $corruption
              AND severity = $severity
        ),
        moved AS (
            FROM displacement
            WHERE run_id IN (SELECT unnest($run_ids)) AND split = $split AND cut = $cut
        ),
        final AS (
            FROM cells QUALIFY deep_step = max(deep_step) OVER (PARTITION BY run_id, eval_id)
        )
        SELECT f.run_id, f.cut, f.depth, f.shallow_step, f.deep_step, a.epoch AS shallow_epoch,
               f.n, f.accuracy, f.accuracy_low, f.accuracy_high, f.agreement, f.retention,
               own.accuracy AS own_accuracy, d.displacement, d.one_minus_cka, f.eval_id, f.dtype,
               f.batch_size, f.target_half_width
        FROM final AS f
        JOIN cells AS own ON own.run_id = f.run_id AND own.eval_id = f.eval_id
          AND own.shallow_step = f.shallow_step AND own.deep_step = f.shallow_step
          AND own.dtype = f.dtype AND own.batch_size = f.batch_size
          AND own.target_half_width = f.target_half_width
        JOIN checkpoints AS a ON a.run_id = f.run_id AND a.step = f.shallow_step
        LEFT JOIN moved AS d ON d.run_id = f.run_id AND d.eval_id = f.eval_id
          AND d.shallow_step = f.shallow_step AND d.deep_step = f.deep_step
          AND d.norm = CASE f.norm WHEN 'none' THEN 'none' ELSE 'inherit' END
        WHERE f.shallow_step < f.deep_step
        ORDER BY f.run_id, f.shallow_step, f.eval_id, f.dtype, f.batch_size, f.target_half_width
        """,
        {
            "run_ids": run_ids,
            "split": split,
            "cut": cut,
            "norm": norm,
            "corruption": corruption,
            "severity": severity,
        },
    )


def displacement_cells(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], split: str
) -> pl.DataFrame:
    """How far the features of runs moved between every two steps, with the epochs of both."""
    return frame(
        connection,
        """
        SELECT d.run_id, d.cut, d.depth, d.shallow_step, d.deep_step, a.epoch AS shallow_epoch,
               b.epoch AS deep_epoch, d.norm, d.n, d.displacement, d.one_minus_cka, d.eval_id,
               e.corruption, e.severity
        FROM displacement AS d
        JOIN evaluations AS e USING (eval_id)
        JOIN checkpoints AS a ON a.run_id = d.run_id AND a.step = d.shallow_step
        JOIN checkpoints AS b ON b.run_id = d.run_id AND b.step = d.deep_step
        WHERE d.run_id IN (SELECT unnest(?)) AND d.split = ?
        ORDER BY d.run_id, d.depth, d.shallow_step, d.deep_step, d.eval_id, d.norm
        """,
        [run_ids, split],
    )


def connectivity(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """List the points between theta_t (alpha 0) and theta_s (alpha 1), with their path's barriers.

    ``barrier`` is the largest height of the loss above the straight line between the losses of the
    ends (Frankle et al. 2020, arXiv 1912.05671), ``accuracy_barrier`` the largest depth of the
    accuracy below its line: 0 or more, the same on every point of a path. NULL without both ends.
    """
    return frame(
        connection,
        """
        WITH ends AS (
            SELECT *,
                   any_value(loss) FILTER (alpha = 0) OVER path AS loss_t,
                   any_value(loss) FILTER (alpha = 1) OVER path AS loss_s,
                   any_value(accuracy) FILTER (alpha = 0) OVER path AS accuracy_t,
                   any_value(accuracy) FILTER (alpha = 1) OVER path AS accuracy_s
            FROM connectivity
            WHERE run_id IN (SELECT unnest(?))
            WINDOW path AS (
                PARTITION BY run_id, eval_id, path, cut, norm, shallow_step, deep_step
            )
        )
        SELECT * EXCLUDE (loss_t, loss_s, accuracy_t, accuracy_s),
               max(loss - (alpha * loss_s + (1 - alpha) * loss_t)) OVER path AS barrier,
               max(alpha * accuracy_s + (1 - alpha) * accuracy_t - accuracy) OVER path
                   AS accuracy_barrier
        FROM ends
        WINDOW path AS (PARTITION BY run_id, eval_id, path, cut, norm, shallow_step, deep_step)
        ORDER BY run_id, path, depth, shallow_step, deep_step, eval_id, norm, alpha
        """,
        [run_ids],
    )
