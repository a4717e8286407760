"""The command line: parses, calls the pipeline, prints. Exit codes: 0 done, 1 a finding or a
failed unit, 2 wrong input (one line, no traceback).
"""

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from featdyn_engine import __version__
from featdyn_engine.domain import InputError
from featdyn_engine.machine import cores
from store.home import DamagedPartError, StoreError, home_from_environment, refuse_to_write

if TYPE_CHECKING:
    from featdyn_engine.executors.ray import Cluster

EXIT_FINDING = 1
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130
DEMO_STUDY = Path(__file__).parent / "demo.toml"
FULL_DEMO_STUDY = Path(__file__).parent / "demo_full.toml"

app = typer.Typer(
    help="Train networks, splice their checkpoints, fill the store that the explorer shows.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, markup=False, soft_wrap=True)


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


@dataclass(frozen=True)
class Where:
    """Which executor, and what only a cluster needs."""

    executor: Executor
    address: str | None
    storage: str | None
    gpu_share: float | None


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
    # Imported late: torch takes seconds, and help or a wrong word should not.
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def status() -> None:
    """Show what is done: studies, runs, units, and whether an engine is at work."""
    home = home_from_environment()
    from featdyn_engine import pipeline

    for line in pipeline.status(home):
        console.print(line)


@app.command()
def verify() -> None:
    """Check hashes, missing, truncated or duplicate checkpoints, parts and rows; exit 1 if any.

    A snapshot is held to its manifest instead.
    """
    home = home_from_environment()
    from featdyn_engine import verification

    verdict = verification.verify(home)
    for finding in verdict.findings:
        console.print(finding)
    console.print(
        f"{verdict.runs} runs, {verdict.checkpoints} checkpoints, {verdict.parts} parts: "
        f"{len(verdict.findings) or 'no'} findings"
    )
    if verdict.findings:
        raise typer.Exit(EXIT_FINDING)


@app.command()
def splice(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run_id, as the view runs shows.")],
    shallow: Annotated[str, typer.Option(help="Step of the shallow part, or all of them: all.")],
    deep: Annotated[int, typer.Option(min=0, help="Step of the deep part.")],
    cut: Annotated[str, typer.Option(help="Name of the last shallow block.")],
    shallow_run: Annotated[
        str | None, typer.Option(help="Run of the shallow part, if another.")
    ] = None,
    evaluation: Annotated[
        str, typer.Option("--eval", help="An eval_id, or train or test: the whole split.")
    ] = "test",
    corruption: Annotated[
        str, typer.Option(help="A kind, made here or from --corruption-folder.")
    ] = "none",
    severity: Annotated[int, typer.Option(min=0, max=5, help="Of the corruption.")] = 0,
    corruption_folder: Annotated[
        Path | None, typer.Option(help="Where CIFAR-10-C's or CIFAR-100-C's files lie.")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="Normalisation; by default as stored.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluate one splice, or a column of them, now; store nothing."""
    home = home_from_environment()
    from featdyn_engine import live

    request = live.request(
        home,
        run=run,
        shallow_run=shallow_run,
        shallow=shallow,
        deep=deep,
        cut=cut,
        evaluation=evaluation,
        corruption=corruption,
        severity=severity,
        corruption_folder=corruption_folder,
        norm=norm,
    )
    cells = live.splice(request, home)
    if as_json:
        rows = [asdict(cell) for cell in cells]
        # Plain print: a console would wrap.
        print(json.dumps(rows if shallow == "all" else rows[0], indent=1))
        return
    for cell in cells:
        console.print(live.sentence(cell))


@app.command(name="import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of checkpoints.")],
    model: Annotated[str, typer.Option(help="Who makes the network: module:factory.")],
    pattern: Annotated[
        str | None, typer.Option(help="Names of the files, with {step} or {epoch}; else found.")
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help="Modules that end a block, with commas between; else found.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the factory; may come several times.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Its data set by name; else a study names it.")
    ] = None,
    data_folder: Annotated[Path | None, typer.Option(help="Where its files lie.")] = None,
    shape: Annotated[
        str | None, typer.Option(help="Of one image, as 3x32x32; else one that passes.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What pages call it; else the folder.")] = None,
    steps_per_epoch: Annotated[float, typer.Option(help="Turns steps into epochs.")] = 1.0,
    home: Annotated[
        Path | None, typer.Option(help="Where to; else FEATDYN_HOME, else var.")
    ] = None,
) -> None:
    """Import somebody's own checkpoints (safetensors, or state dicts of PyTorch) as a run."""
    where = home_from_environment() if home is None else home.absolute()
    from featdyn_engine import importing, pipeline

    # Where Python looks for a module that is started by its own name.
    sys.path.append(str(Path.cwd()))
    words = importing.Words(model, pattern, blocks, option or [], data, data_folder, shape, name)
    asked = importing.asked(folder, words, steps_per_epoch, where)
    with pipeline.engine_lock(where, f"featdyn import {folder}"):
        config, network = importing.run_of(asked, where, console.print)
    console.print(
        f"run {config.run_id} ({config.recorded.name if config.recorded else folder}): "
        f"{len(config.checkpoints)} checkpoints, blocks {', '.join(network.block_names)}"
    )
    console.print(
        f'to analyse it, name it in an arm of a study: run = "{config.run_id}" '
        "(docs/your-own-networks.md)"
    )


@app.command()
def rebuild() -> None:
    """Make the database anew from the files under runs/ and parts/."""
    home = home_from_environment()
    refuse_to_write(home, "featdyn rebuild")
    from featdyn_engine import pipeline

    count = pipeline.rebuild(home)
    console.print(f"made {home / 'featdyn.duckdb'} anew from {count} parts")


@app.command()
def snapshot(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or an old snapshot.")],
    study: Annotated[
        list[str] | None, typer.Option(help="A study to take, repeatable; by default all.")
    ] = None,
    checkpoints: Annotated[str, typer.Option(help="all, none, or steps such as 0,60,660.")] = "all",
    half: Annotated[
        bool, typer.Option("--half", help="Weights as float16 where no prediction changes.")
    ] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(help="A data set whose licence lets you pass its images on, repeatable."),
    ] = None,
    max_mb: Annotated[float | None, typer.Option(min=0, help="Refuse to be larger.")] = None,
) -> None:
    """Copy studies, checkpoints and images into a read-only folder for hosting."""
    home = home_from_environment()
    refuse_to_write(home, f"featdyn snapshot {out}")
    from featdyn_engine import snapshot as snapshots

    choice = snapshots.Choice(
        studies=tuple(study or ()),
        steps=snapshots.parsed_steps(checkpoints),
        half=half,
        images=tuple(images or ()),
        max_mb=max_mb,
    )
    manifest = snapshots.snapshot(home, out, choice, console.print)
    size = sum(each["bytes"] for each in manifest["files"].values())
    console.print(
        f"{out}: {', '.join(manifest['studies'])}; {manifest['runs']} runs, "
        f"{manifest['checkpoints']} checkpoints ({manifest['checkpoints_in_float16']} in float16), "
        f"{size / 1e6:.1f} MB; look at it with FEATDYN_HOME={out} FEATDYN_READONLY=1"
    )


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run_id, as the view runs shows.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="A new folder or .zip; by default RUN.zip.")
    ] = None,
    file_format: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
) -> None:
    """Write the tables of a run, with where they came from, to a folder or a zip file."""
    home = home_from_environment()
    target = Path(f"{run}.zip") if out is None else out
    refuse_to_write(home, f"featdyn export {run}")
    from featdyn_engine import export as exports

    rows = exports.export(home, run, target, file_format)
    console.print(f"{target}: {len(rows)} tables, {sum(rows.values()):,} rows")


@app.command()
def version() -> None:
    """Print the version."""
    console.print(__version__)


def main() -> None:
    """Run the command line; every wrong input ends in one line and exit code 2."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as problem:
        # In standalone mode Typer would print its usage as well, four lines in all.
        print(f"featdyn: {problem.format_message()}", file=sys.stderr)
        code = EXIT_WRONG_INPUT
    except DamagedPartError as problem:
        print(f"featdyn: {problem}", file=sys.stderr)
        code = EXIT_FINDING
    except (InputError, StoreError) as problem:
        print(f"featdyn: {problem}", file=sys.stderr)
        code = EXIT_WRONG_INPUT
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"featdyn: {problem.filename or 'disk'}: expected room on the disk, got none left; "
            "make room, then the same command goes on from here",
            file=sys.stderr,
        )
        code = EXIT_FINDING
    except (KeyboardInterrupt, typer.Abort):
        print("featdyn: stopped; the same command goes on from here", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)
