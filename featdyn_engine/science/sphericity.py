"""Tests of sphericity: is the covariance of B rows (B, p) a multiple of the identity?

n = B - 1, S the sample covariance. All but the sign test presume Gaussian rows: on isotropic rows
with heavy tails (spherical t_5) they reject almost surely, so that their rejection alone shows no
anisotropy. The sign test looks at directions alone. Nor does that show that noise of *SGD* is
anisotropic: a network's Jacobian bends any noise (``noise.evidence``).
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from featdyn_engine.science.spectra import (
    Floats,
    draws_of,
    eigenvalues,
    numpy_stream,
    participation_ratio,
)

# The chi2 null of Mauchly's test holds while n is so many times p, at least.
ROWS_A_DIMENSION = 6
MONTE_CARLO = 2000
# Tracy-Widom law of order 1 as a shifted gamma law (Chiani 2014, arXiv 1209.3394, table I).
TW_SHAPE, TW_SCALE, TW_SHIFT = 46.446, 0.186054, 9.84801


class Sphericity(NamedTuple):
    """One test: its statistic and p-value (NaN where undefined), and the null it is referred to."""

    test: str
    statistic: float
    p_value: float
    null: str


def _degrees(p: int) -> float:
    return p * (p + 1) / 2 - 1


def mauchly_statistic(values: Floats, n: int) -> float:
    """-(n - (2p^2+p+2)/(6p)) ln[det S / (tr S/p)^p] of the p eigenvalues of S (Mauchly 1940)."""
    p = len(values)
    log_ratio = float(np.log(values / values.mean()).sum())
    return -(n - (2 * p * p + p + 2) / (6 * p)) * log_ratio


def mauchly_null(n: int, p: int, draws: int, stream: torch.Generator) -> Floats:
    """Draw Mauchly's statistic from its exact law for Gaussian isotropic rows: (draws,).

    Bartlett's decomposition: det is a product of p chi2 of n, n - 1, .. n - p + 1 degrees of
    freedom, and the trace is their sum and one more chi2 of p(p-1)/2. Needs p <= n.
    """
    draw = numpy_stream(stream)
    diagonal = draw.chisquare(np.arange(n, n - p, -1), size=(draws, p))
    below = draw.chisquare(p * (p - 1) / 2, size=draws) if p > 1 else np.zeros(draws)
    log_ratio = np.log(diagonal).sum(axis=1) - p * np.log((diagonal.sum(axis=1) + below) / p)
    null: Floats = -(n - (2 * p * p + p + 2) / (6 * p)) * log_ratio
    return null


def mauchly(
    rows: ArrayLike, stream: torch.Generator, draws: int = MONTE_CARLO, force_chi2: bool = False
) -> Sphericity:
    """Mauchly's likelihood-ratio test.

    Its chi2 null only for p <= n/6; beyond, its Monte Carlo null, and ``null`` says so; undefined
    (NaN) for p > n or a singular S. ``force_chi2`` keeps the chi2, to show what it does there.
    """
    from scipy.stats import chi2

    array = draws_of(rows)
    n, p = len(array) - 1, array.shape[1]
    values = eigenvalues(array)
    if p > n or not values.all():
        return Sphericity("mauchly", float("nan"), float("nan"), "undefined")
    statistic = mauchly_statistic(values, n)
    if force_chi2 or ROWS_A_DIMENSION * p <= n:
        return Sphericity("mauchly", statistic, float(chi2.sf(statistic, _degrees(p))), "chi2")
    beyond = int((mauchly_null(n, p, draws, stream) >= statistic).sum())
    return Sphericity("mauchly", statistic, (1 + beyond) / (1 + draws), "monte carlo")


def _john_u(rows: ArrayLike) -> tuple[float, int, int]:
    array = draws_of(rows)
    b, p = array.shape
    return p / participation_ratio(eigenvalues(array)) - 1, b - 1, p


def john(rows: ArrayLike) -> Sphericity:
    """John (1971): U = p/PR - 1 = (1/p) tr[(S/(tr S/p) - I)^2]; (n p/2) U to chi2."""
    from scipy.stats import chi2

    u, n, p = _john_u(rows)
    statistic = n * p * u / 2
    return Sphericity("john", statistic, float(chi2.sf(statistic, _degrees(p))), "chi2")


def ledoit_wolf(rows: ArrayLike) -> Sphericity:
    """Ledoit & Wolf (2002): (n U - p - 1)/2 to N(0, 1), one-sided; p may exceed n."""
    from scipy.stats import norm

    u, n, p = _john_u(rows)
    statistic = (n * u - p - 1) / 2
    return Sphericity("ledoit_wolf", statistic, float(norm.sf(statistic)), "normal")


def tracy_widom(rows: ArrayLike) -> Sphericity:
    """Largest eigenvalue (Johnstone 2001): one-sided; conservative at small p.

    With a = sqrt(n - 1/2), b = sqrt(p - 1/2): (n l1/(tr S/p) - (a+b)^2) /
    [(a+b)(1/a+1/b)^(1/3)]. Critical values 0.979 (95 %) and 2.023 (99 %).
    """
    from scipy.stats import gamma

    array = draws_of(rows)
    n, p = len(array) - 1, array.shape[1]
    values = eigenvalues(array)
    a, b = np.sqrt(n - 0.5), np.sqrt(p - 0.5)
    largest = n * values[0] / (values.sum() / p)
    statistic = float((largest - (a + b) ** 2) / ((a + b) * (1 / a + 1 / b) ** (1 / 3)))
    p_value = float(gamma.sf(statistic + TW_SHIFT, TW_SHAPE, scale=TW_SCALE))
    return Sphericity("tracy_widom", statistic, p_value, "tracy-widom")


def spatial_sign(rows: ArrayLike) -> Sphericity:
    """Directions of the differences of m = B // 2 disjoint pairs of rows: any radial law.

    Q = p mean_{i != j} (u_i.u_j)^2 - 1, z = Q / sqrt(4(p-1)/(m(m-1)(p+2))), and f + sqrt(2f) z to
    chi2 of f = (p-1)(p+2)/2, which meets the law of z at small p. Pairs are neighbours, so rows
    must be in no order that matters. The same for 1,000s of dimensions. Undefined for p = 1.
    Raises ValueError for fewer than 4 rows, or equal rows in a pair.
    """
    from scipy.stats import chi2

    array = draws_of(rows, fewest=4)
    m, p = len(array) // 2, array.shape[1]
    if p == 1:
        return Sphericity("spatial_sign", float("nan"), float("nan"), "undefined")
    differences = array[: 2 * m : 2].astype(np.float64) - array[1 : 2 * m : 2]
    lengths = np.linalg.norm(differences, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError("rows: expected rows of a pair to differ, got two equal ones")
    directions = differences / lengths
    squares = (directions @ directions.T) ** 2
    q = p * (squares.sum() - np.trace(squares)) / (m * (m - 1)) - 1
    z = float(q / np.sqrt(4 * (p - 1) / (m * (m - 1) * (p + 2))))
    f = (p - 1) * (p + 2) / 2
    return Sphericity("spatial_sign", z, float(chi2.sf(f + np.sqrt(2 * f) * z, f)), "chi2")


def all_tests(rows: ArrayLike, stream: torch.Generator) -> list[Sphericity]:
    """Return every test of this module on the same rows."""
    return [
        mauchly(rows, stream),
        john(rows),
        ledoit_wolf(rows),
        tracy_widom(rows),
        spatial_sign(rows),
    ]
