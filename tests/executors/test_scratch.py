"""A worker's scratch home: what a job needs comes, what it made goes, nothing stays."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from featdyn_engine.domain import Job
from featdyn_engine.executors import scratch
from featdyn_engine.storage import Storage, local_names
from featdyn_engine.training import train
from featdyn_engine.units import training_unit
from tests.recipes.runs import PERCEPTRON, hashes

RUN = PERCEPTRON
JOB = Job((training_unit(RUN, "train", 44),))


class KilledError(BaseException):
    """Stands for the end of a process: nothing catches it on the way."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scratch._own_home.cache_clear()
    yield f"file://{tmp_path}/storage"
    scratch._own_home.cache_clear()
    scratch._storage.cache_clear()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole")
    train(RUN, home)
    return home


def perform(url: str, progress: Callable[[float], None] = lambda share: None) -> scratch.Done:
    return scratch.perform(JOB, [], url, 1, progress)


def test_a_training_leaves_its_run_and_part_in_the_storage_and_nothing_here(
    url: str, undisturbed: Path, tmp_path: Path
) -> None:
    done = perform(url)
    assert done.failure is None
    storage = Storage(url)
    assert set(done.names) == storage.names("runs", "parts")
    assert f"parts/metrics/{RUN.run_id}.parquet" in done.names
    storage.pull(tmp_path / "driver")
    assert hashes(tmp_path / "driver", RUN) == hashes(undisturbed, RUN)
    assert local_names(scratch._own_home()[0], "runs", "parts") == set()


def test_another_worker_goes_on_where_a_killed_one_was(
    url: str, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "PUSH_SECONDS", 0.0)
    last = RUN.stored_steps[-2] / RUN.recipe.steps

    def die_late(share: float) -> None:
        if share > last:
            raise KilledError

    with pytest.raises(KilledError):
        perform(url, die_late)
    storage = Storage(url)
    assert f"runs/{RUN.run_id}/resume.safetensors" in storage.names("runs")
    scratch._own_home.cache_clear()  # a process of its own
    shares: list[float] = []
    done = perform(url, shares.append)
    assert min(shares) > last - 1e-9
    assert done.failure is None
    storage.pull(tmp_path / "driver")
    assert hashes(tmp_path / "driver", RUN) == hashes(undisturbed, RUN)
    assert f"runs/{RUN.run_id}/resume.safetensors" not in storage.names("runs")


def test_a_storage_that_fails_is_a_failure_with_its_traceback(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise OSError("the network is gone")

    monkeypatch.setattr(Storage, "put", gone)
    failure = perform(url).failure
    assert failure is not None
    assert failure.reason == "OSError: the network is gone"
    assert "storage" in failure.traceback


def test_scratch_homes_of_killed_processes_are_removed_and_of_living_ones_not(
    url: str, tmp_path: Path
) -> None:
    dead = tmp_path / f"{scratch.PREFIX}dead"
    (dead / "runs").mkdir(parents=True)
    (dead / "runs" / "left").write_text("over")
    living, lock = scratch._own_home()
    assert not dead.exists()
    scratch._own_home.cache_clear()
    another, _ = scratch._own_home()
    assert another != living
    assert lock.is_locked
    assert living.exists()


def test_data_of_the_storage_is_fetched_once_a_machine(url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "set.bin").write_bytes(b"images")
    Storage(url).push(home)
    assert perform(url).failure is None
    scratch_home, _ = scratch._own_home()
    assert (scratch_home / "data" / "set.bin").read_bytes() == b"images"
    assert (scratch_home / "data").is_symlink()
