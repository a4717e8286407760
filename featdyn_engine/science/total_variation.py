"""Total variation between laws of (features, label): density estimates, a bound, what is needed.

    TV = 1/2 sum_y integral |pi_y p_y - pi'_y q_y|,   0 to 1

for densities p_y, q_y of the features given the label and label shares pi_y, pi'_y. For a loss in
[0, B] the risks of a deep part g obey R_Q(g) <= R_aug(g) + B TV(mu_Q, mu_aug): a bound over whole
laws, whose TV no sample of this size gives in many dimensions. What can be had are figures from
below: TV after a projection is at most TV, TV without labels too, and so is 2 x accuracy - 1 of
any classifier of the two laws.

The density estimate is ours. It is no bound for a given sample: smoothing lowers it and finite
samples raise it (two equal Gaussian laws, 500 points to fit and 500 to evaluate each: about 0.05,
0.09, 0.14 at q = 1, 2, 3). It has to be held against its permutation null.
"""

import numpy as np
from scipy.spatial.distance import cdist

from featdyn_engine.science.two_sample import accuracy_low
from featdyn_engine.science.within_example import Floats, Groupings, Integers

MOST_COMPONENTS = 3
# Under this share of the first component's spread, or of the features' size, a spread is rounding.
NO_SPREAD = 1e-6


def principal_coordinates(rows: Floats, to_fit: Groupings, q: int) -> Floats | None:
    """Return rows (R, D) projected to q principal components, (R, q), each of unit spread.

    The components and spreads are those of the rows where ``to_fit`` (R,) is true. None where
    these vary in fewer than q directions.
    """
    fitted = rows[to_fit]
    centre = fitted.mean(axis=0)
    _, lengths, directions = np.linalg.svd(fitted - centre, full_matrices=False)
    if len(lengths) < q or not lengths[q - 1] > NO_SPREAD * lengths[0]:
        return None
    spread = lengths[:q] / np.sqrt(len(fitted))
    result: Floats = (rows - centre) @ directions[:q].T / spread
    return result


def _half(coordinates: Floats, labels: Integers, to_fit: Groupings, groupings: Groupings) -> Floats:
    """Mean of |f - g| / (f + g) over the rows that were not fitted, f and g of those that were."""
    q = coordinates.shape[1]
    squares = cdist(coordinates[~to_fit], coordinates[to_fit], "sqeuclidean")
    same = labels[~to_fit][:, None] == labels[to_fit][None, :]
    # Scott's rule for the fitted rows of the label in one law, of which there are two.
    count = np.maximum(same.sum(axis=1) / 2, 1)
    exponents = squares / (2 * count ** (-2 / (q + 4)))[:, None]
    exponents = np.where(same, exponents, np.inf)
    # The ratio bears any factor a row: the nearest fitted row gets 1, so that nothing underflows.
    nearest = exponents.min(axis=1, keepdims=True)
    kernel = np.exp(np.where(np.isfinite(nearest), nearest, 0) - exponents)
    first = groupings[:, to_fit].astype(np.float64).T
    f = kernel @ (first / first.sum(axis=0))
    g = kernel @ ((1 - first) / (1 - first).sum(axis=0))
    ratio = np.divide(np.abs(f - g), f + g, out=np.zeros_like(f), where=f + g > 0)
    evaluated = groupings[:, ~to_fit].astype(np.float64).T
    of_first = (ratio * evaluated).sum(axis=0) / evaluated.sum(axis=0)
    of_second = (ratio * (1 - evaluated)).sum(axis=0) / (1 - evaluated).sum(axis=0)
    result: Floats = (of_first + of_second) / 2
    return result


def kde_total_variation(
    pooled: Floats,
    examples: Integers,
    labels: Integers,
    groupings: Groupings,
    q: int,
    in_first_half: Groupings,
) -> Floats | None:
    """Return the total variation by kernel densities of each grouping (G,), 0 to 1.

    pooled: (R, D). examples, labels: (R,); equal labels throughout give the TV of the features
    alone. groupings: (G, R). in_first_half: (R,), the same for all rows of an example.

    As TV = E |f - g| / (f + g) over the even mixture of both laws, Gaussian densities of one half
    of the examples are evaluated at the other half, the other way round, and averaged. Both laws
    have one bandwidth (Scott's, on principal components of unit spread): then smoothing can only
    lower TV. Labels that were not fitted count as no difference. None where the rows vary in fewer
    than q directions.

    Raises ValueError for q outside 1 .. 3, and for an example in both halves.
    """
    if not 1 <= q <= MOST_COMPONENTS:
        raise ValueError(f"q: expected 1 to {MOST_COMPONENTS} components, got {q}")
    if set(examples[in_first_half]) & set(examples[~in_first_half]):
        raise ValueError("in_first_half: expected whole examples, got one in both halves")
    found = []
    for to_fit in (in_first_half, ~in_first_half):
        coordinates = principal_coordinates(pooled, to_fit, q)
        if coordinates is None:
            return None
        found.append(_half(coordinates, labels, to_fit, groupings))
    result: Floats = np.mean(found, axis=0)
    return result


def total_variation_low(scores: Floats) -> float:
    """Lower 95 % limit of TV from a classifier's scores of N examples: max(0, 2 low - 1).

    Telling even parts of two laws apart with accuracy a shows TV >= 2 a - 1; ``low``
    is the lower limit of its accuracy (``accuracy_low``).
    """
    return max(0.0, 2 * accuracy_low(scores) - 1)


def total_variation_needed(risk: float, augmented_risk: float, most: float = 1.0) -> float:
    """Return (R_Q - R_aug) / B, the TV that the bound needs to hold; negative where R_Q is less.

    Raises ValueError for risks outside 0 .. B, B being ``most``, the largest loss.
    """
    for name, value in (("risk", risk), ("augmented_risk", augmented_risk)):
        if not 0 <= value <= most:
            raise ValueError(f"{name}: expected 0 to {most}, got {value}")
    return (risk - augmented_risk) / most
