"""Where most of a cloud of points in the plane lies: contours of a kernel density estimate.

Gaussian kernels, bandwidth by Scott's rule (Scott 1992) on the cloud's own covariance. The
contour of mass q is the edge of the smallest region that holds q of the estimated density, a
highest-density region (Hyndman 1996). In a UMAP its size means nothing.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]
# Cells of the grid along each axis, and how far it reaches beyond the points, in bandwidths.
GRID, BEYOND = 48, 3.0
# With fewer points a density says more of its bandwidth than of them.
FEWEST = 10


def mass_level(density: NDArray[np.float64], mass: float) -> float:
    """Density on the edge of the smallest set of equal cells that holds ``mass`` of the whole.

    density: any shape. mass: above 0, below 1. Raises ValueError for another one.
    """
    if not 0 < mass < 1:
        raise ValueError(f"mass: expected above 0 and below 1, got {mass}")
    falling = np.sort(density, axis=None)[::-1]
    held = np.cumsum(falling)
    return float(falling[np.searchsorted(held, mass * held[-1])])


def density_contours(points: Points, mass: float = 0.5) -> list[Points]:
    """Return the contour that holds ``mass`` of the density of points (N, 2): closed lines (M, 2).

    None for fewer than FEWEST points, or points on one line. Several where the cloud falls apart.
    """
    from contourpy import contour_generator
    from scipy.stats import gaussian_kde

    if len(points) < FEWEST or np.linalg.matrix_rank(points - points.mean(axis=0)) < 2:
        return []
    kernels = gaussian_kde(points.T.astype(float))
    reach = BEYOND * np.sqrt(np.diag(kernels.covariance))
    axes = np.linspace(points.min(axis=0) - reach, points.max(axis=0) + reach, GRID).T
    grid = np.stack([each.ravel() for each in np.meshgrid(*axes)])
    density = kernels(grid).reshape(GRID, GRID)
    x, y = axes
    lines = contour_generator(x=x, y=y, z=density).lines(mass_level(density, mass))
    return [np.asarray(line) for line in lines]
