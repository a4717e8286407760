"""Noise of mini-batches at a run's checkpoints: spectra, tests, alignment, isotropic control.

Planned here; ``noise_checkpoint`` goes through one checkpoint, ``noise_draws`` draws,
``noise_rows`` makes rows of draws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from annotated_types import Ge, MinLen

from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Cuts,
    Evaluations,
    called,
    evaluation_sets,
    spread_out,
    wanted_cuts,
    wanted_steps,
)
from featdyn_engine.analyses.networks import stored_steps
from featdyn_engine.analyses.noise_checkpoint import SCHEMAS, Checkpoint
from featdyn_engine.analyses.noise_draws import Spec
from featdyn_engine.analyses.noise_rows import SPECTRA, Isotropic, Row
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import STRICT, Count, InputError, RunConfig, Seed, Unit
from featdyn_engine.identity import identity
from featdyn_engine.models import registry as model_registry
from featdyn_engine.randomness import generator, subset
from featdyn_engine.science.noise import tensor_sizes
from featdyn_engine.science.steps import STEP_RULES, StepRule

TABLE = SPECTRA
COMPANIONS = {kind: schema for kind, schema in SCHEMAS.items() if kind != "noise"}
FEWEST_BATCHES = 20
# Gradients, and three sets of steps made of them, are held at one time.
COPIES = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: checkpoints (``steps``, or ``count`` spread over them), cuts, sets.

    ``batches`` independent mini-batches a checkpoint of each of the ``batch_sizes`` (None: of the
    run's own size), the steps that each of ``step_rules`` takes from them (``own``: those of the
    run's optimiser; ``sgd``: minus lr times the gradient), ``examples`` of a set, features as
    channel means or projected on ``projection`` directions, ``k`` directions of the alignment.
    ``memory`` bounds the gradients held, in MiB.
    """

    __pydantic_config__: ClassVar = STRICT
    steps: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] | None = None
    count: Count = 3
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    batches: Count = 200
    batch_sizes: Annotated[tuple[Count, ...], MinLen(1)] | None = None
    step_rules: Annotated[tuple[Literal["own", "sgd"], ...], MinLen(1)] = ("own",)
    examples: Annotated[int, Ge(2)] = 8
    projection: Annotated[int, Ge(2)] | None = None
    k: Count = 5
    seed: Seed = 0
    memory: Annotated[int, Ge(16)] = 4096


def chosen_steps(settings: Settings, run: RunConfig) -> tuple[int, ...]:
    """Return the checkpoints asked for: named, or spread over all but the last, which has no drift.

    Raises InputError for a step that the run doesn't store.
    """
    if settings.steps is not None:
        return wanted_steps(settings.steps, run, "noise")
    return spread_out(run.stored_steps[:-1] or run.stored_steps, settings.count)


def chosen_sizes(settings: Settings, run: RunConfig, home: Path) -> list[int]:
    """Return the batch sizes asked for, each once; the run's own without any.

    Raises InputError for one as large as the training set, whose mini-batches are all the same.
    """
    images = len(data_registry.load(run.data, home).train_labels)
    for size in settings.batch_sizes or ():
        if size >= images:
            raise InputError(
                f"noise.batch_sizes: expected fewer than the {images:,} training images, got "
                f"{size:,}; all of them at once have no noise, take a smaller size"
            )
    return list(dict.fromkeys(settings.batch_sizes or (min(run.recipe.batch_size, images),)))


def chosen_rules(settings: Settings, run: RunConfig) -> list[StepRule]:
    """Return the step rules asked for, each once. Raises InputError for an own one not known."""
    own = run.recipe.optimizer
    if "own" in settings.step_rules and own not in STEP_RULES:
        raise InputError(
            f"noise.step_rules: expected runs trained with {', '.join(STEP_RULES)} for their own "
            f'steps, got {own}; ask for step_rules = ["sgd"], the gradients alone'
        )
    told = None if run.recorded is None else set(run.recorded.told)
    if "own" in settings.step_rules and own != "sgd" and told and not {"betas", "eps"} <= told:
        raise InputError(
            f"noise.step_rules: expected a recording of {own} with its betas and eps for its own "
            f'steps, got {run.called} without; record anew, or ask for step_rules = ["sgd"]'
        )
    rules = (own if rule == "own" else rule for rule in settings.step_rules)
    return list(dict.fromkeys(rules))  # type: ignore[arg-type]


def refuse(settings: Settings, run: RunConfig, home: Path) -> None:
    """Raise InputError for too few batches, or too little memory."""
    if settings.batches < FEWEST_BATCHES:
        raise InputError(
            f"noise.batches: expected {FEWEST_BATCHES} or more, got {settings.batches}; a "
            "covariance needs draws, take 200"
        )
    if run.recorded is not None and not {"batch_size", "lr"} <= set(run.recorded.told):
        raise InputError(
            f"noise: expected a run whose batch_size and learning rates are known, got {run.called}"
            ", which says neither or one; record it with optimizer and batch_size"
        )
    network = model_registry.build(run.network, data_registry.load(run.data, home).task)
    needed = COPIES * 4 * settings.batches * sum(tensor_sizes(network)) / 2**20
    if needed > settings.memory:
        raise InputError(
            f"noise.memory: expected room for {needed:,.0f} MiB of gradients, got "
            f"{settings.memory:,}; raise memory or lower batches"
        )


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit an evaluation set, batch size and step rule.

    Raises InputError for settings that don't fit the run: see ``refuse`` and the ``chosen_``
    functions; also for more examples than a set holds, or a cut that the network doesn't have.
    """
    refuse(settings, run, home)
    cuts = tuple(wanted_cuts(settings.cuts, run, home))
    sizes, rules = chosen_sizes(settings, run, home), chosen_rules(settings, run)
    planned = []
    for examples in evaluation_sets(settings, run, home):
        held = evaluation.size(examples, home)
        if settings.examples > held:
            raise InputError(
                f"noise.examples: expected at most the {held:,} examples of the "
                f"{called(examples)} set, got {settings.examples:,}; take fewer"
            )
        for size, rule in [(size, rule) for size in sizes for rule in rules]:
            spec = Spec(
                run=run,
                evaluation=examples,
                steps=chosen_steps(settings, run),
                cuts=cuts,
                batch_size=size,
                step_rule=rule,
                projection=settings.projection,
                batches=settings.batches,
                examples=settings.examples,
                k=settings.k,
                seed=settings.seed,
                memory=settings.memory,
            )
            planned.append(
                Unit(
                    kind="noise",
                    unit_id=identity(("noise", spec)),
                    label=f"noise {called(examples)}, {rule}, mini-batches of {size:,}",
                    spec=spec,
                    run_id=run.run_id,
                    needs=(run.run_id, examples.eval_id),
                    cost=len(spec.steps) * spec.work,
                    companions=tuple(COMPANIONS),
                )
            )
    return planned


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> dict[str, pa.Table]:
    """Draw the noise at every step: rows of TABLE as ``noise``, with COMPANIONS.

    Steps that a run which ended early did not store are left out.
    """
    images = evaluation.load(spec.evaluation, home).images
    places = subset("noise examples", len(images), spec.examples)
    stored = stored_steps(spec.run, home)
    steps = [step for step in spec.steps if step in stored]
    isotropic = Isotropic(generator("noise isotropic", spec.seed))
    found: dict[str, list[Row]] = {kind: [] for kind in SCHEMAS}
    done = 0.0

    def heard(work: float) -> None:
        nonlocal done
        done += work
        progress(min(done / (len(steps) * spec.work), 1.0))

    for step in steps:
        at = Checkpoint(spec, home, step, next((each for each in stored if each > step), None))
        for kind, rows in at.rows(images, places, isotropic, heard).items():
            found[kind] += rows
    return {kind: pa.Table.from_pylist(found[kind], SCHEMAS[kind]) for kind in SCHEMAS}
