"""All distances between two laws of features, each with its permutation null."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from featdyn_engine.science.total_variation import (
    MOST_COMPONENTS,
    NO_SPREAD,
    kde_total_variation,
    total_variation_low,
)
from featdyn_engine.science.two_sample import (
    classifier_scores,
    gaussian_kernel,
    median_distance,
    mmd2,
    sliced_wasserstein,
)
from featdyn_engine.science.within_example import (
    Floats,
    Groupings,
    Integers,
    Permuted,
    permuted,
)


@dataclass(frozen=True, kw_only=True)
class Laws:
    """Which pooled row is of which example, with which label, and on which side.

    examples, labels: (R,). groupings: (1 + permutations, R), the observed one first.
    """

    examples: Integers
    labels: Integers
    groupings: Groupings


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One distance: ``q`` components, 0 where nothing is projected; ``null`` None: undefined."""

    measure: str
    q: int
    labelled: bool
    permutations: int
    null: Permuted | None


def halves(examples: Integers) -> Groupings:
    """Every other example in order, (R,): the half that densities are fitted on first."""
    _, number = np.unique(examples, return_inverse=True)
    result: Groupings = number % 2 == 0
    return result


def distances(
    pooled: Floats, laws: Laws, classifier_permutations: int, projections: int, seed: int
) -> list[Measured]:
    """Measure the distance between the two laws of pooled rows (R, D) in every way.

    `tv_kde` at q = 1, 2, 3, of the laws of (features, label) and of the features alone; `mmd2`
    with the median distance as width; `sliced_wasserstein` in units of the root of the pooled
    rows' total variance; `c2st`, the accuracy of a held-out classifier; `tv_bound`, the TV that
    its lower 95 % limit shows. ``classifier_permutations`` of the groupings serve the last two.
    """
    values = dict(_values(pooled, laws, classifier_permutations, projections, seed))
    return [
        Measured(
            measure=measure,
            q=q,
            labelled=labelled,
            permutations=_permutations(measure, laws, classifier_permutations),
            null=None if found is None else permuted(found),
        )
        for (measure, q, labelled), found in values.items()
    ]


def _permutations(measure: str, laws: Laws, classifier_permutations: int) -> int:
    most = len(laws.groupings) - 1
    return min(classifier_permutations, most) if measure in ("c2st", "tv_bound") else most


def _values(
    pooled: Floats, laws: Laws, classifier_permutations: int, projections: int, seed: int
) -> Iterator[tuple[tuple[str, int, bool], Floats | None]]:
    examples, groupings = laws.examples, laws.groupings
    half = halves(examples)
    unlabelled = np.zeros_like(laws.labels)
    spread = float(np.sqrt(pooled.var(axis=0).sum()))
    size = float(np.sqrt(np.square(pooled).sum(axis=1).mean()))
    width = median_distance(pooled, examples)
    varies = spread > NO_SPREAD * size and width > 0
    for q in range(1, MOST_COMPONENTS + 1):
        for labelled, labels in ((True, laws.labels), (False, unlabelled)):
            found = None
            if varies:
                found = kde_total_variation(pooled, examples, labels, groupings, q, half)
            yield ("tv_kde", q, labelled), found
    kernel = gaussian_kernel(pooled, width) if varies else None
    yield (
        ("mmd2", 0, False),
        None if kernel is None else mmd2(kernel, examples, groupings),
    )
    yield (
        ("sliced_wasserstein", 0, False),
        sliced_wasserstein(pooled / spread, groupings, projections, seed) if varies else None,
    )
    few = groupings[: 1 + classifier_permutations]
    scores = classifier_scores(pooled, examples, few, seed) if varies else None
    yield ("c2st", 0, False), None if scores is None else scores.mean(axis=1)
    yield (
        ("tv_bound", 0, False),
        None if scores is None else np.array([total_variation_low(row) for row in scores]),
    )
