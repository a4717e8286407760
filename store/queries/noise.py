"""Questions about noise of SGD: spectra, tests beside the control, alignment with drift."""

import duckdb
import polars as pl

from store.queries.frames import frame


def _rows(
    connection: duckdb.DuckDBPyConnection, view: str, run_ids: list[str], cut: str | None = None
) -> pl.DataFrame:
    rank = ", r.rank" if view == "noise_spectra" else ""
    return frame(
        connection,
        f"""
        SELECT r.*, c.epoch, e.dataset
        FROM {view} AS r
        JOIN checkpoints AS c ON c.run_id = r.run_id AND c.step = r.step
        JOIN evaluations AS e USING (eval_id)
        WHERE r.run_id IN (SELECT unnest($run_ids)) AND ($cut IS NULL OR r.cut = $cut)
        ORDER BY list_position($run_ids, r.run_id), r.batch_size, r.step_rule, r.eval_id,
                 r.representation, r.depth, r.step, r.example, r.source <> 'sgd', r.source{rank}
        """,
        {"run_ids": run_ids, "cut": cut},
    )


def noise_spectra(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], cut: str
) -> pl.DataFrame:
    """Every eigenvalue of runs' noise at a cut, its band, the epoch of its checkpoint, its data."""
    return _rows(connection, "noise_spectra", run_ids, cut)


def noise_tests(connection: duckdb.DuckDBPyConnection, run_ids: list[str]) -> pl.DataFrame:
    """Effect sizes, tests and the difference to each control; noise of SGD before its controls."""
    return _rows(connection, "noise_tests", run_ids)


def noise_alignment(
    connection: duckdb.DuckDBPyConnection, run_ids: list[str], cut: str
) -> pl.DataFrame:
    """Alignment of noise and controls at a cut with the drift of each example, with baselines."""
    return _rows(connection, "noise_alignment", run_ids, cut)
