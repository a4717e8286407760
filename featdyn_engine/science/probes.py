"""Linear probes: how well a linear read-out of the features at a cut tells the classes apart.

After Alain & Bengio (arXiv 1610.01644); along depth they show the tunnel (arXiv 2305.19753): the
blocks behind which linear separability no longer grows. The probe is a ridge classifier (one
against the rest, targets of -1 and 1): its leave-one-out errors are exact and cost one
decomposition for all strengths, where a logistic probe is fitted anew for each. The list of
strengths is ours, as is the pooling of the features (``features.py``).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Penalties on squared weights of standardised features: from next to none, to all but silence.
STRENGTHS = tuple(float(10.0**power) for power in range(-2, 6))

Predictions = NDArray[np.int64]


class Probe(NamedTuple):
    """What a probe predicts of each set, int64 (N,) each, and the strength that it chose."""

    predicted: tuple[Predictions, ...]
    strength: float


def probe(
    features: ArrayLike,
    labels: ArrayLike,
    scored: Sequence[ArrayLike],
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Fit a ridge classifier on features and predict the classes of other sets.

    features: (M, F); labels: whole numbers (M,), two classes or more; scored: features (N, F) of
    each set. Features are standardised by the mean and deviation of the M fitted on, one that
    doesn't vary is left at 0. Of ``strengths`` the one with the least mean squared leave-one-out
    error on these M is taken: the sets that are scored choose nothing. A class that isn't among
    ``labels`` is never predicted. Raises ValueError for fewer than two classes.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = np.unique(np.asarray(labels))
    if len(known) < 2:
        raise ValueError(f"labels: expected two classes or more, got {len(known)}")
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(strengths))
    model.fit(np.asarray(features, float), np.asarray(labels))
    predicted = tuple(
        np.asarray(model.predict(np.asarray(each, float)), np.int64) for each in scored
    )
    return Probe(predicted, float(model[-1].alpha_))
