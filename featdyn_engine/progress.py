"""Progress on the terminal: what runs, how far, time left; plain lines where there is none."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from featdyn_engine.domain import Job


class Bars:
    """One bar for the whole study, weighted by expected work, and one for each running job."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
        )
        self._rows: dict[str, TaskID] = {}
        self._done = 0.0
        self._shares: dict[str, float] = {}
        self._costs: dict[str, float] = {}

    def start(self, waiting: Sequence[Job], finished: int) -> None:
        """Show the bars; say how many units were finished before."""
        if finished:
            units = finished + sum(len(job.units) for job in waiting)
            self._progress.console.print(f"{finished} of {units} units finished")
        self._costs = {job.job_id: job.cost for job in waiting}
        self._whole = self._progress.add_task("whole study", total=sum(self._costs.values()))
        self._progress.start()

    def _update(self) -> None:
        under_way = sum(self._costs[key] * share for key, share in self._shares.items())
        self._progress.update(self._whole, completed=self._done + under_way)

    def advance(self, job: Job, share: float) -> None:
        """Move the bar of a running job to its share done, 0 to 1."""
        if job.job_id not in self._rows:
            self._rows[job.job_id] = self._progress.add_task(job.label, total=1.0)
        self._progress.update(self._rows[job.job_id], completed=share)
        self._shares[job.job_id] = share
        self._update()

    def end(self, job: Job, error: str | None) -> None:
        """Take a job's bar away; print the line of a failure."""
        row = self._rows.pop(job.job_id, None)
        if row is not None:
            self._progress.remove_task(row)
        self._shares.pop(job.job_id, None)
        self._done += job.cost
        self._update()
        if error:
            self._progress.console.print(f"failed: {job.label}: {error}")

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()


class Lines:
    """For logs: a line for every finished job, with the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._count = self._total = 0
        self._done_cost = self._cost = 0.0

    def start(self, waiting: Sequence[Job], finished: int) -> None:
        """Say how much there is to do."""
        self._total, self._cost = len(waiting), sum(job.cost for job in waiting)
        self._console.print(f"{finished} units finished, {self._total} jobs to do")

    def advance(self, job: Job, share: float) -> None:
        """Say nothing of running jobs."""

    def end(self, job: Job, error: str | None) -> None:
        """Print the job's line."""
        self._count += 1
        self._done_cost += job.cost
        elapsed = time.monotonic() - self._started
        left = elapsed * (self._cost - self._done_cost) / max(self._done_cost, 1e-9)
        outcome = f"failed: {error}" if error else "done"
        counted = f"[{self._count}/{self._total}]"
        line = f"{counted} {job.label}: {outcome}, {elapsed:.0f} s passed, about {left:.0f} s left"
        self._console.print(line)

    def stop(self) -> None:
        """Nothing to tidy."""


class Unseen:
    """For callers who look at the outcome alone."""

    def start(self, waiting: Sequence[Job], finished: int) -> None:
        """Say nothing."""

    def advance(self, job: Job, share: float) -> None:
        """Say nothing."""

    def end(self, job: Job, error: str | None) -> None:
        """Say nothing."""


def for_console(console: Console) -> Bars | Lines:
    """Bars on a terminal, lines elsewhere."""
    return Bars(console) if console.is_terminal else Lines(console)
