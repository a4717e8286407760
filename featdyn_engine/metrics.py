"""Metrics of a training: how well a network does on a split, as rows of one table."""

from typing import Any

import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine.data.dataset import Dataset
from featdyn_engine.randomness import generator

METRICS = pa.schema(
    [
        ("run_id", pa.string()),
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("split", pa.string()),
        ("mode", pa.string()),
        ("labels", pa.string()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
        ("lr", pa.float64()),
    ]
)
EVALUATION_BATCH = 500
# What a row is of: run_id, step, epoch, split, mode, labels.
Place = tuple[str, int, float, str, str, str]


@torch.inference_mode()
def score(
    network: nn.Module, dataset: Dataset, images: Tensor, labels: Tensor
) -> tuple[int, float]:
    """Correct predictions and mean cross-entropy (nats) in evaluation mode, in float32.

    images: raw, uint8 (N, C, H, W); labels: int64 (N,).
    """
    network.eval()
    correct, loss = 0, 0.0
    batches = zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True)
    for x, y in batches:
        logits = network(dataset.normalise(x))
        correct += int((logits.argmax(dim=1) == y).sum())
        # In double precision, which MPS lacks.
        loss += float(F.cross_entropy(logits.cpu().double(), y.cpu(), reduction="sum"))
    return correct, loss / len(labels)


def monitored(size: int, most: int | None) -> Tensor:
    """Return which of ``size`` examples are scored at a checkpoint: int64 (n,).

    All of them in their order, or ``most`` fixed ones in the order drawn.
    """
    if most is None or most >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=generator("monitor", size))[:most]


def metrics_row(
    place: Place, n: int, correct: int, loss: float, lr: float | None
) -> dict[str, Any]:
    """Build a row of METRICS; loss: nats, lr: learning rate of the last update, if it is known."""
    values = (*place, n, correct, correct / n, loss, lr)
    return dict(zip(METRICS.names, values, strict=True))
