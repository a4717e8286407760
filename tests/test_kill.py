"""SIGKILL at any moment: the same command goes on, to the rows of a run that nothing disturbed."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from store.connection import reading
from store.results import ingest
from tests.cases import TINY_STUDY
from tests.store.rows import rows

SECONDS_FOR_WORKERS_TO_DIE = 5
PATIENCE_SECONDS = 120.0


def start(home: Path) -> subprocess.Popen[str]:
    """Start an engine in a session of its own; its workers share its standard output."""
    study = home.with_name("tiny.toml")
    study.write_text(TINY_STUDY)
    command = [sys.executable, "-m", "featdyn_engine", "run", str(study), "--device", "cpu"]
    return subprocess.Popen(
        command,
        env={**os.environ, "FEATDYN_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(engine: subprocess.Popen[str]) -> None:
    """Kill the main process alone; its output ends only when every worker is dead too."""
    os.kill(engine.pid, signal.SIGKILL)
    try:
        engine.communicate(timeout=SECONDS_FOR_WORKERS_TO_DIE)
    except subprocess.TimeoutExpired:
        os.killpg(engine.pid, signal.SIGKILL)
        pytest.fail(f"a worker outlived its engine by {SECONDS_FOR_WORKERS_TO_DIE} s")


def finish(home: Path) -> None:
    engine = start(home)
    output, _ = engine.communicate(timeout=PATIENCE_SECONDS)
    assert engine.returncode == 0, output


def count(home: Path, pattern: str) -> int:
    return len(list(home.glob(pattern)))


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "during training": lambda home: count(home, "runs/*/checkpoints/*.json") >= 3,
    "after training": lambda home: count(home, "parts/metrics/*.parquet") == 2,
    "during splices": lambda home: count(home, "parts/splices/*.parquet") >= 12,
}


def wait_for(engine: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not moment():
        assert engine.poll() is None, engine.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_three_kills_of_one_study_leave_no_trace_in_the_rows(
    tiny_home: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for moment in MOMENTS.values():
        engine = start(home)
        wait_for(engine, lambda moment=moment: moment(home))  # type: ignore[misc]
        kill(engine)
        assert count(home, "parts/splices/*.parquet") < 40
    finish(home)
    assert rows(home) == rows(tiny_home)
    assert count(home, "**/*.partial") == 0
    assert count(home, "runs/*/resume.safetensors") == 0


def _ingest_for_ever(home: Path) -> None:
    parts = sorted((home / "parts").glob("*/*.parquet"))
    while True:
        ingest(home, parts)


def test_kills_during_an_ingest_leave_the_rows_before_or_after_it(
    tiny_home: Path, tmp_path: Path
) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "home"))
    expected = rows(tiny_home, but_times=False)
    context = multiprocessing.get_context("spawn")
    log = home / "featdyn.duckdb.wal"
    logs_left = 0
    for _ in range(4):
        process = context.Process(target=_ingest_for_ever, args=(home,), daemon=True)
        process.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (log.exists() and log.stat().st_size > 0):
            assert time.monotonic() < deadline
        process.kill()
        process.join(20)
        logs_left += log.exists()
        assert rows(home, but_times=False) == expected
    assert logs_left > 0
    ingest(home, sorted((home / "parts").glob("*/*.parquet")))
    assert rows(home, but_times=False) == expected
    assert not log.exists()


def test_a_store_is_readable_right_after_a_kill(tiny_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    engine = start(home)
    wait_for(engine, lambda: (home / "revision").exists())
    kill(engine)
    with reading(home) as connection:
        studies = connection.execute("SELECT DISTINCT study FROM study_runs").fetchall()
    assert studies == [("tiny",)]


@pytest.mark.slow
def test_fifteen_kills_at_random_moments(tiny_home: Path, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    expected = rows(tiny_home)
    kills = studies = 0
    home = tmp_path / "home-0"
    while kills < 15:
        engine = start(home)
        try:
            output, _ = engine.communicate(timeout=draw.uniform(0.5, 15))
        except subprocess.TimeoutExpired:
            kill(engine)
            kills += 1
            continue
        assert engine.returncode == 0, output
        assert rows(home) == expected, f"seed {seed}"
        studies += 1
        home = tmp_path / f"home-{studies}"
    finish(home)
    assert rows(home) == expected, f"seed {seed}"
