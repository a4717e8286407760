"""Splices: the shallow part of one checkpoint under the deep part of another.

Splice(s, t, d) = g_t o h_s with h_s = f[1:d](theta_s) and g_t = f[d+1:L](theta_t), after Ruan,
Gai & Zhang (arXiv 2509.20334), whose object is s < t ("forward"). BatchNorm mode ``inherit``:
every block brings its own weights *and* its own running statistics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class SpliceMatrix:
    """Scores of every pair of T checkpoints at one cut; row: shallow s, column: deep t.

    n: examples N. correct: int64 (T, T), 0 to N. loss: float64 (T, T), mean cross-entropy in
    nats. margin: float64 (T, T), mean of the true logit minus the largest other. agreement:
    float64 (T, T), share of examples with the prediction of network t itself, 0 to 1.
    predicted: int64 (T, T, K), how often each class was predicted.
    """

    n: int
    correct: Tensor
    loss: Tensor
    margin: Tensor
    agreement: Tensor
    predicted: Tensor


def compose(shallow: nn.Sequential, deep: nn.Sequential, depth: int) -> nn.Sequential:
    """Return g o h: the first ``depth`` blocks of ``shallow``, then the others of ``deep``.

    Depth 0 is ``deep`` itself, depth L is ``shallow``. Tensors are shared, not copied.
    Raises ValueError for networks of different length or a depth outside 0 .. L.
    """
    if len(shallow) != len(deep):
        raise ValueError(f"networks of {len(shallow)} and {len(deep)} blocks can't be spliced")
    if not 0 <= depth <= len(deep):
        raise ValueError(f"depth: expected 0 to {len(deep)}, got {depth}")
    return nn.Sequential(*list(shallow)[:depth], *list(deep)[depth:])


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the true logit minus the largest other. logits (N, K), labels (N,) to (N,)."""
    true = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return true.squeeze(1) - others.amax(dim=1)


@torch.inference_mode()
def splice_matrix(
    networks: Sequence[nn.Sequential],
    depth: int,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    progress: Callable[[float], None] = lambda share: None,
) -> SpliceMatrix:
    """Evaluate every pair of T networks at the cut behind block ``depth``.

    Shallow features are computed once per network and batch; T^2 deep parts run on them.
    Networks must be in evaluation mode. images: (N, C, H, W), normalised; labels: int64 (N,).
    ``progress`` hears the share done, 0 to 1. Sums are kept in float64.

    Raises ValueError for a depth outside 1 .. L - 1, a network or a
    block of one in training mode, networks of different length, or no images.
    """
    if not len(labels):
        raise ValueError("images: expected at least one image, got none")
    size = len(networks)
    if len({len(network) for network in networks}) != 1:
        raise ValueError("networks: expected the same number of blocks in each")
    if not 1 <= depth < len(networks[0]):
        raise ValueError(f"depth: expected 1 to {len(networks[0]) - 1}, got {depth}")
    if any(module.training for network in networks for module in network.modules()):
        raise ValueError("expected networks in evaluation mode: call .eval() first")
    shallow = [network[:depth] for network in networks]
    deep = [network[depth:] for network in networks]
    correct = torch.zeros(size, size, dtype=torch.int64)
    agreeing = torch.zeros(size, size, dtype=torch.int64)
    loss = torch.zeros(size, size, dtype=torch.float64)
    margin = torch.zeros(size, size, dtype=torch.float64)
    classes = deep[0](shallow[0](images[:1])).shape[1]
    predicted = torch.zeros(size, size, classes, dtype=torch.int64)
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    for done, (x, y) in enumerate(batches):
        features = [part(x) for part in shallow]
        for t in range(size):
            reference = deep[t](features[t]).argmax(dim=1)
            for s in range(size):
                logits = deep[t](features[s])
                prediction = logits.argmax(dim=1)
                correct[s, t] += (prediction == y).sum()
                agreeing[s, t] += (prediction == reference).sum()
                loss[s, t] += F.cross_entropy(logits.double(), y, reduction="sum")
                margin[s, t] += margins(logits, y).double().sum()
                predicted[s, t] += torch.bincount(prediction, minlength=classes)
            progress((done + (t + 1) / size) / len(batches))
    n = len(labels)
    return SpliceMatrix(n, correct, loss / n, margin / n, agreeing.double() / n, predicted)
