"""Rows of the views ``splices`` and ``predictions``: one a cell of a cube."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Cut, EvalConfig, Norm, RunConfig
from featdyn_engine.science import consistency
from featdyn_engine.science.cube import SpliceCube

_NAMES = [
    ("run_id", pa.string()),
    ("shallow_run_id", pa.string()),
    ("control", pa.string()),
    ("replicate", pa.int32()),
    ("eval_id", pa.string()),
    ("cut", pa.string()),
    ("depth", pa.int32()),
    ("shallow_step", pa.int64()),
    ("deep_step", pa.int64()),
    ("norm", pa.string()),
    ("dtype", pa.string()),
    ("batch_size", pa.int32()),
]
TABLE = pa.schema(
    [
        *_NAMES,
        ("split", pa.string()),
        ("corruption", pa.string()),
        ("severity", pa.int32()),
        ("target_half_width", pa.float64()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
        ("margin", pa.float64()),
        ("agreement", pa.float64()),
        ("chance", pa.float64()),
        ("retention", pa.float64()),
        ("half_width", pa.float64()),
        ("dtype_agreement", pa.float64()),
    ]
)
PREDICTIONS = pa.schema([*_NAMES, ("n", pa.int64()), ("predicted", pa.list_(pa.uint8()))])
# What one byte can name.
MOST_CLASSES = 256


def companions(run: RunConfig, home: Path) -> tuple[str, ...]:
    """Kinds of parts beside the cells: ``predictions``, where a byte can name each class."""
    classes = data_registry.load(run.data, home).task.classes
    return ("predictions",) if classes <= MOST_CLASSES else ()


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the cells of a cube have in common: whose they are, and how they were computed."""

    run_id: str
    shallow_run_id: str
    evaluation: EvalConfig
    norm: Norm
    dtype: str
    batch_size: int
    control: str = "none"
    replicate: int = 0
    target_half_width: float = 0.0
    dtype_agreement: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """Accuracies estimated from some of the examples: both float64 (D, S, T)."""

    accuracy: Tensor
    half_width: Tensor


def tables(
    origin: Origin,
    cut: Cut,
    cube: SpliceCube,
    steps: tuple[Sequence[int], Sequence[int]],
    labels: Tensor,
    reference: Tensor,
    estimate: Estimate | None = None,
) -> dict[str, pa.Table]:
    """Return the rows of ``cube`` at ``cut``: ``splices``, and ``predictions`` where complete.

    steps: of the S shallow and the T deep parts. labels: int64 (N,). reference: what the networks
    t themselves predict under the cube's normalisation, (T, N): agreement and retention are
    relative to it. Without an ``estimate`` every example was evaluated. Pairs that were left out
    have no row.
    """
    place, size = cube.depths.index(cut.depth), len(labels)
    cube = cube.at(cut.depth)
    n, correct = cube.n[0].double(), cube.correct(labels)[0]
    accuracy = correct / n if estimate is None else estimate.accuracy[place]
    label_shares = torch.bincount(labels, minlength=cube.classes).double() / size
    chance = consistency.chance(label_shares, cube.predicted_shares()[0])
    own = torch.stack([torch.bincount(row.long(), minlength=cube.classes) for row in reference])
    own_chance = consistency.chance(label_shares, own.double() / size)
    own_correct = (reference == labels).sum(dim=1)
    retention = consistency.retention_under(accuracy - chance, own_correct, own_chance, size)
    present = (cube.n[0] > 0).nonzero()
    s, t = present.unbind(dim=1)
    rows = len(present)
    shared = {
        "run_id": origin.run_id,
        "shallow_run_id": origin.shallow_run_id,
        "control": origin.control,
        "replicate": origin.replicate,
        "eval_id": origin.evaluation.eval_id,
        "split": origin.evaluation.split,
        "corruption": origin.evaluation.corruption,
        "severity": origin.evaluation.severity,
        "cut": cut.name,
        "depth": cut.depth,
        "norm": origin.norm,
        "dtype": origin.dtype,
        "batch_size": origin.batch_size,
        "target_half_width": origin.target_half_width,
        "dtype_agreement": origin.dtype_agreement,
    }
    columns: dict[str, list[object]] = {key: [value] * rows for key, value in shared.items()}
    columns["shallow_step"] = [steps[0][i] for i in s.tolist()]
    columns["deep_step"] = [steps[1][i] for i in t.tolist()]
    values = {
        "n": cube.n[0],
        "correct": correct,
        "accuracy": accuracy,
        "loss": cube.loss[0],
        "margin": cube.margin[0],
        "agreement": cube.agreement(reference)[0],
        "chance": chance,
        "half_width": torch.zeros_like(n) if estimate is None else estimate.half_width[place],
    }
    columns |= {key: value[s, t].tolist() for key, value in values.items()}
    kept = retention[s, t].tolist()
    columns["retention"] = [None if value != value else value for value in kept]
    result = {"splices": pa.table({name: columns[name] for name in TABLE.names}, TABLE)}
    if estimate is None and cube.classes <= MOST_CLASSES:
        flat = cube.predicted[0][s, t].contiguous().numpy()
        offsets = pa.array(range(0, rows * size + 1, size), pa.int32())
        columns["predicted"] = pa.ListArray.from_arrays(offsets, pa.array(flat.reshape(-1)))
        names = PREDICTIONS.names
        result["predictions"] = pa.table({name: columns[name] for name in names}, PREDICTIONS)
    return result
