"""Distances between two laws from their samples: MMD^2, sliced Wasserstein, a classifier.

All take pooled rows (R, D), the example of each row (R,) and groupings (G, R), and return one
value a grouping (``within_example.py``).
"""

import numpy as np
from scipy.spatial.distance import pdist, squareform

from featdyn_engine.science.within_example import Floats, Groupings, Integers

FOLDS = 5
# Lower limits are one-sided: that is all a bound from below needs.
CONFIDENCE = 0.95


def median_distance(pooled: Floats, examples: Integers) -> float:
    """Median distance between pooled rows (R, D) of different examples: the median heuristic.

    Gretton et al., Journal of Machine Learning Research 13 (2012), section 8. Two rows of one
    example are left out, as everywhere in ``mmd2``.
    """
    apart = pdist(pooled)
    different = pdist(examples[:, None]) > 0
    return float(np.median(apart[different]))


def gaussian_kernel(pooled: Floats, width: float) -> Floats:
    """Return exp(-||a - b||^2 / (2 width^2)) for all pairs of pooled rows, (R, R), 0 to 1.

    Raises ValueError for a width that is not positive.
    """
    if not width > 0:
        raise ValueError(f"width: expected a positive number, got {width}")
    kernel: Floats = np.exp(-squareform(pdist(pooled, "sqeuclidean")) / (2 * width**2))
    return kernel


def mmd2(kernel: Floats, examples: Integers, groupings: Groupings) -> Floats:
    """Return the unbiased squared maximum mean discrepancy of each grouping (G,); may be negative.

    kernel: (R, R). The mean over pairs of different *examples* within the first law, plus that
    within the second, minus twice that across. Leaving out the rows of one example across the
    laws too, as x_i and y_i are not independent, keeps it unbiased on pairs (the U-statistic of
    Gretton et al. 2012, equation 4); for unpaired rows it is their equation 3.
    """
    allowed = (examples[:, None] != examples[None, :]).astype(np.float64)
    kept = kernel * allowed

    def mean(left: Floats, right: Floats) -> Floats:
        total = ((left @ kept) * right).sum(axis=1)
        result: Floats = total / ((left @ allowed) * right).sum(axis=1)
        return result

    first = groupings.astype(np.float64)
    second = 1 - first
    return mean(first, first) + mean(second, second) - 2 * mean(first, second)


def sliced_wasserstein(pooled: Floats, groupings: Groupings, projections: int, seed: int) -> Floats:
    """Return the sliced 2-Wasserstein distance of each grouping (G,), in the unit of the rows.

    Root mean square, over ``projections`` random directions, of the 2-Wasserstein distance of the
    rows along the direction (Bonneel et al. 2015), by POT; the same directions for all groupings.
    """
    import ot

    directions = ot.sliced.get_random_projections(pooled.shape[1], projections, seed)
    return np.array(
        [
            ot.sliced_wasserstein_distance(pooled[first], pooled[~first], projections=directions)
            for first in groupings
        ]
    )


def classifier_scores(
    pooled: Floats, examples: Integers, groupings: Groupings, seed: int
) -> Floats:
    """Share of each example's rows that a held-out classifier gives the right law: (G, N), 0 to 1.

    Logistic regression (scikit-learn's, its L2 penalty) on standardised rows, five folds. Folds
    are of examples: with a row of an example in training, its other one would be too easy. N
    counts the different examples, in order. The laws must have as many rows each: else a
    classifier that names the larger one is right more often than not, and its scores show nothing.

    Raises ValueError for laws of unequal size.
    """
    if (2 * groupings.sum(axis=1) != groupings.shape[1]).any():
        raise ValueError(
            f"groupings: expected half of {groupings.shape[1]} rows in each law, got "
            f"{groupings.sum(axis=1).tolist()[:3]}"
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    spread = pooled.std(axis=0)
    rows = (pooled - pooled.mean(axis=0)) / np.where(spread > 0, spread, 1)
    _, number = np.unique(examples, return_inverse=True)
    rows_of = np.bincount(number)
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    scores = []
    for first in groupings:
        told = cross_val_predict(
            LogisticRegression(max_iter=1000), rows, first, groups=examples, cv=folds
        )
        scores.append(np.bincount(number, weights=told == first) / rows_of)
    return np.array(scores)


def accuracy_low(scores: Floats) -> float:
    """Lower 95 % limit, one-sided, of the mean of the scores of N independent examples, 0 to 1.

    Clopper-Pearson with N trials and as many successes as the scores sum to, rounded down: the two
    rows of an example are no two trials. Scores between 0 and 1 vary less than successes with the
    same mean, so the limit is on the safe side. That folds share training rows is left out.
    """
    from scipy.stats import binomtest

    successes = int(np.floor(scores.sum() + 1e-9))
    test = binomtest(successes, len(scores), alternative="greater")
    return float(test.proportion_ci(confidence_level=CONFIDENCE, method="exact").low)
