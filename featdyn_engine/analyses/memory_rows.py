"""Rows of memory: one a cell with all that is said of it, one a cube with each example's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from featdyn_engine.analyses.rows import null
from featdyn_engine.science import memory
from featdyn_engine.science.consistency import (
    Pairs,
    chance,
    cumulative_learning_rate,
    pair_weights,
    retention_under,
)

_OF = [
    ("run_id", pa.string()),
    ("eval_id", pa.string()),
    ("split", pa.string()),
    ("cut", pa.string()),
    ("depth", pa.int32()),
    ("norm", pa.string()),
    ("dtype", pa.string()),
    ("gamma", pa.float64()),
]
TABLE = pa.schema(
    [
        *_OF,
        ("shallow_step", pa.int64()),
        ("deep_step", pa.int64()),
        ("eps", pa.float64()),
        ("loss_eps", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("accuracy", pa.float64()),
        ("own_accuracy", pa.float64()),
        ("earlier_accuracy", pa.float64()),
        ("lost", pa.float64()),
        ("lost_low", pa.float64()),
        ("lost_high", pa.float64()),
        ("right_to_wrong", pa.int64()),
        ("wrong_to_right", pa.int64()),
        ("p", pa.float64()),
        ("held", pa.int64()),
        ("kept", pa.int64()),
        ("share", pa.float64()),
        ("share_low", pa.float64()),
        ("share_high", pa.float64()),
        ("loss", pa.float64()),
        ("own_loss", pa.float64()),
        ("loss_difference", pa.float64()),
        ("loss_bound", pa.float64()),
        ("empirical", pa.bool_()),
        ("implied", pa.bool_()),
        ("forgotten", pa.bool_()),
        ("train_eval_id", pa.string()),
        ("gap", pa.float64()),
        ("gap_low", pa.float64()),
        ("gap_high", pa.float64()),
    ]
)
EXAMPLES = pa.schema(
    [
        *_OF,
        ("n", pa.int64()),
        ("checkpoints", pa.int32()),
        ("known", pa.int64()),
        ("memory", pa.float64()),
        ("memory_low", pa.float64()),
        ("memory_high", pa.float64()),
        ("of_examples", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is memory, and what counts as lost: the settings, as the rows repeat them."""

    gamma: float
    eps: float
    loss_eps: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What is known of the cells of a cube at T rising ``steps``, rows s, columns t.

    predicted: uint8 (T, T, N), classes of 0 to ``classes`` - 1; targets: int64 (N,), the labels.
    has: bool (T, T, N), which examples g_t h_s has at a margin of gamma. loss: float64 (T, T),
    nats. train: the drop of accuracy on the training set, or None.
    """

    steps: Sequence[int]
    classes: int
    predicted: Tensor
    targets: Tensor
    has: Tensor
    loss: Tensor
    train: memory.Estimates | None


def cell_rows(shared: Mapping[str, Any], cells: Cells, rule: Rule) -> pa.Table:
    """Return the T^2 rows of TABLE; ``shared``: run_id to dtype, and the training set's id."""
    size, n = len(cells.steps), len(cells.targets)
    steps = np.asarray(cells.steps)
    correct = cells.predicted == cells.targets
    accuracy = correct.double().mean(dim=-1)
    changed = memory.flips(correct)
    drop = memory.accuracy_drop(changed)
    particle = memory.particle_memory(cells.has)
    difference = memory.loss_difference(cells.loss).numpy()
    bound = memory.loss_bound(rule.gamma, cells.classes)
    forgetting = memory.forgetting(_relative(cells, correct), drop, rule.eps, rule.high)
    columns: dict[str, Any] = {
        **shared,
        **vars(rule),
        "shallow_step": steps[:, None],
        "deep_step": steps,
        "n": n,
        "accuracy": accuracy,
        "own_accuracy": accuracy.diagonal(),
        "earlier_accuracy": accuracy.diagonal()[:, None],
        "right_to_wrong": changed.right_to_wrong,
        "wrong_to_right": changed.wrong_to_right,
        "p": changed.p,
        "held": particle.held,
        "kept": particle.kept,
        "loss": cells.loss,
        "own_loss": cells.loss.diagonal(),
        "loss_difference": difference,
        "loss_bound": bound,
        "empirical": np.abs(difference) <= rule.loss_eps,
        # All margins of both cells are at least gamma: the bound then holds for the difference.
        "implied": (particle.kept.numpy() == n) & (bound <= rule.loss_eps),
        "forgotten": np.where(forgetting.told, forgetting.shown, np.array(None)),
        **_limits("lost", drop),
        **_limits("share", particle.share),
    }
    if cells.train is not None:
        columns |= _limits("gap", memory.transfer_gap(cells.train, drop))
    arrays = [
        # NaN becomes null: SQL would count it as a number.
        pa.array(
            np.broadcast_to(columns.get(field.name, np.nan), (size, size)).reshape(-1),
            field.type,
            from_pandas=True,
        )
        for field in TABLE
    ]
    return pa.Table.from_arrays(arrays, schema=TABLE)


def _relative(cells: Cells, correct: Tensor) -> Tensor:
    """Accuracy above chance of network s over that of network t: (T, T), NaN near chance."""
    n, k = len(cells.targets), cells.classes
    labels = torch.bincount(cells.targets, minlength=k).double() / n
    shares = [
        torch.bincount(row.long(), minlength=k).double() / n for row in memory.own(cells.predicted)
    ]
    own_chance = chance(labels, torch.stack(shares))
    own_correct = memory.own(correct).sum(dim=-1)
    above = own_correct.double() / n - own_chance
    return retention_under(above[:, None], own_correct, own_chance, n)


def _limits(name: str, found: memory.Estimates) -> dict[str, Any]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def example_row(shared: Mapping[str, Any], cells: Cells, rates: Sequence[float]) -> dict[str, Any]:
    """Return the row of EXAMPLES: the memory of each example over forward pairs, and its mean.

    ``rates``: of every update up to the last step. Pairs are weighed as those of the score, in
    cumulative learning rate; with fewer than 8
    checkpoints past the first 5 % of the updates there is no memory to tell.
    """
    total = cells.steps[-1]
    pairs = Pairs("all", total)
    weights = pair_weights(
        pairs,
        cells.steps,
        cumulative_learning_rate(torch.tensor(rates, dtype=torch.float64), cells.steps),
    )
    n = cells.has.shape[-1]
    row = {**shared, "n": n, "checkpoints": int(pairs.checkpoints(cells.steps).sum()), "known": 0}
    if weights is None:
        return row
    values = memory.example_memory(cells.has, weights)
    mean, low, high = map(null, memory.mean_over_examples(values))
    return row | {
        "known": int((~values.isnan()).sum()),
        "memory": mean,
        "memory_low": low,
        "memory_high": high,
        "of_examples": [null(value) for value in values.tolist()],
    }
