"""How far features move between checkpoints: relative displacement, and 1 - linear CKA.

With h_s(x) the features of checkpoint s at a cut, E the mean over examples:

- displacement(s, t) = E||h_s - h_t||^2 / E||h_t - E h_t||^2, in units of the spread of the
  features at t. It sees every change of a feature, a permutation of channels too.
- 1 - CKA(s, t), with CKA = <K_s, K_t> / (||K_s|| ||K_t||) of the centred Gram matrices K = X X'
  (linear CKA, Kornblith et al., arXiv 1905.00414). It sees only what a rotation, a shift or a
  scale of all features leaves standing, from 0 (the same geometry) to 1.

The first is this project's; every retention is drawn against both.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from featdyn_engine.science.execution import exact_arithmetic, feature_bytes, taps
from featdyn_engine.science.splice import MEMORY, Progress, check, depth_groups, silent

# Features are held in float32; those of the cut in hand a second time, and once in float64.
HELD = 4
FLOAT64_BYTES = 8
# A variance under this share of the mean square is what float32 leaves of none.
NO_SPREAD = 1e-12


def _wide(values: Tensor) -> Tensor:
    """Return float64 values, on the CPU where the device has none (MPS)."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def relative_displacement(products: Tensor, sums: Tensor, n: int) -> Tensor:
    """Return E||h_s - h_t||^2 / E||h_t - E h_t||^2 for every pair, float64 (T, T).

    products: sum over examples of <h_s, h_t>, (T, T), symmetric. sums: sum over examples of h_t,
    (T, F). n: examples. NaN in the columns t whose features are the same for every example.
    """
    squares = products.diagonal()
    spread = squares - sums.square().sum(dim=1) / n
    spread = spread.where(spread > NO_SPREAD * squares, torch.nan)
    apart = squares[:, None] + squares[None, :] - products - products.T
    return apart.clamp(min=0) / spread


def centred_gram(features: Tensor) -> Tensor:
    """Return the centred Gram matrix of features (N, ...), scaled to Frobenius norm 1: (N^2,).

    In float64; the products themselves are summed in the precision of the features. NaN where
    every example has the same features.
    """
    flat = features.flatten(1)
    centred = flat - flat.mean(dim=0)
    gram = _wide(centred @ centred.T)
    if not gram.trace() > NO_SPREAD * float(flat.square().sum()):
        return torch.full_like(gram, torch.nan).flatten()
    norm: Tensor = torch.linalg.vector_norm(gram)
    return (gram / norm).flatten()


def one_minus_cka(grams: Tensor) -> Tensor:
    """Return 1 - linear CKA of every pair, float64 (T, T), from T centred Gram matrices (T, N^2).

    NaN for pairs with a Gram matrix of NaN.
    """
    result = (1 - grams @ grams.T).clamp(0, 1)
    same = torch.eye(len(grams), dtype=torch.bool, device=grams.device)
    return result.where(~same | result.isnan(), 0)


def _checked(networks: Sequence[nn.Sequential], depths: Sequence[int], images: Tensor) -> None:
    check(networks, depths, images)
    if len(images) < 2:
        raise ValueError(f"images: expected at least two, got {len(images)}")


@torch.inference_mode()
def displacements(
    networks: Sequence[nn.Sequential],
    depths: Sequence[int],
    images: Tensor,
    batch_size: int,
    memory: int = MEMORY,
    progress: Progress = silent,
) -> Tensor:
    """Return the displacement of every ordered pair (s, t) at every cut: float64 (D, T, T).

    Features are those of T networks in evaluation mode under their own statistics. images:
    (N, C, H, W), normalised, on the networks' device. One pass over the mini-batches where the
    features of all networks at all cuts fit into ``memory`` bytes, otherwise one for each group
    of cuts that fits. Zero for s = t; NaN where the features at t are the same for every example.

    Raises ValueError for a depth outside 1 .. L - 1, a network in training mode, fewer than two
    images, or a mini-batch of one cut's features that ``memory`` can't hold.
    """
    _checked(networks, depths, images)
    batch_size = min(batch_size, len(images))
    each = feature_bytes(networks[0], images, depths)
    sizes = {depth: HELD * size * batch_size * len(networks) for depth, size in each.items()}
    products: dict[int, Tensor | float] = dict.fromkeys(depths, 0.0)
    sums: dict[int, Tensor | float] = dict.fromkeys(depths, 0.0)
    groups = depth_groups(sizes, memory)
    done = 0
    with exact_arithmetic():
        for group in groups:
            for batch in images.split(batch_size):
                held = [taps(network, batch, group)[0] for network in networks]
                for depth in group:
                    stacked = torch.stack([each[depth].flatten(1) for each in held])
                    features = _wide(stacked)
                    flat = features.flatten(1)
                    products[depth] = products[depth] + flat @ flat.T
                    sums[depth] = sums[depth] + features.sum(dim=1)
                done += len(batch)
                progress(done / (len(groups) * len(images)))
    rows = []
    for depth in depths:
        total, mean = products[depth], sums[depth]
        assert isinstance(total, Tensor)
        assert isinstance(mean, Tensor)
        # The two halves of a matrix product may differ in the last bit.
        total = (total + total.T) / 2
        rows.append(relative_displacement(total, mean, len(images)).cpu())
    return torch.stack(rows)


@torch.inference_mode()
def cka_distances(
    networks: Sequence[nn.Sequential],
    depths: Sequence[int],
    images: Tensor,
    batch_size: int,
    memory: int = MEMORY,
    progress: Progress = silent,
) -> Tensor:
    """Return 1 - linear CKA of every pair of networks at every cut: float64 (D, T, T).

    As ``displacements``; here all N images are held at once, as Gram matrices are N x N: one of
    each network for the cuts in hand. Time and memory grow with N^2.
    """
    _checked(networks, depths, images)
    n = len(images)
    each = feature_bytes(networks[0], images, depths)
    grams_size = FLOAT64_BYTES * len(networks) * n**2
    sizes = {depth: HELD * n * size + grams_size for depth, size in each.items()}
    groups = depth_groups(sizes, memory)
    found: dict[int, Tensor] = {}
    done = 0
    with exact_arithmetic():
        for group in groups:
            grams = {
                depth: torch.empty(len(networks), n**2, dtype=torch.float64) for depth in group
            }
            for t, network in enumerate(networks):
                held: dict[int, list[Tensor]] = {depth: [] for depth in group}
                for batch in images.split(batch_size):
                    for depth, features in taps(network, batch, group)[0].items():
                        held[depth].append(features)
                for depth in group:
                    grams[depth][t] = centred_gram(torch.cat(held.pop(depth)))
                done += 1
                progress(done / (len(groups) * len(networks)))
            for depth in group:
                found[depth] = one_minus_cka(grams.pop(depth))
    return torch.stack([found[depth] for depth in depths])
