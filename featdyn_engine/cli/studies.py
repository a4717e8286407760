"""Commands that take a study file: demo, run, plan."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import featdyn_engine
from featdyn_engine.cli.console import EXIT_FINDING, console
from featdyn_engine.domain import InputError
from featdyn_engine.machine import cores
from store.home import home_from_environment, refuse_to_write

if TYPE_CHECKING:
    from featdyn_engine.executors.ray import Cluster

STUDIES = Path(featdyn_engine.__file__).parent
DEMO_STUDY = STUDIES / "demo.toml"
FULL_DEMO_STUDY = STUDIES / "demo_full.toml"


class Device(StrEnum):
    """Where networks are trained; part of a run's identity."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Executor(StrEnum):
    """Where units of work run."""

    local = "local"
    ray = "ray"


StudyPath = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A study file.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Units at a time; by default one a core (one a GPU), on a cluster as many as fit.",
    ),
]
ExecutorOption = Annotated[
    Executor, typer.Option(help="Processes of this machine, or tasks of a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(help="Of the Ray cluster; by default RAY_ADDRESS, else one is started here."),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="Folder or bucket (fsspec URL) by which workers exchange files, unless they all see "
        "FEATDYN_HOME.",
    ),
]
GpuShare = Annotated[
    float | None,
    typer.Option(min=0.01, max=1.0, help="Of a GPU, for a unit on a cluster; by default 1."),
]
DeviceOption = Annotated[
    Device, typer.Option(help="Where to train; auto takes CUDA, else MPS, else the CPU.")
]


@dataclass(frozen=True)
class Where:
    """Which executor, and what only a cluster needs."""

    executor: Executor
    address: str | None
    storage: str | None
    gpu_share: float | None


def _workers(asked: int | None, threads: int, gpus: int = 0) -> int:
    most = max(cores() // threads, 1)
    if threads > cores():
        console.print(f"{threads} threads on {cores()} cores: the runs ask for them, so it is slow")
    if asked and asked > most:
        # Measured: two multi-threaded processes on two cores are ten times slower than one.
        console.print(f"{asked} workers asked, {most} used: no more than cores (same rows)")
    # Networks of several processes rarely fit on a GPU; who knows that theirs do says so.
    return min(asked or gpus or most, most)


@contextmanager
def _cluster(where: Where) -> Iterator["Cluster | None"]:
    """Connect to the cluster that is asked for, if one is."""
    if where.executor is Executor.local:
        given = {
            "--address": where.address,
            "--storage": where.storage,
            "--gpu-share": where.gpu_share,
        }
        for name, value in given.items():
            if value is not None:
                raise InputError(f"{name}: expected --executor ray beside it, got local; add it")
        yield None
        return
    from featdyn_engine.executors import ray

    with ray.connected(where.address, where.storage, where.gpu_share or 1.0) as cluster:
        yield cluster


def _run(path: Path, workers: int | None, device: Device, where: Where, command: str) -> None:
    home = home_from_environment()
    refuse_to_write(home, command)
    from featdyn_engine import pipeline, planning, progress, study
    from featdyn_engine.executors import local

    with _cluster(where) as cluster:
        devices = cluster.devices if cluster else None
        wanted = study.read(path, home, planning.resolve_device(device.value, devices))
        with pipeline.engine_lock(home, command):
            if cluster and (fetched := cluster.prepare(home)):
                console.print(f"{fetched} files fetched from {where.storage}")
            plan = planning.plan(wanted, home)
            planning.check_room(plan, home)
            _print_remarks(planning.remarks(plan))
            if cluster:
                count, run_jobs = workers or cluster.most_at_once, cluster.run_jobs
            else:
                on_gpu = any(run.config.device == "cuda" for run in wanted.runs)
                gpus = len(local.visible_gpus()) if on_gpu else 0
                count, run_jobs = _workers(workers, wanted.threads, gpus), local.run_jobs
            watcher = progress.for_console(console)
            try:
                outcome = pipeline.run(plan, home, count, watcher, console.print, run_jobs)
            finally:
                watcher.stop()
    for unit, failure in outcome.failures:
        at = "" if failure.step is None else f" at step {failure.step}"
        console.print(f"failed{at}: {unit.label} ({unit.kind} {unit.unit_id}): {failure.reason}")
        if failure.traceback:
            console.print(failure.traceback)
    for finding in outcome.findings:
        console.print(finding)
    total = len(plan.units)
    console.print(
        f"{wanted.name}: {outcome.done} units done now, {len(plan.finished)} before, of {total}; "
        f"store: {home / 'featdyn.duckdb'}",
    )
    if outcome.failures or outcome.findings:
        raise typer.Exit(EXIT_FINDING)


def _print_remarks(remarks: Iterable[str]) -> None:
    for remark in remarks:
        console.print(f"Note: {remark}")


def demo(
    full: Annotated[bool, typer.Option("--full", help="Everything, over three seeds.")] = False,
    workers: Workers = None,
    device: DeviceOption = Device.auto,
    executor: ExecutorOption = Executor.local,
    address: Address = None,
    storage: StorageOption = None,
    gpu_share: GpuShare = None,
) -> None:
    """Run the embedded study: digits, ResNet-20, true against random labels; no download."""
    where = Where(executor, address, storage, gpu_share)
    _run(FULL_DEMO_STUDY if full else DEMO_STUDY, workers, device, where, "featdyn demo")


def run(
    study: StudyPath,
    workers: Workers = None,
    device: DeviceOption = Device.auto,
    executor: ExecutorOption = Executor.local,
    address: Address = None,
    storage: StorageOption = None,
    gpu_share: GpuShare = None,
) -> None:
    """Plan a study, skip what is finished, run the rest, fill the store."""
    where = Where(executor, address, storage, gpu_share)
    _run(study, workers, device, where, f"featdyn run {study}")


def plan(study: StudyPath, workers: Workers = None, device: DeviceOption = Device.auto) -> None:
    """Show units of work, checkpoints, disk and time of a study; run nothing of it."""
    home = home_from_environment()
    from featdyn_engine import planning
    from featdyn_engine import study as study_files

    planned = planning.plan(
        study_files.read(study, home, planning.resolve_device(device.value)), home
    )
    count = _workers(workers, planned.study.threads)
    expected = planning.forecast(planned, home, count)
    for kind in dict.fromkeys(unit.kind for unit in planned.units):
        of_kind = [unit for unit in planned.units if unit.kind == kind]
        waiting = sum(unit.unit_id not in planned.finished for unit in of_kind)
        name = "trainings" if kind == "metrics" else kind
        console.print(f"{name:<12} {len(of_kind):>6} units, {waiting} to do")
    console.print(f"{'checkpoints':<12} {expected.checkpoints:>6}")
    console.print(f"{'disk':<12} {expected.bytes / 1e6:>6.0f} MB more")
    console.print(f"{'time':<12} {expected.seconds:>6.0f} s with {count} workers, roughly")
    _print_remarks(planning.remarks(planned))
