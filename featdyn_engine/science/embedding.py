"""Pictures of features in the plane: one PCA of all checkpoints, then UMAP.

All checkpoints are reduced by *one* PCA, so that a place means the same at every step. Then either

- ``aligned_umap``: one UMAP a checkpoint, held together by the relation "same example"
  (AlignedUMAP, umap-learn), or
- ``pooled_umap``: one UMAP of the features of all checkpoints at once (McInnes et al.,
  arXiv 1802.03426), or
- ``pca``: the first two principal components, the comparator.

Distances and cluster sizes in a UMAP mean nothing; ``embedding_quality`` says how much of the
neighbourhoods is left. Everything is seeded and runs on one thread: the same call on the same
machine gives the same bits.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float32]
Method = Literal["aligned_umap", "pooled_umap", "pca"]
DIMENSIONS = 50
# scikit-learn and umap-learn take seeds of 32 bits.
SEEDS = 2**32


class Embedder(Protocol):
    """What makes a plane of reduced features (T, N, q): coordinates (T, N, 2)."""

    def __call__(self, reduced: Floats, n_neighbors: int, min_dist: float, seed: int) -> Floats:
        """Return the coordinates; the same for the same arguments."""


def pooled_pca(features: Floats, seed: int, dimensions: int = DIMENSIONS) -> Floats:
    """Reduce the features of all checkpoints by one PCA: float32 (T, N, q), largest variance first.

    features: (T, N, F). q: ``dimensions``, or fewer where F or T N is smaller. Raises ValueError
    for another shape.
    """
    from sklearn.decomposition import PCA

    if features.ndim != 3:
        raise ValueError(f"features: expected (T, N, F), got {features.shape}")
    checkpoints, examples, size = features.shape
    kept = min(dimensions, size, checkpoints * examples)
    with threadpool_limits(1):
        reduced: Floats = PCA(kept, random_state=seed % SEEDS).fit_transform(
            features.reshape(-1, size)
        )
    return np.asarray(reduced, np.float32).reshape(checkpoints, examples, kept)


def first_two(reduced: Floats) -> Floats:
    """Return the first two principal components: (T, N, 2) of (T, N, q), 0 where q is 1."""
    if reduced.shape[2] >= 2:
        return reduced[..., :2]
    return np.concatenate([reduced, np.zeros_like(reduced)], axis=2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to one thread, and umap-learn's warnings to itself.

    It warns at import that TensorFlow is missing, later of what a tiny set makes of its defaults;
    the quality beside a picture says what is left of it.
    """
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pooled_umap(reduced: Floats, n_neighbors: int, min_dist: float, seed: int) -> Floats:
    """Embed the features of all checkpoints by one UMAP: float32 (T, N, 2) of (T, N, q).

    n_neighbors: at least 2, under T N; min_dist: 0 to 1, how tight points may lie.
    """
    with _quiet():
        import numba
        from umap import UMAP

        numba.set_num_threads(1)
        mapper = UMAP(
            n_neighbors=n_neighbors, min_dist=min_dist, random_state=seed % SEEDS, n_jobs=1
        )
        found = mapper.fit_transform(reduced.reshape(-1, reduced.shape[2]))
    return np.asarray(found, np.float32).reshape(*reduced.shape[:2], 2)


def aligned_umap(reduced: Floats, n_neighbors: int, min_dist: float, seed: int) -> Floats:
    """Embed each checkpoint by a UMAP of its own, aligned by example: float32 (T, N, 2).

    reduced: (T, N, q), T of at least 2. n_neighbors: at least 2, under N.
    """
    same_example = {i: i for i in range(reduced.shape[1])}
    with _quiet():
        import numba
        from umap import AlignedUMAP

        numba.set_num_threads(1)
        mapper = AlignedUMAP(
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            random_state=seed % SEEDS,
            transform_seed=seed % SEEDS,
        )
        mapper.fit(list(reduced), relations=[same_example] * (len(reduced) - 1))
    return np.stack([np.asarray(each, np.float32) for each in mapper.embeddings_])


def pca(reduced: Floats, n_neighbors: int, min_dist: float, seed: int) -> Floats:  # noqa: ARG001
    """Return the first two components: the embedding that has no parameters."""
    return first_two(reduced)


METHODS: dict[Method, Embedder] = {
    "aligned_umap": aligned_umap,
    "pooled_umap": pooled_umap,
    "pca": pca,
}
