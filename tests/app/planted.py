"""Stores that somebody means harm with, or that are only odd: names, titles, classes, failures."""

import shutil
from pathlib import Path

from store.connection import writing
from store.home import next_revision

SCRIPT = "<script>document.title = 'taken'</script>"
NAMES = (
    SCRIPT,
    "<img src=x onerror=\"document.title = 'taken'\">",
    "[click](javascript:document.title='taken') ![x](http://127.0.0.1:9/x.png)",
    "**bold** `code` $x^2$ :red[red] # heading | a | b",
    "🦉🦊 \u202eesrever\u202c\n\n---\n",
    "x" * 300,
    "'; DROP TABLE base.runs; --",
    "{{constructor.constructor('alert(1)')()}} datum.value",
)


def plant(home: Path, target: Path) -> Path:
    """Copy a home and give studies, arms, runs, sets, classes and failures such names."""
    shutil.copytree(home, target)
    with writing(target) as connection:
        connection.execute("UPDATE base.study_runs SET title = ?", [NAMES[0]])
        runs = connection.execute(
            "SELECT DISTINCT run_id FROM base.study_runs ORDER BY run_id"
        ).fetchall()
        for place, (run_id,) in enumerate(runs):
            name, arm = NAMES[place % len(NAMES)], NAMES[(place + 3) % len(NAMES)]
            connection.execute(
                "UPDATE base.study_runs SET name = ?, arm = ? WHERE run_id = ?", [name, arm, run_id]
            )
        failed = runs[0][0]
        connection.execute("DELETE FROM base.units WHERE kind = 'metrics' AND run_id = ?", [failed])
        connection.execute(
            "INSERT INTO base.failures BY NAME SELECT ? AS unit_id, 'metrics' AS kind, "
            "? AS run_id, ? AS label, 3 AS step, ? AS reason, now()::TIMESTAMP AS failed_at",
            [failed, failed, NAMES[1], " ".join(NAMES)],
        )
        connection.execute("UPDATE base.evaluations SET dataset = ?", [NAMES[2]])
        connection.execute("UPDATE base.evaluations SET class_names = ?", [list(NAMES[:3])])
    next_revision(target)
    return target
