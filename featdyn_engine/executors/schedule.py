"""What every executor has in common: its protocol, and which job may start when."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Protocol

from featdyn_engine.domain import Job
from featdyn_engine.units import Failure

WORKER_DIED = "its worker process died (killed, or out of memory)"
NEED_FAILED = Failure("not started: a unit that it needs has failed")


@dataclass(frozen=True)
class Ended:
    """A job that is over: with its parts, or with the reason why not.

    ``started``: whether it was tried at all, or only waited for a unit that failed.
    """

    job: Job
    failure: Failure | None = None
    started: bool = True


class Executor(Protocol):
    """Who runs jobs; the parts of one that ended well lie in ``home`` when it is yielded."""

    def __call__(
        self,
        jobs: Sequence[Job],
        finished: Set[str],
        home: Path,
        workers: int,
        threads: int,
        on_progress: Callable[[Job, float], None],
    ) -> Iterator[Ended]:
        """Run jobs in the order of their needs, at most ``workers`` at a time.

        ``finished`` names units done before; ``threads`` are those of the study. A job with a
        need that failed ends with an error itself. ``on_progress`` hears the share done of
        running jobs, in the caller's thread.
        """


class Schedule:
    """Jobs that wait for their needs; each that is free to start, in the order given.

    Raises ValueError where a need is neither finished nor among the jobs: it would wait for ever.
    """

    def __init__(self, jobs: Sequence[Job], finished: Set[str]) -> None:
        self._jobs = list(jobs)
        self._place = {job.job_id: place for place, job in enumerate(jobs)}
        self._lacking = [set(job.needs - finished) for job in jobs]
        self._needed_by: dict[str, list[int]] = {}
        self._free: list[int] = []
        self._lost: set[int] = set()
        self.waiting = len(self._jobs)
        known = {unit.unit_id for job in jobs for unit in job.units}
        for place, needs in enumerate(self._lacking):
            if unknown := sorted(needs - known):
                raise ValueError(f"{jobs[place].label}: nobody makes {unknown[0]}, which it needs")
            for need in needs:
                self._needed_by.setdefault(need, []).append(place)
            if not needs:
                heappush(self._free, place)

    def take(self) -> Job | None:
        """Return the next job that may start, None where all that wait need others first."""
        if not self._free:
            return None
        self.waiting -= 1
        return self._jobs[heappop(self._free)]

    def put_back(self, job: Job) -> None:
        """Let a job that was taken wait again, at its old place."""
        self.waiting += 1
        heappush(self._free, self._place[job.job_id])

    def succeeded(self, job: Job) -> None:
        """Free the jobs that needed nothing but this one."""
        for unit in job.units:
            for place in self._needed_by.pop(unit.unit_id, ()):
                self._lacking[place].discard(unit.unit_id)
                if not self._lacking[place] and place not in self._lost:
                    heappush(self._free, place)

    def failed(self, job: Job) -> Iterator[Ended]:
        """End every job that needs this one, directly or not; they never start."""
        lost = [job]
        while lost:
            for unit in lost.pop().units:
                for place in self._needed_by.pop(unit.unit_id, ()):
                    if place in self._lost:
                        continue  # for another of its needs
                    self._lost.add(place)
                    self.waiting -= 1
                    lost.append(self._jobs[place])
                    yield Ended(self._jobs[place], NEED_FAILED, started=False)
