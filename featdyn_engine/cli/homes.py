"""Commands about a home as a whole: what it holds, whether it is sound, what leaves it."""

from pathlib import Path
from typing import Annotated

import typer

from featdyn_engine.cli.console import EXIT_FINDING, console
from store.home import home_from_environment, refuse_to_write


def status() -> None:
    """Show what is done: studies, runs, units, and whether an engine is at work."""
    home = home_from_environment()
    from featdyn_engine import pipeline

    for line in pipeline.status(home):
        console.print(line)


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


def rebuild() -> None:
    """Make the database anew from the files under runs/ and parts/."""
    home = home_from_environment()
    refuse_to_write(home, "featdyn rebuild")
    from featdyn_engine import pipeline

    count = pipeline.rebuild(home)
    console.print(f"made {home / 'featdyn.duckdb'} anew from {count} parts")


def snapshot(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or an old snapshot.")],
    study: Annotated[
        list[str] | None, typer.Option(help="A study to take, repeatable; by default all.")
    ] = None,
    bare: Annotated[
        list[str] | None,
        typer.Option(help="A study of which to take results alone, repeatable."),
    ] = None,
    checkpoints: Annotated[
        str, typer.Option(help="all, none, or steps, such as 0,60,660, of the arms' runs.")
    ] = "all",
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
        bare=tuple(bare or ()),
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


def restore(
    source: Annotated[
        Path, typer.Argument(metavar="SNAPSHOT", help="A folder that `snapshot` wrote.")
    ],
) -> None:
    """Make a new home of a snapshot's results, to go on from them."""
    home = home_from_environment()
    from featdyn_engine import restoring

    done = restoring.restore(source, home)
    console.print(f"{home}: {done.studies} studies, {done.runs} runs, {done.parts:,} parts")


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
