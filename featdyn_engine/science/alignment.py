"""Alignment of noise with drift: does the noise point where the features go?

Drift is the difference of the features of one example between two checkpoints, over steps that
the noise was not drawn from. A network's Jacobian alone aligns independent noise with it, so the
baseline is the same share for the control (``noise.isotropic_steps``); k/p is a straw man.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from featdyn_engine.science.spectra import Floats, draws_of, numpy_stream


class Baseline(NamedTuple):
    """Mean of an alignment under a law of directions, and its central 95 %."""

    mean: float
    low: float
    high: float


def leading_directions(rows: ArrayLike, k: int, centre: bool = True) -> Floats:
    """First k principal directions of rows (B, p), as orthonormal columns: float64 (p, k).

    ``centre``: of the rows about their mean; else about 0. Raises ValueError for k outside
    1 .. min(B, p).
    """
    array = draws_of(rows, fewest=1).astype(np.float64)
    if not 1 <= k <= min(array.shape):
        raise ValueError(f"k: expected 1 to {min(array.shape)}, got {k}")
    if centre:
        array = array - array.mean(axis=0)
    directions: Floats = np.linalg.svd(array, full_matrices=False)[2][:k].T
    return directions


def alignment(basis: Floats, drift: ArrayLike) -> float:
    """||U' d||^2 / ||d||^2, 0 to 1: the share of drift d (p,) in the span of U (p, k).

    NaN for a drift of 0.
    """
    moved = np.asarray(drift, float)
    square = float(moved @ moved)
    return float(((basis.T @ moved) ** 2).sum() / square) if square > 0 else float("nan")


def uniform_baseline(k: int, p: int) -> Baseline:
    """Alignment with a direction drawn uniformly: Beta(k/2, (p-k)/2), mean k/p; 1 for k = p.

    Raises ValueError for k outside 1 .. p.
    """
    from scipy.stats import beta

    if not 1 <= k <= p:
        raise ValueError(f"k: expected 1 to {p}, got {k}")
    if k == p:
        return Baseline(1.0, 1.0, 1.0)
    low, high = beta.ppf([0.025, 0.975], k / 2, (p - k) / 2)
    return Baseline(k / p, float(low), float(high))


def feature_baseline(
    basis: Floats, features: ArrayLike, draws: int, stream: torch.Generator
) -> Baseline:
    """Alignment with directions from N(0, Cov h), h the features of N examples (N, p).

    Sums of the centred features with independent normal weights have just this covariance.
    """
    rows = draws_of(features).astype(np.float64)
    rows = rows - rows.mean(axis=0)
    drawn = numpy_stream(stream).normal(size=(draws, len(rows))) @ rows
    shares = ((drawn @ basis) ** 2).sum(axis=1) / (drawn**2).sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return Baseline(float(shares.mean()), float(low), float(high))


def subspace_overlap(one: Floats, other: Floats) -> float:
    """||U' V||_F^2 / min(k, m), 0 to 1, of spans of U (p, k) and V (p, m)."""
    return float(((one.T @ other) ** 2).sum() / min(one.shape[1], other.shape[1]))


def random_overlap(k: int, m: int, p: int) -> float:
    """Mean of ``subspace_overlap`` for spans drawn uniformly: max(k, m)/p."""
    return max(k, m) / p
