"""Jobs in the caller's own process, one after another: for notebooks and scripts."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from featdyn_engine.domain import Job
from featdyn_engine.executors.local import Ended
from featdyn_engine.units import Failure, attempt


def run_jobs(
    jobs: Sequence[Job],
    finished: set[str],
    home: Path,
    threads: int,
    on_progress: Callable[[Job, float], None],
) -> Iterator[Ended]:
    """Run jobs in the order of their needs, as ``local.run_jobs`` does."""
    done, failed = set(finished), set[str]()
    waiting = list(jobs)
    while waiting:
        job = next((each for each in waiting if done.issuperset(each.needs)), waiting[0])
        waiting.remove(job)
        started = not failed.intersection(job.needs)
        failure: Failure | None = Failure("not started: a unit that it needs has failed")
        if started:

            def report(share: float, job: Job = job) -> None:
                on_progress(job, share)

            failure = attempt(job, home, threads, report)
        (failed if failure else done).update(unit.unit_id for unit in job.units)
        yield Ended(job, failure, started)
