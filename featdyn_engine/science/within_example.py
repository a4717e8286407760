"""Permutation nulls of two-sample distances: which rows change sides, and what that leaves.

Two laws are compared by rows of features. Between two checkpoints s, t both have a row of each
example: x_i = h_s(example i), y_i = h_t(example i), close to each other. The null is that the two
rows of an example are exchangeable, so they are swapped, each pair on its own coin. Reshuffling
all rows breaks the pairs, makes the null as wide as the examples differ, and loses power where
there are few dimensions (``tests/science/test_within_example.py``). Between two
sets of examples P, Q at one checkpoint whole examples change sides.

A *grouping* is a row of booleans over the pooled rows: true where the row counts as the first
law. Row 0 is always what was observed. That the projection, the scale and the bandwidth of a
distance come from the pooled rows alone makes them the same for every grouping.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Groupings = NDArray[np.bool_]

# Two equal statistics may differ in their last bits, as sums are taken in another order; so may
# two that are zero, from terms near 1.
TIE = 1e-9
TIE_AT_ZERO = 1e-12


@dataclass(frozen=True, kw_only=True)
class Permuted:
    """A distance and its permutation null.

    ``mean`` and ``high`` are the mean and the 95 % point of the null, ``p`` is
    (1 + permutations at least as far) / (1 + permutations), ``excess`` is value - mean: a test
    statistic, no distance of its own.
    """

    value: float
    mean: float
    high: float
    p: float

    @property
    def excess(self) -> float:
        """What the distance has over the mean of its null."""
        return self.value - self.mean


def paired_examples(n: int) -> Integers:
    """Return the example of each pooled row (2N,): rows 0 .. N - 1 are x_i, the others y_i."""
    return np.tile(np.arange(n), 2)


def swaps(n: int, permutations: int, stream: torch.Generator) -> Groupings:
    """Return groupings (1 + permutations, 2N) that swap x_i and y_i within each of N examples."""
    swapped = torch.rand(1 + permutations, n, generator=stream).numpy() < 0.5
    swapped[0] = False
    return np.hstack([~swapped, swapped])


def regroupings(n: int, m: int, permutations: int, stream: torch.Generator) -> Groupings:
    """Return groupings (1 + permutations, N + M) that deal N + M examples out anew, N to the first.

    One call serves every checkpoint, so that an example takes its whole trajectory along.
    """
    observed = np.arange(n + m) < n
    dealt = [observed[torch.randperm(n + m, generator=stream).numpy()] for _ in range(permutations)]
    return np.array([observed, *dealt])


def permuted(values: Floats) -> Permuted:
    """Hold the first of the values (1 + permutations,) against the others.

    Raises ValueError without permutations.
    """
    if len(values) < 2:
        raise ValueError(f"values: expected the observed one and others, got {len(values)}")
    value, null = float(values[0]), values[1:]
    tie = max(TIE * abs(value), TIE_AT_ZERO)
    as_far = int(np.count_nonzero(null >= value - tie))
    return Permuted(
        value=value,
        mean=float(null.mean()),
        high=float(np.quantile(null, 0.95)),
        p=(1 + as_far) / (1 + len(null)),
    )
