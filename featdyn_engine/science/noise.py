"""Noise of SGD at fixed weights, and the isotropic parameter noise that it is held against.

Network statistics are frozen (evaluation mode). A step is theta - eta d, d the gradient for plain
SGD (momentum and weight decay are no noise of the mini-batch, clipping is left out), for other
optimisers what ``steps`` makes of it. Features are channel means or a fixed orthogonal projection.
What shows anisotropy is the difference to the control (``evidence``), nothing else.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.func import functional_call

from featdyn_engine.science.execution import exact_arithmetic
from featdyn_engine.science.features import Summary, channel_means
from featdyn_engine.science.spectra import (
    jackknife_error,
    log_sign_dimension,
    squared_cosines,
)

Conclusion = Literal["anisotropic", "no anisotropy shown", "less anisotropic than the control"]


class Evidence(NamedTuple):
    """Log PR_sign of SGD noise and control, their difference, its 95 % limits and p-value."""

    log_sgd: float
    log_control: float
    difference: float
    low: float
    high: float
    p_value: float


class Verdict(NamedTuple):
    """What is concluded, and the evidence for it in one line."""

    conclusion: Conclusion
    reason: str


def independent_batches(
    total: int, batch_size: int, draws: int, stream: torch.Generator
) -> list[Tensor]:
    """Draw mini-batches independently, each without replacement: int64 (batch_size,) each.

    Not a partition of an epoch, whose batches are dependent. Raises ValueError for a batch_size
    outside 1 .. total, or fewer than 1 draw.
    """
    if not 1 <= batch_size <= total or draws < 1:
        raise ValueError(
            f"expected batch_size 1 to {total} and draws of 1 or more, got {batch_size}, {draws}"
        )
    return [torch.randperm(total, generator=stream)[:batch_size] for _ in range(draws)]


def gradients(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    label_smoothing: float = 0.0,
) -> Tensor:
    """Gradients of the mean cross-entropy of mini-batches (images, labels): float32 (B, P), CPU.

    Parameters lie flat in the order of ``network.parameters()``, so that those of the first blocks
    come first. The network's weights, statistics and gradients stay as they are.
    Raises ValueError for a network in training mode, or no batches.
    """
    if any(module.training for module in network.modules()):
        raise ValueError("expected a network in evaluation mode: call .eval() first")
    values = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    rows = []
    with exact_arithmetic(), torch.inference_mode(False), torch.enable_grad():
        for images, labels in batches:
            logits = functional_call(network, values, (images,))
            loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
            # A parameter that the loss does not see has a gradient of 0.
            parts = torch.autograd.grad(loss, list(values.values()), materialize_grads=True)
            rows.append(torch.cat([part.flatten().cpu() for part in parts]))
    if not rows:
        raise ValueError("batches: expected at least one, got none")
    return torch.stack(rows)


def tensor_sizes(network: nn.Module) -> list[int]:
    """Numbers in each parameter tensor, in their order in a flat gradient."""
    return [value.numel() for value in network.parameters()]


@torch.no_grad()
def moved_features(
    shallow: nn.Module, images: Tensor, steps: Tensor, summary: Summary = channel_means
) -> Tensor:
    """Summary of the features of theta + step, for each step: float32 (B, N, F), CPU.

    shallow: the blocks up to a cut, in evaluation mode; images: (N, ...) on its device; steps:
    (B, P), flat, P the number of shallow parameters. Raises ValueError for another P, or training
    mode.
    """
    if any(module.training for module in shallow.modules()):
        raise ValueError("expected a network in evaluation mode: call .eval() first")
    known = dict(shallow.named_parameters())
    sizes = [value.numel() for value in known.values()]
    if steps.ndim != 2 or steps.shape[1] != sum(sizes):
        raise ValueError(f"steps: expected (B, {sum(sizes)}), got {tuple(steps.shape)}")
    found = []
    with exact_arithmetic():
        for step in steps:
            parts = zip(known.items(), step.split(sizes), strict=True)
            moved = {name: value + part.view_as(value).to(value) for (name, value), part in parts}
            found.append(summary(functional_call(shallow, moved, (images,))).cpu())
    return torch.stack(found)


def isotropic_steps(noise: Tensor, sizes: Sequence[int], stream: torch.Generator) -> Tensor:
    """Draw isotropic steps of the norms of ``noise``, draw by draw: float32 (B, P).

    noise: (B, P), eta (g_b - mean g) of the shallow parameters; sizes: numbers of each group whose
    norm is kept, in order; ``[P]`` keeps the norm of the whole, ``tensor_sizes`` that of each
    tensor. Raises ValueError where the sizes don't add up to P.
    """
    if sum(sizes) != noise.shape[1]:
        raise ValueError(f"sizes: expected a sum of {noise.shape[1]}, got {sum(sizes)}")
    groups = []
    for part in noise.split(list(sizes), dim=1):
        drawn = torch.randn(part.shape, generator=stream)
        lengths = torch.linalg.vector_norm(part, dim=1, keepdim=True)
        groups.append(drawn * (lengths / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)))
    return torch.cat(groups, dim=1)


def evidence(sgd: ArrayLike, control: ArrayLike) -> Evidence:
    """Delta log PR_sign: noise of SGD minus its control, both (B, p), draw b of one norm in both.

    Negative: SGD moves in fewer directions than isotropic parameter noise through the same
    network. The interval is over draws: a delete-one jackknife that leaves draw b out of both, t
    with B - 1 degrees of freedom; ``p_value`` two-sided. Raises ValueError for unequal shapes.
    """
    from scipy.stats import t

    first, second = squared_cosines(sgd), squared_cosines(control)
    if first.shape != second.shape or np.shape(sgd) != np.shape(control):
        raise ValueError(f"expected one shape of both, got {np.shape(sgd)} and {np.shape(control)}")
    log_sgd, without = log_sign_dimension(first)
    log_control, control_without = log_sign_dimension(second)
    difference = log_sgd - log_control
    error = jackknife_error(without - control_without)
    degrees = len(without) - 1
    half = float(t.ppf(0.975, degrees)) * error
    # No error: p = 1 (or a single direction in both), where the two can't differ.
    p_value = float(2 * t.sf(abs(difference) / error, degrees)) if error > 0 else 1.0
    return Evidence(log_sgd, log_control, difference, difference - half, difference + half, p_value)


def verdict(found: Evidence) -> Verdict:
    """Conclude from the difference to the control alone, and name it.

    No test of sphericity enters: Gaussian ones reject heavy tails, and the sign test rejects what
    a Jacobian makes of any noise. ``no anisotropy shown`` is not shown isotropic.
    """
    numbers = (
        f"Delta log PR_sign = {found.difference:.3f} [{found.low:.3f}, {found.high:.3f}] to "
        "isotropic parameter noise of the same norms"
    )
    if found.high < 0:
        return Verdict("anisotropic", f"{numbers}: below 0, fewer directions than the control")
    if found.low > 0:
        return Verdict("less anisotropic than the control", f"{numbers}: above 0, more directions")
    return Verdict("no anisotropy shown", f"{numbers}: the interval holds 0")
