"""Jobs in the caller's own process, one after another: for notebooks and scripts."""

from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path

from featdyn_engine.domain import Job
from featdyn_engine.executors.schedule import Ended, Schedule
from featdyn_engine.units import attempt


def run_jobs(
    jobs: Sequence[Job],
    finished: Set[str],
    home: Path,
    workers: int,  # noqa: ARG001 (of the protocol: here there is one, the caller)
    threads: int,
    on_progress: Callable[[Job, float], None],
) -> Iterator[Ended]:
    """Run jobs in the order of their needs; see ``schedule.Executor``."""
    schedule = Schedule(jobs, finished)
    while (job := schedule.take()) is not None:

        def report(share: float, job: Job = job) -> None:
            on_progress(job, share)

        failure = attempt(job, home, threads, report)
        yield Ended(job, failure)
        if failure is None:
            schedule.succeeded(job)
        else:
            yield from schedule.failed(job)
