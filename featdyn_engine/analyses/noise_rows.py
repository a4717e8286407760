"""Rows of ``noise``: what is said of draws of one vector, and of its alignment with the drift."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from featdyn_engine.analyses.rows import null
from featdyn_engine.science.alignment import (
    alignment,
    feature_baseline,
    leading_directions,
    random_overlap,
    subspace_overlap,
    uniform_baseline,
)
from featdyn_engine.science.noise import Evidence, evidence, verdict
from featdyn_engine.science.spectra import (
    Floats,
    components_for,
    effective_rank,
    eigenvalues,
    first_share,
    isotropic_spectra,
    marchenko_pastur_edges,
    parallel_band,
    participation_ratio,
    power_law_slope,
    sign_dimension,
)
from featdyn_engine.science.sphericity import all_tests

Row = dict[str, Any]
Draws = NDArray[np.floating]
PLACE = [
    ("run_id", pa.string()),
    ("eval_id", pa.string()),
    ("split", pa.string()),
    ("cut", pa.string()),
    ("depth", pa.int32()),
    ("step", pa.int64()),
    ("example", pa.int64()),
    ("norm", pa.string()),
    ("batch_size", pa.int32()),
    ("step_rule", pa.string()),
    ("representation", pa.string()),
]
SIZE = [("n", pa.int64()), ("p", pa.int64())]
SPECTRA = pa.schema(
    [
        *PLACE,
        ("source", pa.string()),
        ("rank", pa.int32()),
        # Of gradients in single precision, and most of what a store of noise weighs.
        ("eigenvalue", pa.float32()),
        ("band_low", pa.float32()),
        ("band_high", pa.float32()),
        *SIZE,
    ]
)
SUMMARIES: dict[str, Callable[[Floats], float]] = {
    "participation_ratio": participation_ratio,
    "first_share": first_share,
    "components_90": components_for,
    "effective_rank": effective_rank,
    "slope": lambda values: power_law_slope(values).slope,
}
TESTS = ("mauchly", "john", "ledoit_wolf", "tracy_widom", "spatial_sign")
NOISE_TESTS = pa.schema(
    [
        *PLACE,
        ("source", pa.string()),
        ("lr", pa.float64()),
        ("augmentation", pa.string()),
        ("optimizer_state", pa.string()),
        ("pr_sign", pa.float64()),
        ("pr_sign_low", pa.float64()),
        ("pr_sign_high", pa.float64()),
        *((name + end, pa.float64()) for name in SUMMARIES for end in ("", "_isotropic")),
        ("slope_first", pa.int32()),
        ("slope_last", pa.int32()),
        ("edge_low", pa.float64()),
        ("edge_high", pa.float64()),
        *((name + end, pa.float64()) for name in TESTS for end in ("", "_p")),
        ("mauchly_null", pa.string()),
        *((name, pa.float64()) for name in ("delta", "delta_low", "delta_high", "delta_p")),
        ("delta_p_holm", pa.float64()),
        ("delta_p_bh", pa.float64()),
        ("verdict", pa.string()),
        *SIZE,
    ]
)
BASELINES = ("uniform", "features")
ALIGNMENT = pa.schema(
    [
        *PLACE,
        ("later_step", pa.int64()),
        ("source", pa.string()),
        ("k", pa.int32()),
        ("alignment", pa.float64()),
        *((name + end, pa.float64()) for name in BASELINES for end in ("", "_low", "_high")),
        ("m", pa.int32()),
        ("overlap", pa.float64()),
        ("overlap_random", pa.float64()),
        *SIZE,
    ]
)
# Isotropic samples behind each band and isotropic value; directions behind a baseline.
ISOTROPIC = 200
DIRECTIONS = 1000


class Isotropic:
    """Spectra of isotropic rows, drawn once for each (B, p)."""

    def __init__(self, stream: torch.Generator) -> None:
        self.stream = stream
        self.known: dict[tuple[int, int], Floats] = {}

    def __call__(self, b: int, p: int) -> Floats:
        """Return spectra of trace 1, (draws, min(b - 1, p))."""
        if (b, p) not in self.known:
            self.known[b, p] = isotropic_spectra(b, p, ISOTROPIC, self.stream)
        return self.known[b, p]


def moves(rows: Draws) -> bool:
    """Whether every draw differs from the mean: else no direction, and nothing to say."""
    return bool((rows != rows.mean(axis=0)).any(axis=1).all())


def spectrum_rows(rows: Draws, source: str, isotropic: Isotropic) -> Iterator[Row]:
    """One row an eigenvalue of the draws (B, p), with the band of isotropic noise around it."""
    b, p = rows.shape
    values = eigenvalues(rows)
    low, high = parallel_band(isotropic(b, p), float(values.sum()))
    for rank, (value, lower, upper) in enumerate(zip(values, low, high, strict=True), start=1):
        yield {
            "source": source,
            "rank": rank,
            "eigenvalue": float(value),
            "band_low": float(lower),
            "band_high": float(upper),
            "n": b,
            "p": p,
        }


def tested(rows: Draws, source: str, isotropic: Isotropic, sgd: Draws | None) -> Row:
    """Effect sizes and tests of the draws (B, p); of a control also SGD minus it, ``sgd``."""
    b, p = rows.shape
    values, spectra = eigenvalues(rows), isotropic(b, p)
    sign = sign_dimension(rows)
    row: Row = {"source": source, "n": b, "p": p}
    row |= {"pr_sign": sign.value, "pr_sign_low": sign.low, "pr_sign_high": sign.high}
    # A slope goes through two ranks or more.
    fitted = int((values > 0).sum()) >= 2
    for name, summary in SUMMARIES.items():
        if name != "slope" or fitted:
            row[name] = float(summary(values))
            if min(b - 1, p) > 1:
                row[f"{name}_isotropic"] = float(np.mean([summary(each) for each in spectra]))
    if fitted:
        _, row["slope_first"], row["slope_last"] = power_law_slope(values)
    row["edge_low"], row["edge_high"] = marchenko_pastur_edges(float(values.sum() / p), b, p)
    for found in all_tests(rows, isotropic.stream):
        row[found.test] = null(found.statistic)
        row[f"{found.test}_p"] = null(found.p_value)
        if found.test == "mauchly":
            row["mauchly_null"] = found.null
    if sgd is not None:
        row |= evidence_row(evidence(sgd, rows))
    return row


def described(
    place: Row, told: Row, noises: Mapping[str, Draws], isotropic: Isotropic
) -> dict[str, list[Row]]:
    """Spectra and tests of each source at a place, by kind; nothing where one never moves.

    noises: draws (B, p) by source, ``sgd`` and its controls; told: columns of the tests alone.
    """
    if not all(moves(rows) for rows in noises.values()):
        return {}
    spectra, tests = [], []
    for source, rows in noises.items():
        spectra += [place | row for row in spectrum_rows(rows, source, isotropic)]
        sgd = None if source == "sgd" else noises["sgd"]
        tests.append(place | told | tested(rows, source, isotropic, sgd))
    return {"noise": spectra, "noise_tests": tests}


def evidence_row(found: Evidence) -> Row:
    """Return the columns of a difference to a control."""
    return {
        "delta": found.difference,
        "delta_low": found.low,
        "delta_high": found.high,
        "delta_p": found.p_value,
        "verdict": verdict(found).conclusion,
    }


def correct_for_examples(rows: Sequence[Row]) -> None:
    """Add p-values corrected over the examples of one cut, step and control (Holm; BH)."""
    from statsmodels.stats.multitest import multipletests

    known = [row for row in rows if "delta_p" in row]
    for source in {row["source"] for row in known}:
        family = [row for row in known if row["source"] == source]
        p_values = [row["delta_p"] for row in family]
        for name, method in (("delta_p_holm", "holm"), ("delta_p_bh", "fdr_bh")):
            corrected = multipletests(p_values, method=method)[1]
            for row, value in zip(family, corrected, strict=True):
                row[name] = float(value)


def alignment_rows(
    noises: Mapping[str, Draws],
    drift: Draws,
    drifts: Draws,
    features: Draws,
    k: int,
    stream: torch.Generator,
) -> Iterator[Row]:
    """One row a source of noise (B, p): how much of the example's drift (p,) its span holds.

    drifts (E, p): of all examples, whose leading directions are V; features (N, p) at the earlier
    step. ``k`` is cut to what there is. A drift of 0 has a null alignment.
    """
    b, p = next(iter(noises.values())).shape
    k = min(k, p, b - 1)
    m = min(k, len(drifts))
    moved = leading_directions(drifts, m, centre=False)
    for source, rows in noises.items():
        basis = leading_directions(rows, k)
        row: Row = {"source": source, "k": k, "m": m, "n": b, "p": p}
        row["alignment"] = null(alignment(basis, drift))
        row["overlap"] = subspace_overlap(basis, moved)
        row["overlap_random"] = random_overlap(k, m, p)
        uniform = uniform_baseline(k, p)
        drawn = feature_baseline(basis, features, DIRECTIONS, stream)
        for name, found in (("uniform", uniform), ("features", drawn)):
            row[name], row[f"{name}_low"], row[f"{name}_high"] = map(null, found)
        yield row
