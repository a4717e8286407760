"""Splices, now: evaluated from checkpoint files, nothing stored."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor, nn

from featdyn_engine.analyses.asked import Evaluation, asked_set
from featdyn_engine.analyses.networks import network_of, stored_steps, training_batches
from featdyn_engine.api import load_evaluation, load_run
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Cut, EvalConfig, InputError, NetworkConfig, Norm, RunConfig, Split
from featdyn_engine.models import registry as model_registry
from featdyn_engine.science.cube import SpliceCube
from featdyn_engine.science.execution import SAMPLE, placed, prepared
from featdyn_engine.science.intervals import wilson
from featdyn_engine.science.recalibrated import recalibrated_cube
from featdyn_engine.science.splice import plain_predictions, splice_cube

BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Request:
    """Shallow parts of some steps under the deep part of one, at a cut, on an evaluation set.

    ``norm`` None: ``inherit``, or ``none`` for a network without BatchNorm.
    """

    run: RunConfig
    shallow_run: RunConfig
    shallow_steps: tuple[int, ...]
    deep_step: int
    cut: str
    evaluation: EvalConfig
    norm: Norm | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell; accuracy_low and _high are its 95 % Wilson interval over examples."""

    run_id: str
    shallow_run_id: str
    shallow_step: int
    deep_step: int
    cut: str
    depth: int
    norm: Norm
    dataset: str
    split: str
    corruption: str
    severity: int
    n: int
    correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    margin: float
    agreement: float


def request(
    home: Path,
    *,
    run: str,
    shallow: str,
    deep: int,
    cut: str,
    shallow_run: str | None = None,
    evaluation: str = "test",
    corruption: str = "none",
    severity: int = 0,
    corruption_folder: Path | None = None,
    norm: str | None = None,
) -> Request:
    """Build a request from words: run_ids, a step or ``all``, an eval_id or the name of a split.

    Raises InputError for a run or an evaluation set that the home doesn't have, and other words.
    """
    config = load_run(home, run)
    other = config if shallow_run is None else load_run(home, shallow_run)
    if shallow != "all" and not shallow.isdecimal():
        raise InputError(f"--shallow: expected a step or all, got {shallow!r}")
    if norm is not None and norm not in get_args(Norm):
        raise InputError(f"--norm: expected one of {', '.join(get_args(Norm))}, got {norm!r}")
    if evaluation in get_args(Split):
        examples = asked_set(Evaluation(split=cast(Split, evaluation)), config, home)
    else:
        examples = load_evaluation(home, evaluation)
    if corruption != "none" or severity:
        folder = examples.corruption_folder if corruption_folder is None else str(corruption_folder)
        # The hash that a stored set brings is that of its own corruption.
        examples = replace(
            examples,
            corruption=corruption,
            severity=severity,
            corruption_folder=folder,
            corruption_sha256=None,
        )
    return Request(
        run=config,
        shallow_run=other,
        shallow_steps=tuple(stored_steps(other, home)) if shallow == "all" else (int(shallow),),
        deep_step=deep,
        cut=cut,
        evaluation=examples,
        norm=cast(Norm | None, norm),
    )


def sentence(cell: Cell) -> str:
    """Say a cell in one line."""
    whose = "" if cell.shallow_run_id == cell.run_id else f" of {cell.shallow_run_id}"
    corrupted = "" if cell.corruption == "none" else f", {cell.corruption} {cell.severity}"
    return (
        f"step {cell.shallow_step:,}{whose} up to {cell.cut}, then step {cell.deep_step:,}: "
        f"{cell.accuracy:.1%} ({cell.accuracy_low:.1%} to {cell.accuracy_high:.1%}, 95 % over "
        f"examples), agreement {cell.agreement:.1%}; {cell.dataset} {cell.split}{corrupted}, "
        f"n = {cell.n:,}, normalisation {cell.norm}"
    )


def splice(request: Request, home: Path) -> list[Cell]:
    """Evaluate a request on the run's device: one cell for each of its shallow steps.

    The numbers are those of stored cells of the same device, float32, a batch of 250. Raises
    InputError for a step that isn't stored, a cut or a mode that the network doesn't have, and
    two runs whose networks differ.
    """
    cut, norm = _checked(request, home)
    device = torch.device(request.run.device)
    examples = evaluation.load(request.evaluation, home)
    images, labels = placed(examples.images, device), examples.labels.to(device)
    deep: nn.Sequential = network_of(request.run, request.deep_step, home)
    shallow: list[nn.Sequential] = [
        network_of(request.shallow_run, step, home) for step in request.shallow_steps
    ]
    if norm in ("inherit", "none"):
        deep = prepared(deep, images[:SAMPLE])
        shallow = [prepared(network, images[:SAMPLE]) for network in shallow]
        cube = splice_cube(shallow, [deep], [cut.depth], images, labels, BATCH)
        reference = plain_predictions([deep], images, BATCH)
    else:
        training = training_batches(request.run, home)
        # The last one is network t itself under the same treatment.
        cube = recalibrated_cube(
            [*shallow, deep],
            [deep],
            [cut.depth],
            images,
            labels,
            training,
            BATCH,
            whole=norm == "recalibrate",
        )
        reference = cube.predicted[0, -1]
    return _cells(request, cut, norm, examples.labels, cube, reference)


def _in_words(network: NetworkConfig) -> str:
    """Name a network so that one of another width is another."""
    options = (f"{key} {value}" for key, value in network.options.items())
    return f"{network.name} ({', '.join((f'norm_layer {network.norm_layer}', *options))})"


def _checked(request: Request, home: Path) -> tuple[Cut, Norm]:
    """Return cut and mode of a request. Raises InputError (see ``splice``)."""
    run, other = request.run, request.shallow_run
    task = data_registry.load(run.data, home).task
    if other.network != run.network or data_registry.load(other.data, home).task != task:
        raise InputError(
            f"--shallow-run: expected a run of {_in_words(run.network)} on images and classes like "
            f"those of {run.run_id}, got {_in_words(other.network)} on {other.data.name}"
        )
    for option, whose, steps in (
        ("--deep", run, (request.deep_step,)),
        ("--shallow", other, request.shallow_steps),
    ):
        stored = stored_steps(whose, home)
        for step in steps:
            if step not in stored:
                raise InputError(
                    f"{option}: expected a checkpoint step of run {whose.run_id} "
                    f"({', '.join(map(str, stored))}), got {step}"
                )
    cuts = {cut.name: cut for cut in model_registry.cuts(run.network, task)}
    if request.cut not in cuts:
        raise InputError(f"--cut: expected one of {', '.join(cuts)}, got {request.cut!r}")
    has_batch_norm = model_registry.has_batch_norm(run.network, task)
    norm: Norm = request.norm or ("inherit" if has_batch_norm else "none")
    if has_batch_norm == (norm == "none"):
        known = "inherit, recalibrate or recalibrate_deep" if has_batch_norm else "none"
        raise InputError(f"--norm: expected {known} for {run.network.name}, got {norm}")
    return cuts[request.cut], norm


def _cells(
    request: Request, cut: Cut, norm: Norm, labels: Tensor, cube: SpliceCube, reference: Tensor
) -> list[Cell]:
    correct, agreement = cube.correct(labels)[0], cube.agreement(reference.cpu())[0]
    low, high = wilson(correct, cube.n[0])
    about = request.evaluation
    return [
        Cell(
            run_id=request.run.run_id,
            shallow_run_id=request.shallow_run.run_id,
            shallow_step=step,
            deep_step=request.deep_step,
            cut=cut.name,
            depth=cut.depth,
            norm=norm,
            dataset=about.source.title or about.source.name,
            split=about.split,
            corruption=about.corruption,
            severity=about.severity,
            n=len(labels),
            correct=int(correct[s, 0]),
            accuracy=int(correct[s, 0]) / len(labels),
            accuracy_low=float(low[s, 0]),
            accuracy_high=float(high[s, 0]),
            loss=float(cube.loss[0, s, 0]),
            margin=float(cube.margin[0, s, 0]),
            agreement=float(agreement[s, 0]),
        )
        for s, step in enumerate(request.shallow_steps)
    ]
