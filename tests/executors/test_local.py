"""Processes of this machine: which GPU each has, and how many threads."""

import multiprocessing
import os

import pytest
from threadpoolctl import threadpool_info

from featdyn_engine.executors import local
from featdyn_engine.executors.local import spread_over, threads_of_libraries


@pytest.mark.parametrize(
    ("workers", "gpus", "expected"),
    [
        (2, ["0", "1"], ["0", "1"]),
        (5, ["0", "1"], ["0", "1", "0", "1", "0"]),
        (1, ["3", "5"], ["3"]),
        (3, ["GPU-a", "GPU-b", "GPU-c"], ["GPU-a", "GPU-b", "GPU-c"]),
    ],
)
def test_gpus_are_given_to_workers_in_turn(
    workers: int, gpus: list[str], expected: list[str]
) -> None:
    assert spread_over(workers, gpus) == expected


@pytest.mark.parametrize(
    ("named", "count", "expected"),
    [(None, 2, ["0", "1"]), ("3, 5", 2, ["3", "5"]), ("", 0, []), ("7", 1, ["7"]), (None, 0, [])],
)
def test_gpus_bear_the_names_that_the_environment_allows(
    named: str | None, count: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(local.VISIBLE, raising=False)
    if named is not None:
        monkeypatch.setenv(local.VISIBLE, named)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert local.visible_gpus() == expected


def _seen() -> tuple[str | None, int, list[int]]:
    import numpy as np

    np.ones((2, 2)) @ np.ones((2, 2))
    return os.getenv(local.VISIBLE), os.getpid(), [p["num_threads"] for p in threadpool_info()]


def test_every_process_has_a_gpu_of_its_own_and_the_threads_of_its_study() -> None:
    context = multiprocessing.get_context("spawn")
    before = os.environ.get("OMP_NUM_THREADS")
    with local._pool(context, 2, context.Queue(), ["4", "6"]) as pool:
        with threads_of_libraries(2):
            started = [pool.submit(_seen) for _ in range(2)]
        assert os.environ.get("OMP_NUM_THREADS") == before
        seen = {future.result() [1]: future.result() for future in started}  # fmt: skip
        # One process may have done both.
        while len(seen) < 2:
            seen |= {found[1]: found for found in [pool.submit(_seen).result()]}
    assert sorted(str(gpu) for gpu, *_ in seen.values()) == ["4", "6"]
    for _, _, threads in seen.values():
        assert threads
        assert max(threads) <= 2
