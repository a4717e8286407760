"""Slow oracles, written from the definitions alone: they share no code with what they check."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def block_of(key: str) -> str:
    """The block that a tensor of a state dict belongs to."""
    return key.split(".")[0]


def hybrid_state(
    shallow: dict[str, Tensor], deep: dict[str, Tensor], depth: int
) -> dict[str, Tensor]:
    """Each tensor from exactly one parent: the first ``depth`` blocks from ``shallow``."""
    assert list(shallow) == list(deep)
    order = list(dict.fromkeys(block_of(key) for key in deep))
    return {
        key: (shallow if order.index(block_of(key)) < depth else deep)[key].clone() for key in deep
    }


@torch.no_grad()
def naive_logits(
    states: Sequence[dict[str, Tensor]],
    depth: int,
    images: Tensor,
    fresh: Callable[[], nn.Module],
) -> Tensor:
    """Logits (T, T, N, K) of every cell: hybrid state dict, fresh network, plain forward."""
    rows = []
    for shallow in states:
        cells = []
        for deep in states:
            network = fresh()
            network.load_state_dict(hybrid_state(shallow, deep, depth))
            cells.append(network.eval()(images))
        rows.append(torch.stack(cells))
    return torch.stack(rows)


def naive_scores(logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Scores of every cell from logits (T, T, N, K), example by example, in double precision."""
    values = logits.double().numpy()
    size, _, n, classes = values.shape
    scores = {
        "correct": np.zeros((size, size), dtype=np.int64),
        "loss": np.zeros((size, size)),
        "margin": np.zeros((size, size)),
        "agreement": np.zeros((size, size)),
        "predicted": np.zeros((size, size, classes), dtype=np.int64),
    }
    for s in range(size):
        for t in range(size):
            for i in range(n):
                cell, label = values[s, t, i], int(labels[i])
                guess = int(np.argmax(cell))
                others = [cell[k] for k in range(classes) if k != label]
                scores["correct"][s, t] += guess == label
                scores["predicted"][s, t, guess] += 1
                scores["loss"][s, t] -= math.log(np.exp(cell[label]) / np.exp(cell).sum()) / n
                scores["margin"][s, t] += (cell[label] - max(others)) / n
                scores["agreement"][s, t] += (guess == int(np.argmax(values[t, t, i]))) / n
    return scores


def naive_chance(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """Accuracy averaged over every pairing of a prediction with a label."""
    hits = sum(label == guess for label in labels for guess in predictions)
    return hits / (len(labels) * len(predictions))


def naive_retention(
    correct: Sequence[Sequence[int]], n: int, chance: Sequence[Sequence[float]]
) -> list[list[float | None]]:
    """(A(s,t) - c(s,t)) / (A(t,t) - c(t,t)); None where the latter is under 9 standard errors."""
    result: list[list[float | None]] = []
    for s in range(len(correct)):
        row: list[float | None] = []
        for t in range(len(correct)):
            own = correct[t][t] / n - chance[t][t]
            share = (correct[t][t] + 1) / (n + 2)
            error = math.sqrt(share * (1 - share) / n)
            kept = own >= 9 * error
            row.append((correct[s][t] / n - chance[s][t]) / own if kept else None)
        result.append(row)
    return result
