"""Controls of a splice: other features, or other shallow parameters, under the same deep part.

Each keeps the size of the true displacement, h_s - h_t or theta_s - theta_t, and changes what is
said to matter: whose displacement it is, its sign, its direction. Definitions are ours
(docs/notation.md). Random numbers are drawn on the CPU and moved: same stream, same numbers on
every device.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

# Kept beside parameters in a state dict, but estimated from data, not learned.
BATCH_NORM_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def partners(targets: Tensor, same_class: bool, stream: torch.Generator) -> Tensor:
    """Draw for each of N examples another one, uniformly among those of its class or of others.

    targets: integers (N,). same_class: draw among the other members of the same class; otherwise
    among all examples of all other classes. stream: a CPU generator. Returns int64 (N,), indices
    into ``targets``, never an example's own; one example may be the partner of several.

    Raises ValueError where a class has one member only (``same_class``), or where there are
    fewer than two classes (otherwise).
    """
    labels = targets.cpu()
    n = len(labels)
    classes, members, sizes = labels.unique(return_inverse=True, return_counts=True)
    if same_class and bool((sizes == 1).any()):
        alone = int(classes[sizes == 1][0])
        raise ValueError(
            f"targets: expected at least two examples of each class, got one of class {alone}; "
            "take more examples"
        )
    if not same_class and len(classes) < 2:
        raise ValueError(
            f"targets: expected examples of at least two classes, got {len(classes)}; "
            "take examples of more classes"
        )
    # Sorted by class, the candidates of an example are a run of places, seen as a circle: those
    # of its class from the one behind it, or those behind its class.
    order: Tensor = members.argsort(stable=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(n)
    size = sizes[members]
    first = (sizes.cumsum(0) - sizes)[members]
    count = size - 1 if same_class else n - size
    drawn = (torch.rand(n, generator=stream, dtype=torch.float64) * count).long()
    if same_class:
        places = first + (places - first + 1 + drawn) % size
    else:
        places = (first + size + drawn) % n
    return order[places].to(targets.device)


def _wide(features: Tensor) -> Tensor:
    # Norms of thousands of squares need more digits than bfloat16 has.
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _lengths(displacement: Tensor) -> Tensor:
    each = tuple(range(1, displacement.ndim))
    lengths: Tensor = torch.linalg.vector_norm(displacement, dim=each, keepdim=True)
    return lengths


def _rescaled(displacement: Tensor, lengths: Tensor) -> Tensor:
    norms = _lengths(displacement)
    # Divide first: the quotient of two lengths may overflow.
    directions = displacement / norms.where(norms > 0, 1)
    return directions * lengths


def other_example(h_s: Tensor, h_t: Tensor, partner_h_s: Tensor, partner_h_t: Tensor) -> Tensor:
    """Displace h_t(x) as another example x' was displaced, as far as x was.

    h_s, h_t: features (B, ...) of x at s and t; partner_h_s, partner_h_t: those of x', in the
    same rows (``partners``). Returns (B, ...): h_t(x) + e, with e = h_s(x') - h_t(x') rescaled
    for each example to ||h_s(x) - h_t(x)||. Where x' did not move there is no direction to
    take: e = 0.
    """
    base = _wide(h_t)
    lengths = _lengths(_wide(h_s) - base)
    moved = base + _rescaled(_wide(partner_h_s) - _wide(partner_h_t), lengths)
    return moved.to(h_t.dtype)


def mirror(h_s: Tensor, h_t: Tensor) -> Tensor:
    """Displace h_t the other way: 2 h_t - h_s. Features (B, ...) to (B, ...)."""
    return 2 * h_t - h_s


def random_features(h_s: Tensor, h_t: Tensor, stream: torch.Generator) -> Tensor:
    """Displace h_t as far as h_s, in a direction drawn uniformly from the sphere.

    h_s, h_t: features (B, ...); stream: a CPU generator. Returns (B, ...): h_t + e with
    ||e|| = ||h_s - h_t|| for each example. Behind a ReLU such features leave the support of the
    true ones (they turn negative), so that this is a cruder control than ``other_example``.
    """
    base = _wide(h_t)
    direction = torch.randn(h_t.shape, generator=stream).to(base)
    return (base + _rescaled(direction, _lengths(_wide(h_s) - base))).to(h_t.dtype)


def moved_isotropically(
    theta_t: Mapping[str, Tensor], theta_s: Mapping[str, Tensor], stream: torch.Generator
) -> dict[str, Tensor]:
    """Move each parameter of t as far as that of s is, in a direction drawn from the sphere.

    theta_t, theta_s: state dicts of one architecture; stream: a CPU generator. Returns a state
    dict, where each floating-point tensor is that of t plus an isotropic direction of norm
    ||theta_s - theta_t|| of this tensor. Those that did not move stay, and so do BatchNorm's
    running statistics, known by their names: they belong to the parameters that they were
    estimated for, so estimate them anew (``recalibrate``). New tensors; theta_t is left alone.

    Raises ValueError for state dicts with different names or shapes.
    """
    if {k: v.shape for k, v in theta_t.items()} != {k: v.shape for k, v in theta_s.items()}:
        raise ValueError(
            "theta_s: expected tensors of the names and shapes of theta_t, got others; take two "
            "checkpoints of one architecture"
        )
    moved = {}
    for name, tensor in theta_t.items():
        moved[name] = tensor.detach().clone()
        if name.endswith(BATCH_NORM_BUFFERS) or not tensor.is_floating_point():
            continue
        distance = torch.linalg.vector_norm(_wide(theta_s[name]) - _wide(tensor))
        if distance > 0:
            direction = torch.randn(tensor.shape, generator=stream).to(distance)
            direction *= distance / torch.linalg.vector_norm(direction)
            moved[name] = (_wide(moved[name]) + direction).to(tensor.dtype)
    return moved
