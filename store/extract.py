"""A part of a store as a database of its own: the studies asked for, and what they need."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from store.connection import reading_file, writing_file
from store.home import StoreError

# Bytes. Many columns of few rows leave DuckDB's usual blocks half empty: the gallery, of 20 MB, is
# 13 % smaller in these, and larger again in those of half their size.
SMALL_BLOCKS, USUAL_BLOCKS = 65_536, 262_144
SMALL_DATABASE = 100e6
# Rows of these are chosen by study, run or set; those of the others by the unit they belong to.
OWN_RULES = ("units", "study_runs", "failures", "evaluations", "schema_migrations")


@dataclass(frozen=True)
class Extracted:
    """What was taken: ``studies``, ``run_ids`` and ``eval_ids`` in alphabetical order.

    ``whole_run_ids``: the runs of which more than bare results are taken. ``arm_run_ids``: those
    that are no mere control of another.
    """

    studies: tuple[str, ...]
    run_ids: tuple[str, ...]
    whole_run_ids: tuple[str, ...]
    arm_run_ids: tuple[str, ...]
    eval_ids: tuple[str, ...]


def extract(
    source: Path, target: Path, studies: Sequence[str], bare: Sequence[str] = ()
) -> Extracted:
    """Write the rows of the named studies, or of all where none is named, to a new database.

    Runs of ``bare`` studies alone leave their predictions for each example behind. A splice comes
    along only where both of its runs do. Raises StoreError for a study that the store doesn't have;
    StoreMissingError and StoreError as ``reading_file`` does.
    """
    with reading_file(source) as connection:
        rows = connection.execute("SELECT DISTINCT study FROM study_runs ORDER BY study").fetchall()
    known = [study for (study,) in rows]
    for option, study in [("--study", each) for each in studies] + [
        ("--bare", each) for each in bare
    ]:
        if study not in known:
            raise StoreError(
                f"{option}: expected one of {', '.join(known) or 'no study at all'}, got {study!r}"
            )
    wanted = sorted({*(studies or known), *bare})
    with writing_file(target) as connection:
        quoted = str(source).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS source (READ_ONLY)")
        connection.execute("BEGIN")
        _copy(connection, wanted)
        _strip(connection, [study for study in wanted if study not in bare])
        connection.execute("COMMIT")
        connection.execute("DETACH source")
        runs = connection.execute(
            "SELECT run_id, bool_or(study NOT IN (SELECT unnest(?))), bool_or(role = 'arm') "
            "FROM base.study_runs GROUP BY run_id ORDER BY run_id",
            [list(bare)],
        ).fetchall()
        sets = connection.execute(
            "SELECT eval_id FROM base.evaluations ORDER BY eval_id"
        ).fetchall()
    return Extracted(
        tuple(wanted),
        tuple(run for run, _, _ in runs),
        tuple(run for run, whole, _ in runs if whole),
        tuple(run for run, _, arm in runs if arm),
        tuple(one for (one,) in sets),
    )


def _copy(connection: duckdb.DuckDBPyConnection, studies: list[str]) -> None:
    connection.execute(
        "INSERT INTO base.study_runs BY NAME "
        "FROM source.base.study_runs WHERE study IN (SELECT unnest(?))",
        [studies],
    )
    chosen = "IN (SELECT run_id FROM base.study_runs)"
    for table in ("units", "failures"):
        connection.execute(
            f"INSERT INTO base.{table} BY NAME FROM source.base.{table} WHERE run_id {chosen}"
        )
    # It names folders of the machine that it happened on.
    connection.execute("UPDATE base.failures SET traceback = NULL")
    columns = _columns(connection)
    for table, names in columns.items():
        if table in OWN_RULES:
            continue
        # Records of checkpoints bear their run's id; every other row that of a unit.
        both_runs = f" AND shallow_run_id {chosen}" if "shallow_run_id" in names else ""
        connection.execute(
            f"INSERT INTO base.{table} BY NAME FROM source.base.{table} "
            f"WHERE unit_id IN (SELECT unit_id FROM base.units){both_runs}"
        )
    used = " UNION ".join(
        f"SELECT {name} FROM base.{table}"
        for table, names in columns.items()
        if table != "evaluations"
        for name in ("eval_id", "other_eval_id")
        if name in names
    )
    connection.execute(
        "INSERT INTO base.evaluations BY NAME "
        f"FROM source.base.evaluations WHERE eval_id IN ({used})"
    )
    connection.execute(
        "INSERT INTO base.units BY NAME FROM source.base.units "
        "WHERE kind = 'evaluations' AND unit_id IN (SELECT unit_id FROM base.evaluations)"
    )


def _strip(connection: duckdb.DuckDBPyConnection, whole: list[str]) -> None:
    """Forget the predictions of runs that none of the ``whole`` studies has."""
    kept = "SELECT run_id FROM base.study_runs WHERE study IN (SELECT unnest(?))"
    connection.execute(
        "DELETE FROM base.companions WHERE kind = 'predictions' AND unit_id IN "
        f"(SELECT unit_id FROM base.predictions WHERE run_id NOT IN ({kept}))",
        [whole],
    )
    connection.execute(f"DELETE FROM base.predictions WHERE run_id NOT IN ({kept})", [whole])


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Names of the columns of every table in schema base of the database itself."""
    rows = connection.execute(
        "SELECT t.table_name, list(c.column_name) FROM duckdb_tables() AS t "
        "JOIN duckdb_columns() AS c USING (table_oid, database_name) "
        "WHERE t.schema_name = 'base' AND t.database_name = current_database() "
        "GROUP BY t.table_name ORDER BY t.table_name"
    ).fetchall()
    return dict(rows)


def rewrite(target: Path, config: Callable[[str], str], study: Callable[[str], str]) -> None:
    """Put every configuration and study text of a database through a function of text."""
    with writing_file(target) as connection:
        for table, column, change in (
            ("study_runs", "config", config),
            ("study_runs", "study_toml", study),
            ("evaluations", "config", config),
        ):
            texts = connection.execute(f"SELECT DISTINCT {column} FROM base.{table}").fetchall()
            for (text,) in texts:
                if text is not None and change(text) != text:
                    connection.execute(
                        f"UPDATE base.{table} SET {column} = ? WHERE {column} = ?",
                        [change(text), text],
                    )


def replace_checkpoints(target: Path, records: Sequence[tuple[str, int, str, int]]) -> None:
    """Put other files behind checkpoint records: rows of run_id, step, sha256, bytes."""
    with writing_file(target) as connection:
        connection.executemany(
            "UPDATE base.checkpoints SET sha256 = ?3, bytes = ?4 WHERE run_id = ?1 AND step = ?2",
            [list(record) for record in records],
        )


def keep_images(target: Path, eval_ids: Sequence[str]) -> None:
    """Keep the images of these sets alone, which pages show when a pointer is on an example."""
    with writing_file(target) as connection:
        connection.execute(
            "DELETE FROM base.trajectory_images WHERE eval_id NOT IN (SELECT unnest(?))",
            [list(eval_ids)],
        )


def compact(target: Path) -> None:
    """Write a database anew: what was changed or deleted in it is gone from its bytes too."""
    fresh = target.with_name(target.name + ".compact")
    blocks = SMALL_BLOCKS if target.stat().st_size < SMALL_DATABASE else USUAL_BLOCKS
    with duckdb.connect() as connection:
        for name, path, options in (
            ("old", target, ""),
            ("fresh", fresh, f" (BLOCK_SIZE {blocks})"),
        ):
            quoted = str(path).replace("'", "''")
            connection.execute(f"ATTACH '{quoted}' AS {name}{options}")
        connection.execute("COPY FROM DATABASE old TO fresh")
    os.replace(fresh, target)
