"""What a splice now is asked for in: words of a command line or a page, and their check."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from featdyn_engine.analyses.asked import Evaluation, asked_set
from featdyn_engine.analyses.networks import stored_steps
from featdyn_engine.api import load_evaluation, load_run
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Cut, EvalConfig, InputError, NetworkConfig, Norm, RunConfig, Split
from featdyn_engine.models import registry as model_registry


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


def _in_words(network: NetworkConfig) -> str:
    """Name a network so that one of another width is another."""
    options = (f"{key} {value}" for key, value in network.options.items())
    return f"{network.name} ({', '.join((f'norm_layer {network.norm_layer}', *options))})"


def checked(request: Request, home: Path) -> tuple[Cut, Norm]:
    """Return cut and mode of a request.

    Raises InputError for a step that isn't stored, a cut or a mode that the network doesn't have,
    and two runs whose networks differ.
    """
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
