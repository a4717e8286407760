"""Units of work in processes of this machine."""

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_sentinel
from pathlib import Path
from queue import Empty
from typing import Any

from featdyn_engine.domain import Unit
from featdyn_engine.units import perform

REPORT_SECONDS = 0.2
_reports: Any = None


@dataclass(frozen=True)
class Ended:
    """A unit that is over: ``error`` is None, or the traceback or reason of its failure."""

    unit: Unit
    error: str | None = None


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


def _work(unit: Unit, home: Path, threads: int) -> str | None:
    last = 0.0

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            _reports.put((unit.unit_id, share))

    try:
        report(0.0)
        perform(unit, home, threads, report)
    except Exception:
        return traceback.format_exc()
    return None


def _drain(reports: Any) -> Iterator[tuple[str, float]]:
    while True:
        try:
            yield reports.get_nowait()
        except Empty:
            return


def run_units(
    units: Sequence[Unit],
    finished: set[str],
    home: Path,
    workers: int,
    threads: int,
    on_progress: Callable[[Unit, float], None],
) -> Iterator[Ended]:
    """Run units in ``workers`` processes of ``threads`` threads each, in the order of their needs.

    ``finished`` names units done before. A unit whose need failed ends with an error itself.
    ``on_progress`` hears the share done of running units, in the caller's thread.
    """
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    by_id = {unit.unit_id: unit for unit in units}
    waiting = dict(by_id)
    done, failed = set(finished), set[str]()
    running: dict[Future[str | None], Unit] = {}
    pool = ProcessPoolExecutor(workers, context, _start_worker, (reports,))
    broken = False
    try:
        while waiting or running:
            if broken and not running:
                pool = ProcessPoolExecutor(workers, context, _start_worker, (reports,))
                broken = False
            for unit in list(waiting.values()):
                if failed.intersection(unit.needs):
                    del waiting[unit.unit_id]
                    failed.add(unit.unit_id)
                    yield Ended(unit, "not started: a unit that it needs has failed")
                elif len(running) < workers and not broken and done.issuperset(unit.needs):
                    try:
                        running[pool.submit(_work, unit, home, threads)] = unit
                    except BrokenProcessPool:  # an idle worker died: nothing of this unit is lost
                        broken = True
                        break
                    del waiting[unit.unit_id]
            ended, _ = wait(running, timeout=REPORT_SECONDS, return_when=FIRST_COMPLETED)
            for unit_id, share in _drain(reports):
                on_progress(by_id[unit_id], share)
            for future in ended:
                unit = running.pop(future)
                try:
                    error = future.result()
                except BrokenProcessPool:
                    error, broken = "its worker process died (killed, or out of memory)", True
                (failed if error else done).add(unit.unit_id)
                yield Ended(unit, error)
    finally:
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
