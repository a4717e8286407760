"""Noise of SGD at a run's checkpoints: spectra, tests, alignment with drift, isotropic control."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import torch
from annotated_types import Ge, MinLen
from torch import Tensor, nn

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
from featdyn_engine.analyses.networks import network_of, own_norm, stored_steps
from featdyn_engine.analyses.noise_rows import (
    ALIGNMENT,
    NOISE_TESTS,
    SPECTRA,
    Draws,
    Isotropic,
    Row,
    alignment_rows,
    correct_for_examples,
    moves,
    spectrum_rows,
    tested,
)
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.data.augmentation import augment
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.domain import (
    STRICT,
    Count,
    Cut,
    EvalConfig,
    InputError,
    RunConfig,
    Seed,
    Unit,
)
from featdyn_engine.identity import NOT_IDENTITY, identity
from featdyn_engine.learning_rates import learning_rates
from featdyn_engine.models import registry as model_registry
from featdyn_engine.randomness import generator, subset
from featdyn_engine.science.features import pooled_features
from featdyn_engine.science.noise import (
    gradients,
    independent_batches,
    isotropic_steps,
    moved_features,
    tensor_sizes,
)

TABLE = SPECTRA
COMPANIONS = {"noise_tests": NOISE_TESTS, "noise_alignment": ALIGNMENT}
FEWEST_BATCHES = 20
# Where rows are about the gradient of all parameters, not about features of an example.
PARAMETERS, NO_EXAMPLE = "parameters", -1
# Gradients, and three sets of steps made of them, are held at one time.
COPIES = 4
# A gradient costs about three forward passes; features move under SGD and two controls.
GRADIENT_COST, SOURCES = 3.0, 3
BATCH_SIZE = 250


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: checkpoints (``steps``, or ``count`` spread over them), cuts, sets.

    ``batches`` independent mini-batches a checkpoint, ``examples`` of a set, ``k`` directions of
    the alignment. ``memory`` bounds the gradients held, in MiB.
    """

    __pydantic_config__: ClassVar = STRICT
    steps: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] | None = None
    count: Count = 3
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    batches: Count = 200
    examples: Annotated[int, Ge(2)] = 8
    k: Count = 5
    seed: Seed = 0
    memory: Annotated[int, Ge(16)] = 4096


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one run on one evaluation set, at all checkpoints and cuts asked for."""

    run: RunConfig
    evaluation: EvalConfig
    steps: tuple[int, ...]
    cuts: tuple[Cut, ...]
    batches: int
    examples: int
    k: int
    seed: int
    memory: int = field(default=4096, metadata=NOT_IDENTITY)


def chosen_steps(settings: Settings, run: RunConfig) -> tuple[int, ...]:
    """Return the checkpoints asked for: named, or spread over all but the last, which has no drift.

    Raises InputError for a step that the run doesn't store.
    """
    if settings.steps is not None:
        return wanted_steps(settings.steps, run, "noise")
    return spread_out(run.stored_steps[:-1] or run.stored_steps, settings.count)


def refuse(settings: Settings, run: RunConfig, home: Path) -> None:
    """Raise InputError for too few batches, another optimizer than SGD, too little memory."""
    if settings.batches < FEWEST_BATCHES:
        raise InputError(
            f"noise.batches: expected {FEWEST_BATCHES} or more, got {settings.batches}; a "
            "covariance needs draws, take 200"
        )
    if run.recipe.optimizer != "sgd":
        raise InputError(
            "noise: expected runs trained with sgd, whose step is -lr times the gradient, got "
            f"{run.recipe.optimizer}; ask for noise in a study of sgd"
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
    """Plan one unit an evaluation set. Raises InputError for settings that don't fit the run."""
    refuse(settings, run, home)
    cuts = tuple(wanted_cuts(settings.cuts, run, home))
    steps = chosen_steps(settings, run)
    planned = []
    for examples in evaluation_sets(settings, run, home):
        count = min(settings.examples, evaluation.size(examples, home))
        spec = Spec(
            run=run,
            evaluation=examples,
            steps=steps,
            cuts=cuts,
            batches=settings.batches,
            examples=count,
            k=settings.k,
            seed=settings.seed,
            memory=settings.memory,
        )
        passes = GRADIENT_COST * run.recipe.batch_size + SOURCES * count * len(cuts)
        planned.append(
            Unit(
                kind="noise",
                unit_id=identity(("noise", spec)),
                label=f"noise {called(examples)}",
                spec=spec,
                run_id=run.run_id,
                needs=(run.run_id, examples.eval_id),
                cost=len(steps) * settings.batches * passes,
                companions=tuple(COMPANIONS),
            )
        )
    return planned


def drawn_gradients(spec: Spec, network: nn.Module, step: int, home: Path) -> Tensor:
    """Gradients of independent mini-batches as the run would draw them at a step: (B, P).

    Its batch size, labels, label smoothing and augmentation; statistics frozen.
    """
    run = spec.run
    dataset = data_registry.load(run.data, home)
    labels = dataset.train_labels
    labels = noisy_labels(labels, run.label_noise, dataset.task.classes, run.seeds.labels)
    device = torch.device(run.device)
    size = min(run.recipe.batch_size, len(labels))
    stream = generator("noise batches", spec.seed, step)

    def batch(draw: int, chosen: Tensor) -> tuple[Tensor, Tensor]:
        images = dataset.train_images[chosen]
        if run.recipe.augmentation:
            moved = generator("noise augmentation", spec.seed, step, draw)
            images = augment(images, run.recipe.augmentation, moved)
        return dataset.normalise(images.to(device)), labels[chosen].to(device)

    drawn = independent_batches(len(labels), size, spec.batches, stream)
    batches = (batch(draw, chosen) for draw, chosen in enumerate(drawn))
    return gradients(network, batches, run.recipe.label_smoothing)


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> dict[str, pa.Table]:
    """Draw the noise at every step: rows of TABLE as ``noise``, with COMPANIONS.

    Steps that a run which ended early did not store are left out.
    """
    images = evaluation.load(spec.evaluation, home).images
    places = subset("noise examples", len(images), spec.examples)
    stored = stored_steps(spec.run, home)
    steps = [step for step in spec.steps if step in stored]
    isotropic = Isotropic(generator("noise isotropic", spec.seed))
    found: dict[str, list[Row]] = {kind: [] for kind in ("noise", *COMPANIONS)}
    for done, step in enumerate(steps):
        later = next((each for each in stored if each > step), None)
        _at_step(spec, home, (step, later), (images, places), isotropic, found)
        progress((done + 1) / len(steps))
    schemas = {"noise": TABLE, **COMPANIONS}
    return {kind: pa.Table.from_pylist(found[kind], schemas[kind]) for kind in schemas}


def _at_step(
    spec: Spec,
    home: Path,
    when: tuple[int, int | None],
    examples: tuple[Tensor, Tensor],
    isotropic: Isotropic,
    found: dict[str, list[Row]],
) -> None:
    """Add the rows of one checkpoint to ``found``."""
    (step, later), (images, places) = when, examples
    run = spec.run
    device = torch.device(run.device)
    network = network_of(run, step, home)
    rate = learning_rates(run, home, run.recipe.steps)[min(step, run.recipe.steps - 1)]
    shared: Row = {
        "run_id": run.run_id,
        "eval_id": spec.evaluation.eval_id,
        "split": spec.evaluation.split,
        "step": step,
        "norm": own_norm(network),
    }
    settings = {"lr": rate, "augmentation": " ".join(sorted(run.recipe.augmentation)) or "none"}
    drawn = drawn_gradients(spec, network, step, home)
    whole = shared | {"cut": PARAMETERS, "depth": 0, "example": NO_EXAMPLE}
    _describe(whole, settings, {"sgd": drawn.numpy()}, isotropic, found)
    depths = [cut.depth for cut in spec.cuts]
    features, _ = pooled_features(network, depths, images.to(device), BATCH_SIZE, 1)
    moved = None
    if later is not None:
        after = network_of(run, later, home)
        moved, _ = pooled_features(after, depths, images[places].to(device), BATCH_SIZE, 1)
    for cut in spec.cuts:
        noises = _feature_noise(spec, network, cut, drawn, rate, images[places].to(device), step)
        drifts = None
        if moved is not None:
            drifts = (moved[cut.depth] - features[cut.depth][places]).numpy()
        first = len(found["noise_tests"])
        for number, example in enumerate(places.tolist()):
            place = shared | {"cut": cut.name, "depth": cut.depth, "example": example}
            own = {source: noise[:, number].numpy() for source, noise in noises.items()}
            if not _describe(place, settings, own, isotropic, found) or drifts is None:
                continue
            known = (drifts[number], drifts, features[cut.depth].numpy(), spec.k)
            found["noise_alignment"] += [
                place | {"later_step": later} | row
                for row in alignment_rows(own, *known, isotropic.stream)
            ]
        correct_for_examples(found["noise_tests"][first:])


def _feature_noise(
    spec: Spec,
    network: nn.Sequential,
    cut: Cut,
    drawn: Tensor,
    rate: float,
    images: Tensor,
    step: int,
) -> dict[str, Tensor]:
    """Features of examples under shallow steps of SGD and of both controls: (B, E, C) each."""
    shallow = network[: cut.depth].eval()
    sizes = tensor_sizes(shallow)
    total = sum(sizes)
    steps = -rate * drawn[:, :total]
    middle = steps.mean(dim=0)
    stream = generator("noise control", spec.seed, step, cut.depth)
    controls = {"global": [total], "tensorwise": sizes}
    found = {"sgd": moved_features(shallow, images, steps)}
    for source, groups in controls.items():
        noise = isotropic_steps(steps - middle, groups, stream)
        found[source] = moved_features(shallow, images, middle + noise)
    return found


def _describe(
    place: Row,
    settings: dict[str, Any],
    noises: dict[str, Draws],
    isotropic: Isotropic,
    found: dict[str, list[Row]],
) -> bool:
    """Add spectra and tests of each source at a place; False, and nothing, where none moves."""
    if not all(moves(rows) for rows in noises.values()):
        return False
    for source, rows in noises.items():
        found["noise"] += [place | row for row in spectrum_rows(rows, source, isotropic)]
        sgd = None if source == "sgd" else noises["sgd"]
        row = tested(rows, source, isotropic, sgd)
        found["noise_tests"].append(place | settings | row)
    return True
