"""Jobs as tasks of a Ray cluster; the driver alone fills the store.

Workers see the driver's home (a folder at the same path on every machine), or exchange files with
it through a storage (``scratch.py``). A task that raises, or whose process or machine is lost, is
tried three times in all: its part is written whole or not at all, and twice is the same as once.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from featdyn_engine import __version__
from featdyn_engine.domain import Device, InputError, Job
from featdyn_engine.executors import scratch
from featdyn_engine.executors.needs import Needs, needs_of
from featdyn_engine.executors.schedule import WORKER_DIED, Ended, Schedule
from featdyn_engine.executors.scratch import Done
from featdyn_engine.parts import parts_of
from featdyn_engine.storage import Storage, local_names
from featdyn_engine.units import Failure, attempt

try:
    import ray
except ImportError:
    raise InputError(
        "--executor ray: expected Ray to be installed, found none; "
        "pip install -r requirements-ray.txt, or use --executor local"
    ) from None

TRIES = 3
# Tasks handed to Ray at one time: enough for it to fill, or to enlarge, a cluster.
MOST_AT_ONCE = 1000
REPORT_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
LOST = {
    ray.exceptions.NodeDiedError: "the machine that it ran on was lost",
    ray.exceptions.OutOfMemoryError: "its machine ran out of memory, and Ray ended it",
    ray.exceptions.WorkerCrashedError: WORKER_DIED,
}


class Reports:
    """How far running jobs are, kept on the driver's machine; workers tell, the driver asks."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def tell(self, job_id: str, share: float) -> None:
        """Remember the latest share done of a job."""
        self._shares[job_id] = share

    def take(self) -> dict[str, float]:
        """Return what was told since the last call."""
        told, self._shares = self._shares, {}
        return told


@dataclass(frozen=True)
class _Order:
    """What a task is given beside its job."""

    home: str
    storage: str | None
    threads: int
    path: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]


def _versions() -> tuple[tuple[str, str], ...]:
    return (("featdyn", __version__), ("torch", version("torch")))


def _refuse_other_versions(expected: tuple[tuple[str, str], ...]) -> Failure | None:
    here = _versions()
    if here == expected:
        return None
    wanted, found = (", ".join(map(" ".join, each)) for each in (expected, here))
    return Failure(f"a worker: expected {wanted} as the driver has, got {found}; install the same")


def _work(job: Job, needs: Sequence[str], order: _Order, reports: Any) -> Done:
    """Do a job, in a process of some machine of the cluster."""
    # Networks of a study's own lie beside it.
    sys.path += [folder for folder in order.path if folder not in sys.path]
    if refused := _refuse_other_versions(order.versions):
        return Done(refused)
    last = time.monotonic()

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            reports.tell.remote(job.job_id, share)

    if order.storage is None:
        return Done(attempt(job, Path(order.home), order.threads, report))
    return scratch.perform(job, needs, order.storage, order.threads, report)


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to. ``gpu_share``: of a GPU, for each job."""

    storage: Storage | None = None
    gpu_share: float = 1.0
    most_at_once: ClassVar[int] = MOST_AT_ONCE

    @property
    def devices(self) -> tuple[Device, ...]:
        """Where networks can run, the best first."""
        return ("cuda", "cpu") if ray.cluster_resources().get("GPU") else ("cpu",)

    def prepare(self, home: Path) -> int:
        """Fetch what the storage has and a home lacks, before work is planned; count the files."""
        return self.storage.pull(home) if self.storage else 0

    def run_jobs(
        self,
        jobs: Sequence[Job],
        finished: Set[str],
        home: Path,
        workers: int,
        threads: int,
        on_progress: Callable[[Job, float], None],
    ) -> Iterator[Ended]:
        """Run jobs on the cluster (see ``Executor``), at most ``workers`` at a time.

        Raises InputError where no machine of the cluster has what a job needs.
        """
        needs = {job.job_id: needs_of(job, threads, self.gpu_share) for job in jobs}
        _refuse_what_fits_nowhere(set(needs.values()))
        if self.storage:
            self.storage.push(home)
        url = self.storage.url if self.storage else None
        order = _Order(str(home.absolute()), url, threads, tuple(sys.path), _versions())
        running = _Running(order, needs)
        schedule, by_id = Schedule(jobs, finished), {job.job_id: job for job in jobs}
        files = _Files(home) if self.storage else None
        tries: Counter[str] = Counter()
        while schedule.waiting or running.refs:
            while len(running.refs) < workers and (job := schedule.take()):
                running.start(job, files.needed_by(job) if files else [])
            for job_id, share in running.told().items():
                on_progress(by_id[job_id], share)
            for job, done in running.ended():
                tries[job.job_id] += 1
                # What raised may do better elsewhere; what was foreseen will come again.
                if done.failure and done.failure.traceback and tries[job.job_id] < TRIES:
                    schedule.put_back(job)
                    continue
                if self.storage:
                    self.storage.get(done.names, home)
                if files:
                    files.add(done.names)
                if done.failure is None:
                    _await(home, job)
                yield Ended(job, done.failure)
                if done.failure:
                    yield from schedule.failed(job)
                else:
                    schedule.succeeded(job)
        if self.storage:
            self.storage.push(home)  # what the driver wrote of failures


class _Running:
    """Tasks under way."""

    def __init__(self, order: _Order, needs: dict[str, Needs]) -> None:
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        self._order, self._needs = ray.put(order), needs
        self._reports = ray.remote(Reports).options(num_cpus=0, scheduling_strategy=here).remote()
        # Tries are counted here, where a try that raised and one that was lost are the same.
        self._work = ray.remote(max_retries=0)(_work)
        self._asked: Any = None
        self._asked_at = 0.0
        self.refs: dict[Any, Job] = {}

    def start(self, job: Job, names: Sequence[str]) -> None:
        needs = self._needs[job.job_id]
        task = self._work.options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory, name=job.label
        )
        self.refs[task.remote(job, names, self._order, self._reports)] = job

    def ended(self) -> list[tuple[Job, Done]]:
        """Wait a while for tasks that end; return them, whatever became of them."""
        refs = list(self.refs)
        ready, _ = ray.wait(refs, timeout=REPORT_SECONDS)
        if ready:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        return [(self.refs.pop(ref), _result(ref)) for ref in ready]

    def told(self) -> dict[str, float]:
        """Return how far jobs are, as far as it is known by now; never wait for it."""
        if self._asked is None:
            if time.monotonic() - self._asked_at > REPORT_SECONDS:
                self._asked, self._asked_at = self._reports.take.remote(), time.monotonic()
            return {}
        ready, _ = ray.wait([self._asked], timeout=0)
        if not ready:
            return {}
        asked, self._asked = self._asked, None
        try:
            told: dict[str, float] = ray.get(asked)
        except ray.exceptions.RayError:  # progress is lost, work is not
            return {}
        return told


def _result(ref: Any) -> Done:
    try:
        done: Done = ray.get(ref)
    except ray.exceptions.RayError as problem:
        known = (reason for kind, reason in LOST.items() if isinstance(problem, kind))
        last = (str(problem).strip() or type(problem).__name__).splitlines()[-1]
        return Done(Failure(next(known, last), traceback=str(problem)))
    return done


class _Files:
    """Names of a home's files by the unit that made them: what a worker has to fetch."""

    def __init__(self, home: Path) -> None:
        self._of: dict[str, set[str]] = {}
        self.add(local_names(home, "runs", "parts"))

    def add(self, names: Iterator[str] | Sequence[str] | Set[str]) -> None:
        for name in names:
            folder, second, *rest = name.split("/")
            unit_id = second if folder == "runs" else Path(rest[-1]).stem
            self._of.setdefault(unit_id, set()).add(name)

    def needed_by(self, job: Job) -> list[str]:
        return sorted(name for need in job.needs for name in self._of.get(need, ()))


def _await(home: Path, job: Job) -> None:
    """Wait until the parts of a job can be seen here: shared folders show files with a delay."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for part in (part for unit in job.units for part in parts_of(home, unit)):
        while not part.exists():
            if time.monotonic() > deadline:
                raise InputError(
                    f"{part}: expected the part that a worker wrote, found none; set FEATDYN_HOME "
                    "to a folder that every machine has at this path, or name a --storage"
                )
            time.sleep(0.2)


def _refuse_what_fits_nowhere(wanted: Set[Needs]) -> None:
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for needs in wanted:
        asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory}
        if not any(all(has.get(key, 0) >= n for key, n in asked.items()) for has in machines):
            largest = {key: max((has.get(key, 0) for has in machines), default=0) for key in asked}
            raise InputError(
                f"--executor ray: expected a machine with {_said(asked)} for a unit of this "
                f"study, got at most {_said(largest)}; start such a machine, or lower threads "
                "or memory in the study"
            )


def _said(resources: dict[str, float]) -> str:
    memory = resources["memory"] / 2**30
    return f"{resources['CPU']:g} CPUs, {resources['GPU']:g} GPUs and {memory:.1f} GiB"


@contextmanager
def connected(
    address: str | None = None, storage: str | None = None, gpu_share: float = 1.0
) -> Iterator[Cluster]:
    """Connect to the cluster at ``address`` (RAY_ADDRESS by default), or start one here.

    Leaving disconnects, which ends this process's tasks. Raises InputError for a cluster or a
    storage that can't be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # an engine that tells nobody anything
    # Python's threads of BLAS are set by Ray, to a task's CPUs.
    reached = Storage(storage) if storage else None
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as problem:
        reason = str(problem).strip().splitlines()[0]
        raise InputError(
            f"--address {address or os.environ.get('RAY_ADDRESS', '(none)')}: expected a Ray "
            f"cluster, got: {reason}; start one with `ray start --head`"
        ) from None
    try:
        yield Cluster(reached, gpu_share)
    finally:
        ray.shutdown()
