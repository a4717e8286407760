"""Memory, forgetting, transferability and induction of a splice cube: our reading of these words.

Ruan, Gai & Zhang (arXiv 2509.20334) formalise them; their definitions are not public. These are
ours (docs/notation.md, "Memory"). All intervals are 95 % *over examples*, the networks held
fixed, and paired: both cells are scored on the same examples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor, nn

from featdyn_engine.science import tango
from featdyn_engine.science.cube import margins
from featdyn_engine.science.execution import exact_arithmetic, taps
from featdyn_engine.science.intervals import Z, mcnemar, wilson


class Estimates(NamedTuple):
    """Numbers of any one shape with their 95 % limits over examples; NaN where there is none."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Flips:
    """Examples that change sides from network t to the cell (s, t), rows s, columns t.

    right_to_wrong, wrong_to_right: int64 (T, T), of n examples; p: float64 (T, T), two-sided,
    that both are equally often right (McNemar 1947, exact).
    """

    right_to_wrong: Tensor
    wrong_to_right: Tensor
    p: NDArray[np.float64]
    n: int


@dataclass(frozen=True)
class ParticleMemory:
    """Of the ``held`` examples that g_t h_t has, int64 (T,), those ``kept`` under h_s, (T, T).

    share: kept / held (T, T) with Wilson's limits over the held examples; NaN for none held.
    """

    held: Tensor
    kept: Tensor
    share: Estimates


class Forgetting(NamedTuple):
    """Cells of which it can be said, s < t alone, and those that are forgotten: bool (T, T)."""

    told: NDArray[np.bool_]
    shown: NDArray[np.bool_]


def own(cells: Tensor) -> Tensor:
    """Return the cells (t, t) of cells (T, T, N): (T, N)."""
    return cells.diagonal().T


def flips(correct: Tensor) -> Flips:
    """Count the flips between each cell and the network of its deep part.

    correct: bool (T, T, N), rows s, columns t, whether g_t h_s is right on each example.
    """
    right = own(correct)
    lost = (right & ~correct).sum(dim=-1)
    gained = (~right & correct).sum(dim=-1)
    counts = torch.stack([gained, lost], dim=-1).flatten(0, 1)
    # An exact test takes a tenth of a millisecond, and cells share their counts.
    tables, place = counts.unique(dim=0, return_inverse=True)
    p = np.array([mcnemar(up, down) for up, down in tables.tolist()])
    return Flips(lost, gained, p[place.numpy()].reshape(tuple(lost.shape)), correct.shape[-1])


def accuracy_drop(found: Flips) -> Estimates:
    """A(t,t) - A(s,t) with Tango's paired limits (1998): all (T, T), -1 to 1."""
    lost, gained = found.right_to_wrong.numpy(), found.wrong_to_right.numpy()
    low, high = tango.limits(lost, gained, found.n, Z)
    return Estimates((lost - gained) / found.n, low, high)


def particle_memory(has: Tensor) -> ParticleMemory:
    """Count what is kept of the examples that a network has, cell by cell.

    has: bool (T, T, N), rows s, columns t: margin m_i(s,t) >= gamma. Wilson's limits are those of
    drawing other examples that network t has.
    """
    of_t = own(has)
    held, kept = of_t.sum(dim=-1), (has & of_t).sum(dim=-1)
    sizes = held.expand_as(kept).numpy()
    # Wilson's interval needs an example; what none has is blanked below.
    low, high = wilson(kept.numpy(), np.maximum(sizes, 1))
    share = kept.numpy() / np.maximum(sizes, 1)
    known = np.where(sizes > 0, 1.0, np.nan)
    return ParticleMemory(held, kept, Estimates(share * known, low * known, high * known))


@torch.inference_mode()
def cells_that_have(
    networks: Sequence[nn.Sequential],
    depth: int,
    images: Tensor,
    labels: Tensor,
    gamma: float,
    batch_size: int,
) -> Tensor:
    """Say which cells have which examples, m_i(s,t) >= gamma: bool (T, T, N), on the CPU.

    The margin is the true logit minus the largest other. networks: T, as for ``splice_cube``, of
    more than ``depth`` blocks, each with its own running statistics; images (N, C, H, W), labels
    int64 (N,), on the networks' device.
    """
    size = len(networks)
    has = torch.zeros(size, size, len(labels), dtype=torch.bool)
    behind = [network[depth:] for network in networks]
    with exact_arithmetic():
        for start in range(0, len(labels), batch_size):
            examples = slice(start, start + batch_size)
            truth = labels[examples]
            for s, network in enumerate(networks):
                held, logits = taps(network, images[examples], [depth])
                for t, deep in enumerate(behind):
                    found = logits if s == t else deep(held[depth])
                    has[s, t, examples] = (margins(found, truth) >= gamma).cpu()
    return has


def loss_bound(gamma: float, classes: int) -> float:
    """log(1 + (K - 1) e^-gamma), in nats: the most that cross-entropy is at a margin of gamma.

    An example whose margin is at least gamma >= 0 costs between 0 and this. Where all margins of
    two cells are, their mean losses differ by no more, and may differ by almost as much: particle
    memory gives empirical memory only for eps at or above it. Raises ValueError for gamma < 0 or
    K < 2.
    """
    if not 0 <= gamma < math.inf or classes < 2:
        raise ValueError(f"expected gamma of 0 or more and K of 2 or more, got {gamma}, {classes}")
    return math.log1p((classes - 1) * math.exp(-gamma))


def loss_difference(loss: Tensor) -> Tensor:
    """Return loss(s,t) - loss(t,t) of mean losses, float64 (T, T), in nats.

    Raises ValueError for a loss that is not finite: a comparison with NaN would say "forgotten".
    """
    if not bool(loss.isfinite().all()):
        raise ValueError(f"loss: expected finite numbers, got {int((~loss.isfinite()).sum())} not")
    return loss - loss.diagonal()


def forgetting(relative: Tensor, drop: Estimates, eps: float, high: float) -> Forgetting:
    """Say which forward cells are forgotten: network s was good, yet g_t no longer serves h_s.

    relative: float64 (T, T), (A(s,s) - c(s,s)) / (A(t,t) - c(t,t)), NaN where network t is too
    close to chance for that (``consistency.retention_under``). Good is a ratio of at least
    ``high``; A(s,t) < A(t,t) - eps is decided by the lower limit of the ``drop``, cell by cell.
    """
    ratio = relative.numpy()
    told = np.triu(~np.isnan(ratio), k=1)
    return Forgetting(told, told & (ratio >= high) & (drop.low > eps))


def transfer_gap(train: Estimates, other: Estimates) -> Estimates:
    """[A_P(t,t) - A_P(s,t)] - [A_Q(t,t) - A_Q(s,t)]: what s costs on P beyond what it costs on Q.

    train, other: ``accuracy_drop`` on examples of the training set P, and of another law Q; the
    two sets of examples are independent, so that their limits are combined by MOVER (Zou &
    Donner, Statistics in Medicine 27, 2008). Held to -2 to 2.
    """
    gap = train.value - other.value
    below = np.hypot(train.value - train.low, other.high - other.value)
    above = np.hypot(train.high - train.value, other.value - other.low)
    return Estimates(gap, np.maximum(gap - below, -2.0), np.minimum(gap + above, 2.0))


def example_memory(has: Tensor, weights: Tensor) -> Tensor:
    """Return how well each example is kept over pairs: float64 (N,), 0 to 1.

    Of the weight of the pairs (s, t) in which g_t h_t has the example, the share in which g_t h_s
    has it too; NaN for an example that no network of a weighted pair has. has: bool (T, T, N);
    weights: float64 (T, T), 0 or more, those of the score (``consistency.pair_weights``).
    """
    of_t = own(has).double()
    due = weights.sum(dim=0) @ of_t
    kept = torch.zeros_like(due)
    for t in range(len(weights)):
        kept += (weights[:, t] @ has[:, t].double()) * of_t[t]
    return torch.where(due > 0, kept / due, torch.nan)


def mean_over_examples(values: Tensor) -> tuple[float, float, float]:
    """Mean of one number an example, 0 to 1, with Student's limits; NaN for fewer than 2.

    values: float64 (N,), NaN where an example has none. The limits are held to 0 to 1.
    """
    known = values[~values.isnan()]
    if len(known) < 2:
        return math.nan, math.nan, math.nan
    mean = float(known.mean())
    half = float(stdtrit(len(known) - 1, 0.975) * known.std() / len(known) ** 0.5)
    return mean, max(mean - half, 0.0), min(mean + half, 1.0)
