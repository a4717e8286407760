"""Commands about stored networks: splice two of them, import somebody's own."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from featdyn_engine.cli.console import console
from store.home import home_from_environment


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
