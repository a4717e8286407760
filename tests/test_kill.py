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

from featdyn_engine import checkpoints
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe, RunConfig
from featdyn_engine.training import train
from store.connection import reading
from store.results import ingest
from tests.cases import QUICK_STUDY, TINY_STUDY
from tests.recipes.runs import hashes
from tests.store.rows import rows

SECONDS_FOR_WORKERS_TO_DIE = 5
PATIENCE_SECONDS = 120.0


def start(home: Path, text: str = TINY_STUDY) -> subprocess.Popen[str]:
    """Start an engine in a session of its own; its workers share its standard output."""
    study = home.with_name("tiny.toml")
    study.write_text(text)
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


def finish(home: Path, text: str = TINY_STUDY) -> None:
    engine = start(home, text)
    try:
        output, _ = engine.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        kill(engine)
        raise
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


@pytest.mark.slow
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


LONG = RunConfig(
    data=DataConfig(name="digits", train_size=44),
    network=NetworkConfig(name="mlp", norm_layer="batch", options={"width": 16, "depth": 2}),
    recipe=Recipe(steps=300, batch_size=8, lr=0.01, monitor=8),
    checkpoints=tuple(range(0, 301, 4)),
)


def begun(home: Path, run_id: str) -> int:
    """When a training last began: it writes its configuration then."""
    path = home / "runs" / run_id / "config.json"
    return path.stat().st_mtime_ns if path.exists() else 0


def pace(home: Path, run_id: str) -> float:
    """Seconds from one checkpoint of an undisturbed training to the next, on average."""
    files = sorted((home / "runs" / run_id / "checkpoints").glob("*.json"))
    times = [path.stat().st_mtime for path in files]
    return (times[-1] - times[0]) / (len(times) - 1)


def wait_for_a_moment(
    home: Path, run_id: str, before: int, most: int, seconds: float, draw: random.Random
) -> None:
    """Wait until a training has begun, stored up to ``most`` new checkpoints, and a while more.

    Counted in checkpoints, as a busy machine would let the run end before the kills do.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    goal = count(home, f"runs/{run_id}/checkpoints/*.json") + draw.randint(0, most)
    while begun(home, run_id) == before or count(home, f"runs/{run_id}/checkpoints/*.json") < goal:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(draw.uniform(0, seconds))


@pytest.mark.parametrize("kills", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_kills_at_random_moments_of_a_training_leave_no_trace(kills: int, tmp_path: Path) -> None:
    # Children of a server that has torch loaded begin at once, and inherit no thread.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["featdyn_engine.training"])
    undisturbed = context.Process(target=train, args=(LONG, tmp_path / "whole"))
    undisturbed.start()
    undisturbed.join(PATIENCE_SECONDS)
    assert undisturbed.exitcode == 0
    seconds = pace(tmp_path / "whole", LONG.run_id)
    home, seed = tmp_path / "home", random.randrange(10**6)
    draw = random.Random(seed)
    for _ in range(kills):
        before = begun(home, LONG.run_id)
        process = context.Process(target=train, args=(LONG, home))
        process.start()
        wait_for_a_moment(home, LONG.run_id, before, 75 // kills - 2, seconds, draw)
        assert process.is_alive(), f"seed {seed}"
        process.kill()
        process.join()
    assert 0 < len(hashes(home, LONG)) < 76, f"seed {seed}"
    train(LONG, home)
    assert hashes(home, LONG) == hashes(tmp_path / "whole", LONG), f"seed {seed}"
    assert tuple(hashes(home, LONG)) == LONG.checkpoints
    assert not list(checkpoints.problems(home / "runs" / LONG.run_id, LONG.checkpoints))


LONG_STUDY = (
    QUICK_STUDY.partition("[[arms]]")[0]
    .replace("steps = 10", "steps = 1500")
    .replace("lr = 0.05", "lr = 0.001")
    .replace("count = 6", "count = 101")
    + '[[arms]]\nname = "true labels"\n'
)


@pytest.mark.slow
def test_twenty_five_kills_at_random_moments_of_one_run_leave_no_trace(tmp_path: Path) -> None:
    finish(tmp_path / "whole", LONG_STUDY)
    expected = rows(tmp_path / "whole")
    run_id = next((tmp_path / "whole" / "runs").iterdir()).name
    files = sorted((tmp_path / "whole" / "runs" / run_id / "checkpoints").iterdir())
    seconds = pace(tmp_path / "whole", run_id)
    home, seed = tmp_path / "home", random.randrange(10**6)
    draw = random.Random(seed)
    for _ in range(25):
        before = begun(home, run_id)
        engine = start(home, LONG_STUDY)
        wait_for_a_moment(home, run_id, before, 2, seconds, draw)
        assert engine.poll() is None, f"seed {seed}: the run ended before 25 kills"
        kill(engine)
    assert count(home, "parts/metrics/*.parquet") == 0, f"seed {seed}"
    finish(home, LONG_STUDY)
    again = sorted((home / "runs" / run_id / "checkpoints").iterdir())
    assert [path.name for path in again] == [path.name for path in files]
    assert len(again) == 2 * 101
    for path, same in zip(again, files, strict=True):
        assert path.read_bytes() == same.read_bytes(), f"seed {seed}: {path.name}"
    assert rows(home) == expected, f"seed {seed}"
    assert count(home, "**/*.partial") == 0
