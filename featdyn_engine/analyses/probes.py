"""Probes: how well a linear read-out of each checkpoint's features does, at each cut."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from annotated_types import Ge
from torch import Tensor

from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Cuts,
    Evaluations,
    called,
    evaluation_sets,
    wanted_cuts,
)
from featdyn_engine.analyses.networks import network_of, own_norm, stored_steps
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.domain import STRICT, Count, Cut, EvalConfig, InputError, RunConfig, Unit
from featdyn_engine.identity import identity
from featdyn_engine.randomness import subset
from featdyn_engine.science.consistency import chance
from featdyn_engine.science.features import pooled_features
from featdyn_engine.science.intervals import wilson
from featdyn_engine.science.probes import probe

TABLE = pa.schema(
    [
        ("run_id", pa.string()),
        ("eval_id", pa.string()),
        ("split", pa.string()),
        ("cut", pa.string()),
        ("depth", pa.int32()),
        ("step", pa.int64()),
        ("norm", pa.string()),
        ("fit_labels", pa.string()),
        ("pool", pa.int32()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("accuracy", pa.float64()),
        ("accuracy_low", pa.float64()),
        ("accuracy_high", pa.float64()),
        ("chance", pa.float64()),
        ("network_accuracy", pa.float64()),
        ("fit_n", pa.int64()),
        ("fit_accuracy", pa.float64()),
        ("strength", pa.float64()),
    ]
)
# A fit costs about as much as so many passes of one image: measured, 64 features, ResNet-20.
FIT_COST = 100.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: cuts, evaluation sets, and what the probes are fitted on.

    ``fit_on`` training examples, a fixed random subset, or all where there are fewer; with their
    true labels, or with those that the run was trained on. ``pool``: feature maps are means over
    a grid of so many places a side.
    """

    __pydantic_config__: ClassVar = STRICT
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    fit_on: Annotated[int, Ge(2)] = 1000
    fit_labels: Literal["true", "trained_on"] = "true"
    pool: Count = 1
    batch_size: Count = 250


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one run on one evaluation set, at all cuts asked for."""

    run: RunConfig
    evaluation: EvalConfig
    cuts: tuple[Cut, ...]
    fit_on: int
    fit_labels: Literal["true", "trained_on"]
    pool: int
    batch_size: int


def fitted_on(run: RunConfig, count: int, labels: str, home: Path) -> tuple[Tensor, Tensor]:
    """Return the training images that probes are fitted on, float32 normalised, and their labels.

    The same ones for every run on the same training set.
    """
    dataset = data_registry.load(run.data, home)
    known = dataset.train_labels
    if labels == "trained_on":
        known = noisy_labels(known, run.label_noise, dataset.task.classes, run.seeds.labels)
    chosen = subset("probe examples", len(known), count)
    return dataset.normalise(dataset.train_images[chosen]), known[chosen]


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit an evaluation set.

    Raises InputError for a cut the network doesn't have, the training split as a set to score on,
    and examples to fit on that are all of one class.
    """
    cuts = tuple(wanted_cuts(settings.cuts, run, home))
    _, labels = fitted_on(run, settings.fit_on, settings.fit_labels, home)
    if len(labels.unique()) < 2:
        raise InputError(
            "probes.fit_on: expected training examples of two classes or more, got one class "
            f"among {len(labels)}; raise fit_on"
        )
    planned = []
    for examples in evaluation_sets(settings, run, home):
        if examples.split == "train" and examples.source.name == run.data.name:
            raise InputError(
                "probes.evaluations: expected sets that probes are not fitted on, got the train "
                "split; take the test split, corrupted images or other data"
            )
        spec = Spec(
            run=run,
            evaluation=examples,
            cuts=cuts,
            fit_on=settings.fit_on,
            fit_labels=settings.fit_labels,
            pool=settings.pool,
            batch_size=settings.batch_size,
        )
        images = len(labels) + evaluation.size(examples, home)
        planned.append(
            Unit(
                kind="probes",
                unit_id=identity(("probes", spec)),
                label=f"probes {called(examples)}",
                spec=spec,
                run_id=run.run_id,
                needs=(run.run_id, examples.eval_id),
                cost=(images + FIT_COST * len(cuts)) * len(run.stored_steps),
            )
        )
    return planned


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> pa.Table:
    """Fit and score a probe at every cut of every checkpoint of the run: rows of TABLE."""
    device = torch.device(spec.run.device)
    examples = evaluation.load(spec.evaluation, home)
    images = examples.images.to(device)
    fit_images, fit_labels = fitted_on(spec.run, spec.fit_on, spec.fit_labels, home)
    fit_images = fit_images.to(device)
    labels = examples.labels.numpy()
    classes = len(examples.class_names)
    label_shares = _shares(labels, classes)
    depths = [cut.depth for cut in spec.cuts]
    steps = stored_steps(spec.run, home)
    rows = []
    for done, step in enumerate(steps):
        network = network_of(spec.run, step, home)
        norm = own_norm(network)
        passes = (spec.batch_size, spec.pool)
        fit_features, _ = pooled_features(network, depths, fit_images, *passes)
        features, own = pooled_features(network, depths, images, *passes)
        for d, cut in enumerate(spec.cuts):
            known = fit_features[cut.depth].numpy()
            found = probe(known, fit_labels.numpy(), [features[cut.depth].numpy(), known])
            predicted, fitted = found.predicted
            correct = int((predicted == labels).sum())
            low, high = wilson(correct, len(labels))
            rows.append(
                {
                    "run_id": spec.run.run_id,
                    "eval_id": spec.evaluation.eval_id,
                    "split": spec.evaluation.split,
                    "cut": cut.name,
                    "depth": cut.depth,
                    "step": step,
                    "norm": norm,
                    "fit_labels": spec.fit_labels,
                    "pool": spec.pool,
                    "n": len(labels),
                    "correct": correct,
                    "accuracy": correct / len(labels),
                    "accuracy_low": float(low),
                    "accuracy_high": float(high),
                    "chance": float(chance(label_shares, _shares(predicted, classes))),
                    "network_accuracy": float((own.numpy() == labels).mean()),
                    "fit_n": len(fit_labels),
                    "fit_accuracy": float((fitted == fit_labels.numpy()).mean()),
                    "strength": found.strength,
                }
            )
            progress((done + (d + 1) / len(spec.cuts)) / len(steps))
    return pa.Table.from_pylist(rows, TABLE)


def _shares(classes_of: np.ndarray, classes: int) -> Tensor:
    """Share of each class among N examples: float64 (K,)."""
    counts = np.bincount(classes_of, minlength=classes)
    return torch.from_numpy(counts / len(classes_of))
