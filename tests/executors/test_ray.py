"""A Ray cluster of several nodes gives the rows of this machine, whatever breaks meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featdyn_engine import pipeline, planning, study
from featdyn_engine.domain import InputError
from featdyn_engine.storage import Storage
from featdyn_engine.verification import verify
from store.connection import reading
from store.lake import reading_lake
from tests.conftest import Silent, fill
from tests.store.rows import rows, rows_of

ray = pytest.importorskip("ray")
moto_server = pytest.importorskip("moto.server")

from featdyn_engine.executors import ray as on_ray  # noqa: E402
from tests.executors.clusters import NODE, STUDY, cluster, run  # noqa: E402
from tests.executors.traps import nodes_tried, trap, units  # noqa: E402

pytestmark = [
    pytest.mark.extras,
    # Of Ray, moto and what they bring.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PATIENCE_SECONDS = 240.0
BUCKET = "s3://featdyn/study"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A local S3 server; its address and keys are in the environment, as nodes have them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import fsspec

        fsspec.filesystem("s3").mkdir("featdyn")
        yield BUCKET
    server.stop()


@pytest.fixture(scope="module")
def nodes(s3: str) -> Iterator[Any]:
    with cluster(nodes=2) as found:
        yield found


@pytest.fixture(scope="module")
def connected(nodes: Any) -> Iterator[on_ray.Cluster]:
    with on_ray.connected(nodes.address) as found:
        yield found


@pytest.fixture(scope="module")
def local_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study as processes of this machine do it. Tests must not write to it."""
    home = tmp_path_factory.mktemp("local")
    fill(home, STUDY)
    return home


@pytest.fixture(scope="module")
def s3_home(connected: on_ray.Cluster, s3: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, done by workers that see this home only through the bucket."""
    home = tmp_path_factory.mktemp("driver")
    outcome = run(home, on_ray.Cluster(Storage(s3)))
    assert (outcome.failures, outcome.findings) == ((), ())
    return home


def go(
    home: Path, cluster: on_ray.Cluster, *traps: Any, text: str = STUDY, watcher: Any = None
) -> pipeline.Outcome:
    """Run units that misbehave through the pipeline."""
    plan = planning.Plan(study.parse(text, "small.toml", home), units(*traps), frozenset())
    with pipeline.engine_lock(home, "tests"):
        return pipeline.run(plan, home, 100, watcher or Silent(), print, cluster.run_jobs)


def statuses(home: Path) -> dict[str, tuple[str, str | None, str | None]]:
    with reading(home) as connection:
        found = connection.execute(
            "SELECT unit_id, status, reason, traceback FROM units"
        ).fetchall()
    assert len({unit_id for unit_id, *_ in found}) == len(found)
    return {unit_id: (status, reason, trace) for unit_id, status, reason, trace in found}


def test_a_shared_home_gives_the_rows_of_this_machine(
    connected: on_ray.Cluster, local_home: Path, tmp_path: Path
) -> None:
    assert run(tmp_path, connected).failures == ()
    assert rows(tmp_path) == rows(local_home)
    assert verify(tmp_path).findings == ()


def test_a_bucket_gives_the_rows_of_this_machine_and_every_checkpoint(
    s3_home: Path, local_home: Path
) -> None:
    assert rows(s3_home) == rows(local_home)
    assert verify(s3_home).findings == ()
    names = {path.relative_to(local_home) for path in (local_home / "runs").rglob("*")}
    assert {path.relative_to(s3_home) for path in (s3_home / "runs").rglob("*")} == names
    for name in names:
        if name.suffix == ".safetensors":
            assert (s3_home / name).read_bytes() == (local_home / name).read_bytes()


def test_a_driver_whose_disk_is_lost_finds_everything_in_the_bucket(
    s3_home: Path, s3: str, local_home: Path, tmp_path: Path
) -> None:
    outcome = run(tmp_path, on_ray.Cluster(Storage(s3)))
    assert (outcome.done, outcome.failures) == (0, ())
    assert rows(tmp_path, but_times=False) == rows(s3_home, but_times=False)


def test_the_bucket_answers_as_the_store_does(s3_home: Path, s3: str) -> None:
    with reading_lake(f"{s3}/parts/") as connection:
        assert rows_of(connection, but_times=False) == rows(s3_home, but_times=False)


def test_a_lost_node_costs_a_try_and_no_unit(
    nodes: Any, connected: on_ray.Cluster, tmp_path: Path
) -> None:
    waiting = [trap(tmp_path, seed, "wait", times=2) for seed in range(2)]
    plain = [trap(tmp_path, seed) for seed in range(2, 5)]
    head = nodes.head_node.node_id
    lost: list[str] = []

    def lose_a_node() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(started := [node for each in waiting for node in nodes_tried(each)]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        lost.extend(node for node in started if node != head)
        nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
        (tmp_path / "go").touch()

    thread = threading.Thread(target=lose_a_node)
    thread.start()
    try:
        outcome = go(tmp_path / "home", connected, *waiting, *plain)
    finally:
        thread.join()
        nodes.add_node(**NODE)
    assert len(lost) == 1
    assert (outcome.done, outcome.failures) == (5, ())
    tried = sorted(len(nodes_tried(each)) for each in waiting)
    assert tried == [1, 2]
    assert {status for status, *_ in statuses(tmp_path / "home").values()} == {"finished"}
    assert len(statuses(tmp_path / "home")) == 5
    assert verify(tmp_path / "home").findings == ()


def test_what_fails_three_times_is_recorded_and_the_others_go_on(
    connected: on_ray.Cluster, tmp_path: Path
) -> None:
    killed_once, killed = trap(tmp_path, 0, "kill", times=1), trap(tmp_path, 1, "kill", times=9)
    raised_twice, raised = trap(tmp_path, 2, "raise", times=2), trap(tmp_path, 3, "raise", times=9)
    starved_once, starved = (
        trap(tmp_path, 5, "memory", times=1),
        trap(tmp_path, 6, "memory", times=9),
    )
    plain = trap(tmp_path, 4)
    traps = (killed_once, killed, raised_twice, raised, starved_once, starved, plain)
    outcome = go(tmp_path / "home", connected, *traps)
    assert [len(nodes_tried(each)) for each in traps] == [2, 3, 3, 3, 2, 3, 1]
    assert outcome.done == 4
    failed = {killed.eval_id, raised.eval_id, starved.eval_id}
    assert {unit.unit_id for unit, _ in outcome.failures} == failed
    found = statuses(tmp_path / "home")
    assert {each.eval_id: found[each.eval_id][0] for each in traps} == {
        killed_once.eval_id: "finished",
        killed.eval_id: "failed",
        raised_twice.eval_id: "finished",
        raised.eval_id: "failed",
        starved_once.eval_id: "finished",
        starved.eval_id: "failed",
        plain.eval_id: "finished",
    }
    assert "MemoryError" in str(found[starved.eval_id][1])
    assert "its worker process died" in str(found[killed.eval_id][1])
    _, reason, traceback = found[raised.eval_id]
    assert reason == "RuntimeError: the trap sprang"
    assert "traps.py" in str(traceback)


def test_what_fits_on_no_machine_is_refused(connected: on_ray.Cluster, tmp_path: Path) -> None:
    wide = STUDY.replace("[data]", "[compute]\nthreads = 7\n\n[data]", 1)
    with pytest.raises(InputError, match=r"expected a machine with 7 CPUs.*got at most 1 CPUs"):
        run(tmp_path, connected, wide)
    assert not list(tmp_path.glob("parts/metrics/*"))


def start(home: Path, address: str) -> subprocess.Popen[str]:
    path = home.with_name("small.toml")
    path.write_text(STUDY)
    command = [sys.executable, "-m", "featdyn_engine", "run", str(path), "--device", "cpu"]
    return subprocess.Popen(
        [*command, "--executor", "ray", "--address", address],
        env={**os.environ, "FEATDYN_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_driver_goes_on_where_it_was(nodes: Any, local_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    driver = start(home, nodes.address)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(home.glob("parts/metrics/*.parquet")):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=PATIENCE_SECONDS)
    assert len(list(home.glob("parts/consistency/*.parquet"))) == 0
    again = start(home, nodes.address)
    output, _ = again.communicate(timeout=PATIENCE_SECONDS)
    assert again.returncode == 0, output
    assert rows(home) == rows(local_home)
    assert verify(home).findings == ()
