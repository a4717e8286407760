"""Questions about trajectories: which pictures there are, where examples lie, what to trust."""

import duckdb
import polars as pl

from store.queries.frames import frame


def trajectory_pictures(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """List the pictures of runs: one row a run, set, cut and method, the comparator left out."""
    return frame(
        connection,
        """
        SELECT DISTINCT q.run_id, q.eval_id, q.split, e.dataset, e.corruption, e.severity,
               e.class_names, e.classes, q.cut, q.depth, q.norm, q.method, q.n, q.k, q.parameters,
               q.versions
        FROM trajectory_quality AS q JOIN evaluations AS e USING (eval_id)
        WHERE q.run_id IN (SELECT unnest(?))
        ORDER BY q.run_id, q.split DESC, e.corruption <> 'none', q.eval_id, q.depth, q.method
        """,
        [run_ids],
    )


def trajectories(
    connection: duckdb.DuckDBPyConnection, run_id: str, eval_id: str, cut: str, method: str
) -> pl.DataFrame:
    """Where each followed example lies at each checkpoint, and how its features moved."""
    return frame(
        connection,
        """
        SELECT t.step, c.epoch, dense_rank() OVER (ORDER BY t.step) - 1 AS frame, t.example,
               t.label, coalesce(e.class_names[t.label + 1], t.label::VARCHAR) AS class,
               t.predicted_label,
               coalesce(e.class_names[t.predicted_label + 1], t.predicted_label::VARCHAR)
                   AS predicted,
               t.x, t.y, t.displacement, t.speed, t.turning
        FROM trajectories AS t
        JOIN evaluations AS e USING (eval_id)
        JOIN checkpoints AS c USING (run_id, step)
        WHERE t.run_id = ? AND t.eval_id = ? AND t.cut = ? AND t.method = ?
        ORDER BY t.step, t.example
        """,
        [run_id, eval_id, cut, method],
    )


def trajectory_contours(
    connection: duckdb.DuckDBPyConnection, run_id: str, eval_id: str, cut: str, method: str
) -> pl.DataFrame:
    """Draw half of each class' density at each checkpoint as closed lines, a row a corner."""
    return frame(
        connection,
        """
        SELECT t.step, t.label, coalesce(e.class_names[t.label + 1], t.label::VARCHAR) AS class,
               t.mass, t.path, unnest(range(len(t.x))) AS corner, unnest(t.x) AS x, unnest(t.y) AS y
        FROM trajectory_contours AS t
        JOIN evaluations AS e USING (eval_id)
        WHERE t.run_id = ? AND t.eval_id = ? AND t.cut = ? AND t.method = ?
        ORDER BY t.step, t.label, t.path, corner
        """,
        [run_id, eval_id, cut, method],
    )


def trajectory_images(connection: duckdb.DuckDBPyConnection, eval_id: str) -> pl.DataFrame:
    """Return the followed images of a set: the bytes of a PNG each."""
    return frame(
        connection,
        "SELECT example, png FROM trajectory_images WHERE eval_id = ? ORDER BY example",
        [eval_id],
    )


def trajectory_quality(
    connection: duckdb.DuckDBPyConnection, run_id: str, eval_id: str, cut: str, method: str
) -> pl.DataFrame:
    """Quality of a picture at each checkpoint, and how all followed examples moved."""
    return frame(
        connection,
        """
        SELECT q.step, c.epoch, q.n, q.k, q.trustworthiness, q.continuity, q.neighbour_overlap,
               q.chance, q.pca_trustworthiness, q.pca_continuity, q.pca_neighbour_overlap,
               q.spearman, q.displacement, q.speed, q.turning_cosine
        FROM trajectory_quality AS q JOIN checkpoints AS c USING (run_id, step)
        WHERE q.run_id = ? AND q.eval_id = ? AND q.cut = ? AND q.method = ?
        ORDER BY q.step
        """,
        [run_id, eval_id, cut, method],
    )
