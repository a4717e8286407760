"""Spectra of noise: covariance eigenvalues, effective dimensions, what isotropic noise would show.

Rows are draws: (B, p), B draws of a vector of p numbers. Every effective dimension but PR_sign is
biased at B draws of many dimensions, so it is read beside its value for isotropic rows of the same
(B, p) (``isotropic_spectra``). ``values`` are eigenvalues, (k,), 0 or more, in any order. Arguments
may be NumPy arrays or CPU tensors.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
# Columns taken into double precision at a time: gradients of a network are wide.
COLUMNS = 2**16


class Slope(NamedTuple):
    """Slope of log eigenvalue over log rank, and the ranks (from 1) that it was fitted on."""

    slope: float
    first: int
    last: int


class SignDimension(NamedTuple):
    """PR_sign, its 95 % jackknife limits, and the standard error of its logarithm."""

    value: float
    low: float
    high: float
    log_error: float


def numpy_stream(stream: torch.Generator) -> np.random.Generator:
    """Return a NumPy generator seeded by the next number of ``stream``, for scipy's laws."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=stream)))


def draws_of(rows: ArrayLike, fewest: int = 2) -> NDArray[np.floating]:
    """Return rows as an array (B, p). Raises ValueError for other shapes or B < ``fewest``."""
    array = np.asarray(rows)
    if array.ndim != 2 or array.shape[0] < fewest or array.shape[1] < 1:
        raise ValueError(f"rows: expected (B, p), B at least {fewest}, got shape {array.shape}")
    return array


def centred_gram(rows: ArrayLike) -> Floats:
    """Inner products of the centred rows, float64 (B, B), summed over runs of columns."""
    array = draws_of(rows)
    total = np.zeros((len(array), len(array)))
    for start in range(0, array.shape[1], COLUMNS):
        part = array[:, start : start + COLUMNS].astype(np.float64)
        part -= part.mean(axis=0)
        total += part @ part.T
    return total


def eigenvalues(rows: ArrayLike) -> Floats:
    """Eigenvalues of the centred covariance of rows (B, p), divisor B - 1, from the largest.

    All p of them, or the B - 1 that can differ from 0 where p > B - 1; there from the Gram matrix
    (B, B), which has the same. Raises ValueError for fewer than two rows.
    """
    array = draws_of(rows)
    b, p = array.shape
    if p > b:
        product = centred_gram(array)
    else:
        centred = array.astype(np.float64) - array.mean(axis=0, dtype=np.float64)
        product = centred.T @ centred
    found: Floats = np.linalg.eigvalsh(product)[::-1][: min(b - 1, p)] / (b - 1)
    # What rounding leaves of a coordinate that never varies is 0.
    return np.where(found > found[0] * max(b, p) * np.finfo(float).eps, found, 0.0)


def participation_ratio(values: ArrayLike) -> float:
    """(sum l)^2 / sum l^2 of eigenvalues: 1 to their number; NaN where all are 0."""
    values = np.asarray(values, float)
    squares = float((values**2).sum())
    return float(values.sum() ** 2 / squares) if squares > 0 else float("nan")


def first_share(values: ArrayLike) -> float:
    """Share of the largest eigenvalue in their sum, 0 to 1; NaN where all are 0."""
    values = np.asarray(values, float)
    return float(values.max() / values.sum()) if values.any() else float("nan")


def components_for(values: ArrayLike, share: float = 0.9) -> int:
    """Fewest leading eigenvalues that hold ``share`` of their sum: 1 to their number."""
    running = np.cumsum(np.sort(np.asarray(values, float))[::-1])
    # The last sum is exactly the total, so that a share of 1 is found.
    return int(np.searchsorted(running, share * running[-1])) + 1


def effective_rank(values: ArrayLike) -> float:
    """Exponential of the entropy of the shares (Roy & Vetterli 2007): 1 to their number."""
    values = np.asarray(values, float)
    positive = values[values > 0]
    if not positive.size:
        return float("nan")
    shares = positive / positive.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def power_law_slope(values: ArrayLike, first: int = 1, last: int | None = None) -> Slope:
    """Least-squares slope of log l_k over log k for the ranks ``first`` to ``last``.

    ``last`` None: the first half of the positive eigenvalues (ours: the sample's smallest ones
    drop whatever the law). Raises ValueError for fewer than two ranks or eigenvalues of 0 there.
    """
    ordered = np.sort(np.asarray(values, float))[::-1]
    if last is None:
        last = max(int((ordered > 0).sum()) // 2, first + 1)
    if not 1 <= first < last <= len(ordered) or ordered[last - 1] <= 0:
        raise ValueError(
            f"ranks: expected two or more with positive eigenvalues, got {first} to {last}"
        )
    ranks = np.log(np.arange(first, last + 1))
    slope = np.polyfit(ranks, np.log(ordered[first - 1 : last]), 1)[0]
    return Slope(float(slope), first, last)


def marchenko_pastur_edges(variance: float, b: int, p: int) -> tuple[float, float]:
    """Edges between which isotropic eigenvalues lie as b, p grow: variance (1 -+ sqrt(p/n))^2.

    n = b - 1 (Marchenko & Pastur 1967). variance: of each coordinate, trace / p. Where p > n the
    lower edge is that of the n eigenvalues that are not 0. Raises ValueError for b < 2, p < 1.
    """
    if b < 2 or p < 1:
        raise ValueError(f"expected b of 2 or more and p of 1 or more, got {b} and {p}")
    root = np.sqrt(p / (b - 1))
    return float(variance * (1 - root) ** 2), float(variance * (1 + root) ** 2)


def isotropic_spectra(b: int, p: int, draws: int, stream: torch.Generator) -> Floats:
    """Spectra of ``draws`` samples of b isotropic Gaussian rows: (draws, min(b - 1, p)), trace 1.

    The centred rows' scatter is Wishart with n = b - 1 degrees of freedom, and shares its nonzero
    eigenvalues with a Wishart of n dimensions and p degrees of freedom: none of the b x p numbers
    need be drawn. Each spectrum falls from its largest value. Raises ValueError for b < 2, p < 1
    or no draws.
    """
    from scipy.stats import wishart

    if b < 2 or p < 1 or draws < 1:
        raise ValueError(f"expected b >= 2, p >= 1, draws >= 1, got {b}, {p}, {draws}")
    small, large = sorted((b - 1, p))
    law = wishart(df=large, scale=np.eye(small), seed=numpy_stream(stream))
    spectra = np.empty((draws, small))
    for row in range(draws):
        values = np.linalg.eigvalsh(np.reshape(law.rvs(), (small, small)))[::-1].clip(min=0)
        spectra[row] = values / values.sum()
    return spectra


def parallel_band(spectra: Floats, trace: float) -> tuple[Floats, Floats]:
    """95 % band at each rank of isotropic spectra (``isotropic_spectra``), at the trace observed.

    Parallel analysis (Horn 1965). The band holds at each rank, not at all of them together.
    """
    low, high = np.quantile(spectra, [0.025, 0.975], axis=0) * trace
    return low, high


def squared_cosines(rows: ArrayLike) -> Floats:
    """(u_i . u_j)^2 of the directions of the centred rows: (B, B), with zeros on the diagonal.

    Raises ValueError where a row equals the mean: it has no direction.
    """
    gram = centred_gram(rows)
    lengths = np.sqrt(np.diag(gram))
    if not lengths.all():
        raise ValueError("rows: expected rows that differ from their mean, got one that does not")
    squares: Floats = (gram / np.outer(lengths, lengths)) ** 2
    np.fill_diagonal(squares, 0)
    return squares


def log_sign_dimension(squares: Floats) -> tuple[float, Floats]:
    """Log PR_sign = -log mean_{i != j} (u_i.u_j)^2, and its values with one row left out, (B,).

    squares: those of ``squared_cosines``, (B, B). Raises ValueError for fewer than 4 rows.
    """
    b = len(squares)
    if b < 4:
        raise ValueError(f"rows: expected at least 4 draws, got {b}")
    total, each = squares.sum(), squares.sum(axis=1)
    left_out: Floats = -np.log((total - 2 * each) / ((b - 1) * (b - 2)))
    return float(-np.log(total / (b * (b - 1)))), left_out


def jackknife_error(left_out: ArrayLike) -> float:
    """Return the standard error from B estimates that each leave one draw out (Efron 1993)."""
    values = np.asarray(left_out, float)
    return float(np.sqrt((len(values) - 1) * values.var()))


def sign_dimension(rows: ArrayLike) -> SignDimension:
    """PR_sign = 1 / mean_{i != j} (u_i.u_j)^2, u the directions of the centred rows (B, p).

    It weighs directions alone, so neither heavy tails nor p > B bias it: p for isotropic rows.
    Centring bends it down where p is not small against (B - 1)^2, which it can't exceed. Limits:
    delete-one jackknife of its logarithm, t with B - 1 degrees of freedom, over draws. Raises
    ValueError for fewer than 4 rows, or a row equal to the mean.
    """
    from scipy.stats import t

    value, left_out = log_sign_dimension(squared_cosines(rows))
    error = jackknife_error(left_out)
    half = float(t.ppf(0.975, len(left_out) - 1)) * error
    low, middle, high = (float(np.exp(value + shift)) for shift in (-half, 0.0, half))
    return SignDimension(middle, low, high, error)
