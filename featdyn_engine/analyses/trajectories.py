"""Trajectories: how each example's features move at a cut, and a picture of it in the plane."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import pyarrow as pa
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from featdyn_engine.analyses.asked import (
    TEST_SPLIT,
    Cuts,
    Evaluations,
    called,
    evaluation_sets,
    wanted_cuts,
)
from featdyn_engine.analyses.networks import own_norm, stored_networks
from featdyn_engine.analyses.pictured import (
    EXAMPLES,
    Followed,
    Making,
    contour_rows,
    example_rows,
    image_rows,
    quality_rows,
)
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
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
from featdyn_engine.randomness import subset
from featdyn_engine.science import embedding
from featdyn_engine.science.consistency import cumulative_learning_rate
from featdyn_engine.science.embedding import Floats, Method
from featdyn_engine.science.execution import exact_arithmetic

TABLE = EXAMPLES
# Of examples: with fewer, neighbourhoods are most of the set.
FEWEST = 20
# Work of a point of a picture in forward passes of one image of a ResNet-20, about: at 12 x 300
# points 13 ms each pooled and 20 ms aligned, on one slow core.
EMBEDDING_COST = {"aligned_umap": 3.0, "pooled_umap": 2.0, "pca": 0.1}
# The features of a cut, those of the PCA, and its working copy.
COPIES = 3
_PASSED_ON = ("n", "method", "n_neighbors", "min_dist", "seed", "batch_size", "memory")
# Of UMAP's kernels, at its first use in a home: 24 s of processor time on an old core, more where
# others use it too.
COMPILATION = "half a minute or more"
COMPANIONS = ("trajectory_quality", "trajectory_contours", "trajectory_images")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: cuts, evaluation sets, and how the picture is made.

    ``n`` examples of a set are followed, the same for every run. ``n_neighbors`` is also the k of
    the quality. ``memory`` bounds the features held, in MiB.
    """

    __pydantic_config__: ClassVar = STRICT
    cuts: Cuts = "all"
    evaluations: Evaluations = TEST_SPLIT
    n: Annotated[int, Ge(FEWEST)] = 300
    method: Method = "pooled_umap"
    n_neighbors: Annotated[int, Ge(2)] = 15
    min_dist: Annotated[float, Ge(0), Le(1)] = 0.1
    seed: Seed = 0
    batch_size: Count = 250
    memory: Annotated[int, Ge(16)] = 4096


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: one run on one evaluation set, at all cuts asked for."""

    run: RunConfig
    evaluation: EvalConfig
    cuts: tuple[Cut, ...]
    n: int
    method: Method
    n_neighbors: int
    min_dist: float
    seed: int
    batch_size: int
    memory: int = field(default=4096, metadata=NOT_IDENTITY)


def units(settings: Settings, run: RunConfig, home: Path) -> list[Unit]:
    """Plan one unit an evaluation set.

    Raises InputError for a cut the network doesn't have, more examples than a set holds, or as
    many neighbours as half of them.
    """
    cuts = tuple(wanted_cuts(settings.cuts, run, home))
    if settings.n_neighbors >= settings.n / 2:
        raise InputError(
            f"n_neighbors: expected fewer than half of n = {settings.n} examples, got "
            f"{settings.n_neighbors}; follow more examples or fewer neighbours"
        )
    planned = []
    for examples in evaluation_sets(settings, run, home):
        size = evaluation.size(examples, home)
        if settings.n > size:
            raise InputError(
                f"n: expected at most the {size} examples of the {called(examples)} set, got "
                f"{settings.n}; follow fewer"
            )
        asked = {name: getattr(settings, name) for name in _PASSED_ON}
        spec = Spec(run=run, evaluation=examples, cuts=cuts, **asked)
        points = settings.n * len(run.stored_steps)
        planned.append(
            Unit(
                kind="trajectories",
                unit_id=identity(("trajectories", spec)),
                label=f"trajectories {called(examples)}{_to_wait_for(settings.method, home)}",
                spec=spec,
                run_id=run.run_id,
                needs=(run.run_id, examples.eval_id),
                cost=points * len(cuts) * (1 + EMBEDDING_COST[settings.method]),
                companions=COMPANIONS,
            )
        )
    return planned


def _kernels(home: Path) -> Path:
    """Where numba keeps what UMAP compiles."""
    return home / "cache" / "numba"


def _to_wait_for(method: Method, home: Path) -> str:
    """Say in a label what the progress line waits for before it moves."""
    if method == "pca" or any(_kernels(home).rglob("*.nbc")):
        return ""
    return f", by UMAP (compiles first, {COMPILATION})"


def followed(size: int, n: int) -> Tensor:
    """Return which ``n`` of ``size`` examples are followed: int64 (n,), rising, always the same."""
    return subset("trajectory examples", size, n)


@torch.inference_mode()
def _predicted(networks: Sequence[nn.Sequential], images: Tensor, batch_size: int) -> Tensor:
    """Return the class that every network itself predicts: int64 (T, N), on the CPU."""
    with exact_arithmetic():
        return torch.stack(
            [
                torch.cat([network(each).argmax(dim=1).cpu() for each in images.split(batch_size)])
                for network in networks
            ]
        )


@torch.inference_mode()
def _features(
    networks: Sequence[nn.Sequential], cut: Cut, images: Tensor, batch_size: int, memory: int
) -> Tensor:
    """Return the features of every network behind a cut: float32 (T, N, F), on the CPU.

    Raises InputError where ``memory`` MiB can't hold them and the copies that the PCA makes.
    """
    size = networks[0][: cut.depth](images[:1]).numel()
    needed = COPIES * 4 * len(networks) * len(images) * size / 2**20
    if needed > memory:
        raise InputError(
            f"memory: expected {needed:,.0f} MiB for the features of {len(images)} examples at "
            f"{cut.name}, got {memory:,}; allow more, or follow fewer examples or deeper cuts"
        )
    found = torch.empty(len(networks), len(images), size)
    with exact_arithmetic():
        for t, network in enumerate(networks):
            batches = images.split(batch_size)
            found[t] = torch.cat([network[: cut.depth](each).flatten(1).cpu() for each in batches])
    return found


def _positions(run: RunConfig, steps: Sequence[int], home: Path) -> Tensor:
    rates = learning_rates(run, home, run.recipe.steps)
    return cumulative_learning_rate(torch.tensor(rates, dtype=torch.float64), steps)


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> dict[str, pa.Table]:
    """Follow the examples at every cut: rows of TABLE; of their quality as companions.

    Coordinates are given by the method asked for and by ``pca``. Raises InputError for features
    that ``memory`` can't hold.
    """
    # What UMAP compiles is kept in the home; numba reads this when it is first imported.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(_kernels(home).resolve()))
    examples = evaluation.load(spec.evaluation, home)
    chosen = followed(len(examples.labels), spec.n)
    images = examples.images[chosen].to(torch.device(spec.run.device))
    steps, networks = stored_networks(spec.run, home)
    making = Making(spec.method, spec.n_neighbors, spec.min_dist, spec.seed)
    of_run = {
        "run_id": spec.run.run_id,
        "eval_id": spec.evaluation.eval_id,
        "split": spec.evaluation.split,
        "norm": own_norm(networks[0]),
    }
    predicted = _predicted(networks, images, spec.batch_size)
    places, kept, around = [], [], []
    for done, cut in enumerate(spec.cuts):
        at_cut = Followed(
            shared=of_run | {"cut": cut.name, "depth": cut.depth},
            steps=steps,
            positions=_positions(spec.run, steps, home),
            examples=chosen,
            labels=examples.labels[chosen],
            predicted=predicted,
            features=_features(networks, cut, images, spec.batch_size, spec.memory),
        )
        pictures = _pictures(making, at_cut.features.numpy())
        places.append(example_rows(at_cut, pictures))
        kept.append(quality_rows(at_cut, making, pictures))
        around.append(contour_rows(at_cut, pictures))
        progress((done + 1) / len(spec.cuts))
    seen = data_registry.load(spec.run.data, home).displayed(examples.images[chosen])
    return {
        "trajectories": pa.concat_tables(places),
        "trajectory_quality": pa.concat_tables(kept),
        "trajectory_contours": pa.concat_tables(around),
        "trajectory_images": image_rows(spec.evaluation.eval_id, chosen, seen),
    }


def _pictures(making: Making, features: Floats) -> dict[str, Floats]:
    """Return coordinates (T, N, 2) by method: the one asked for, and the comparator."""
    reduced = embedding.pooled_pca(features, making.seed)
    embed = embedding.METHODS[making.method]
    return {
        making.method: embed(reduced, making.n_neighbors, making.min_dist, making.seed),
        "pca": embedding.first_two(reduced),
    }
