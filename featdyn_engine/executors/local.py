"""Jobs in processes of this machine."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_sentinel
from pathlib import Path
from queue import Empty
from typing import Any

from featdyn_engine.domain import Job
from featdyn_engine.executors.needs import needs_gpu
from featdyn_engine.executors.schedule import WORKER_DIED, Ended, Schedule
from featdyn_engine.units import Failure, attempt

REPORT_SECONDS = 0.2
VISIBLE = "CUDA_VISIBLE_DEVICES"
_reports: Any = None


def spread_over(workers: int, gpus: Sequence[str]) -> list[str]:
    """Name the GPU of each of ``workers`` processes, in turn; ``gpus`` as CUDA_VISIBLE_DEVICES."""
    return [gpus[worker % len(gpus)] for worker in range(workers)]


def visible_gpus() -> list[str]:
    """Name the GPUs that this process may use, as CUDA_VISIBLE_DEVICES does."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return named[:count] or [str(index) for index in range(count)]


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_sentinel([parent.sentinel])
        os._exit(1)


def _start_worker(reports: Any, gpus: Any) -> None:
    global _reports
    _reports = reports
    if gpus is not None:
        # Before CUDA is touched for the first time: it looks at this once.
        os.environ[VISIBLE] = gpus.get()
    # A killed engine must leave no worker behind that competes with the next one.
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _work(job: Job, home: Path, threads: int) -> Failure | None:
    last = 0.0

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            _reports.put((job.job_id, share))

    report(0.0)
    return attempt(job, home, threads, report)


def _drain(reports: Any) -> Iterator[tuple[str, float]]:
    while True:
        try:
            yield reports.get_nowait()
        except Empty:
            return


@contextmanager
def threads_of_libraries(count: int) -> Iterator[None]:
    """Let processes that start in this block have ``count`` threads in BLAS and OpenMP too.

    By default each would take every core, whatever number of threads its run has.
    """
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _pool(context: Any, workers: int, reports: Any, gpus: Sequence[str]) -> ProcessPoolExecutor:
    shares = None
    if len(gpus) > 1:
        shares = context.Queue()
        for gpu in spread_over(workers, gpus):
            shares.put(gpu)
    return ProcessPoolExecutor(workers, context, _start_worker, (reports, shares))


def run_jobs(
    jobs: Sequence[Job],
    finished: Set[str],
    home: Path,
    workers: int,
    threads: int,
    on_progress: Callable[[Job, float], None],
) -> Iterator[Ended]:
    """Run jobs in ``workers`` processes of ``threads`` threads each (see ``Executor``).

    Where jobs run on CUDA and there are several GPUs, each process has one of them.
    """
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    by_id = {job.job_id: job for job in jobs}
    schedule = Schedule(jobs, finished)
    gpus = visible_gpus() if any(needs_gpu(job) for job in jobs) else []
    running: dict[Future[Failure | None], Job] = {}
    pool = _pool(context, workers, reports, gpus)
    broken = False
    try:
        while schedule.waiting or running:
            if broken and not running:
                pool = _pool(context, workers, reports, gpus)
                broken = False
            while len(running) < workers and not broken and (job := schedule.take()):
                try:
                    # The pool starts a process when it gets a job and none is idle.
                    with threads_of_libraries(threads):
                        running[pool.submit(_work, job, home, threads)] = job
                except BrokenProcessPool:  # an idle worker died: nothing of this job is lost
                    schedule.put_back(job)
                    broken = True
            ended, _ = wait(running, timeout=REPORT_SECONDS, return_when=FIRST_COMPLETED)
            for job_id, share in _drain(reports):
                on_progress(by_id[job_id], share)
            for future in ended:
                job = running.pop(future)
                try:
                    failure = future.result()
                except BrokenProcessPool:
                    failure = Failure(WORKER_DIED)
                    broken = True
                yield Ended(job, failure)
                if failure:
                    yield from schedule.failed(job)
                else:
                    schedule.succeeded(job)
    finally:
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
