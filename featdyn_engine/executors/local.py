"""Jobs in processes of this machine."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_sentinel
from pathlib import Path
from queue import Empty
from typing import Any

from featdyn_engine.domain import Job
from featdyn_engine.units import Failure, attempt

REPORT_SECONDS = 0.2
_reports: Any = None


@dataclass(frozen=True)
class Ended:
    """A job that is over: with its parts, or with the reason why not.

    ``started``: whether it was tried at all, or only waited for a unit that failed.
    """

    job: Job
    failure: Failure | None = None
    started: bool = True


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_sentinel([parent.sentinel])
        os._exit(1)


def _start_worker(reports: Any) -> None:
    global _reports
    _reports = reports
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


def run_jobs(
    jobs: Sequence[Job],
    finished: set[str],
    home: Path,
    workers: int,
    threads: int,
    on_progress: Callable[[Job, float], None],
) -> Iterator[Ended]:
    """Run jobs in ``workers`` processes of ``threads`` threads each, in the order of their needs.

    ``finished`` names units done before. A job with a need that failed ends with an error itself.
    ``on_progress`` hears the share done of running jobs, in the caller's thread.
    """
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    by_id = {job.job_id: job for job in jobs}
    waiting = dict(by_id)
    done, failed = set(finished), set[str]()
    running: dict[Future[Failure | None], Job] = {}
    pool = ProcessPoolExecutor(workers, context, _start_worker, (reports,))
    broken = False
    try:
        while waiting or running:
            if broken and not running:
                pool = ProcessPoolExecutor(workers, context, _start_worker, (reports,))
                broken = False
            for job in list(waiting.values()):
                if failed.intersection(job.needs):
                    del waiting[job.job_id]
                    failed.update(unit.unit_id for unit in job.units)
                    reason = Failure("not started: a unit that it needs has failed")
                    yield Ended(job, reason, started=False)
                elif len(running) < workers and not broken and done.issuperset(job.needs):
                    try:
                        running[pool.submit(_work, job, home, threads)] = job
                    except BrokenProcessPool:  # an idle worker died: nothing of this job is lost
                        broken = True
                        break
                    del waiting[job.job_id]
            ended, _ = wait(running, timeout=REPORT_SECONDS, return_when=FIRST_COMPLETED)
            for job_id, share in _drain(reports):
                on_progress(by_id[job_id], share)
            for future in ended:
                job = running.pop(future)
                try:
                    failure = future.result()
                except BrokenProcessPool:
                    failure = Failure("its worker process died (killed, or out of memory)")
                    broken = True
                (failed if failure else done).update(unit.unit_id for unit in job.units)
                yield Ended(job, failure)
    finally:
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
