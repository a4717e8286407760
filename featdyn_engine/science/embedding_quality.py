"""How much of the original neighbourhoods a picture keeps: one checkpoint at a time.

Trustworthiness and continuity (Venna & Kaski 2001), overlap of the k nearest neighbours, and
whether the points that moved far in the picture are those whose features did.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits


class Quality(NamedTuple):
    """Trustworthiness, continuity, overlap of k nearest neighbours, each 0 to 1."""

    trustworthiness: float
    continuity: float
    neighbour_overlap: float


def chance_overlap(n: int, k: int) -> float:
    """Overlap of neighbours drawn at random: k / (N - 1)."""
    return k / (n - 1)


def neighbours(points: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Find the k nearest other points of each point, Euclidean: indices (N, k) of (N, F)."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
    return np.asarray(found.kneighbors(return_distance=False))


def neighbour_overlap(
    original: NDArray[np.floating], embedded: NDArray[np.floating], k: int
) -> float:
    """Mean share of the k nearest neighbours in one space that are so in the other, 0 to 1.

    original: (N, F); embedded: (N, 2); symmetric in both.
    """
    pairs = zip(neighbours(original, k), neighbours(embedded, k), strict=True)
    return float(np.mean([len(np.intersect1d(one, other)) / k for one, other in pairs]))


def quality(original: NDArray[np.floating], embedded: NDArray[np.floating], k: int) -> Quality:
    """Hold one checkpoint's picture against its features.

    original: (N, F); embedded: (N, 2), the same examples; k: at least 1, under N / 2. Continuity
    is trustworthiness with the spaces exchanged: neighbours of the original that the picture
    tears apart count. Raises ValueError for another number of points, or k of N / 2 and more.
    """
    from sklearn.manifold import trustworthiness

    if len(original) != len(embedded):
        raise ValueError(f"embedded: expected {len(original)} points, got {len(embedded)}")
    with threadpool_limits(1):
        return Quality(
            float(trustworthiness(original, embedded, n_neighbors=k)),
            float(trustworthiness(embedded, original, n_neighbors=k)),
            neighbour_overlap(original, embedded, k),
        )


def movement_correlation(original: NDArray[np.floating], embedded: NDArray[np.floating]) -> float:
    """Spearman's correlation, -1 to 1, of two displacements of the same examples, each (N,).

    NaN where one is not known, or the same for every example.
    """
    from scipy.stats import spearmanr

    for each in (original, embedded):
        if not np.isfinite(each).all() or np.ptp(each) == 0:
            return float("nan")
    return float(spearmanr(original, embedded).statistic)
