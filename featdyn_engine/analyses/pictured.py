"""Rows of the trajectories at one cut: where each example lies and moves, and how far to trust it.

``trajectories`` plans and computes; here its arrays become tables.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from featdyn_engine.analyses.rows import null
from featdyn_engine.science.contours import density_contours
from featdyn_engine.science.embedding import DIMENSIONS, Floats, Method
from featdyn_engine.science.embedding_quality import (
    chance_overlap,
    movement_correlation,
    quality,
)
from featdyn_engine.science.trajectory import displacements, speeds, turning_cosines

_OF = [
    ("run_id", pa.string()),
    ("eval_id", pa.string()),
    ("split", pa.string()),
    ("cut", pa.string()),
    ("depth", pa.int32()),
    ("norm", pa.string()),
    ("method", pa.string()),
    ("step", pa.int64()),
    ("n", pa.int64()),
]
EXAMPLES = pa.schema(
    [
        *_OF,
        ("example", pa.int64()),
        ("label", pa.int32()),
        ("predicted_label", pa.int32()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("displacement", pa.float64()),
        ("speed", pa.float64()),
        ("turning", pa.float64()),
    ]
)
QUALITY = pa.schema(
    [
        *_OF,
        ("k", pa.int32()),
        ("trustworthiness", pa.float64()),
        ("continuity", pa.float64()),
        ("neighbour_overlap", pa.float64()),
        ("chance", pa.float64()),
        ("pca_trustworthiness", pa.float64()),
        ("pca_continuity", pa.float64()),
        ("pca_neighbour_overlap", pa.float64()),
        ("spearman", pa.float64()),
        ("displacement", pa.float64()),
        ("speed", pa.float64()),
        ("turning_cosine", pa.float64()),
        ("parameters", pa.string()),
        ("versions", pa.string()),
    ]
)
CONTOURS = pa.schema(
    [
        *_OF,
        ("label", pa.int32()),
        ("mass", pa.float64()),
        ("path", pa.int32()),
        ("x", pa.list_(pa.float32())),
        ("y", pa.list_(pa.float32())),
    ]
)
IMAGES = pa.schema([("eval_id", pa.string()), ("example", pa.int64()), ("png", pa.binary())])
# Of a class' density, inside its contour.
MASS = 0.5
PACKAGES = ("umap-learn", "pynndescent", "numba", "scikit-learn", "scipy", "numpy")


@dataclass(frozen=True)
class Followed:
    """What is known of the followed examples at one cut.

    shared: columns that all rows have; steps: T; positions: their cumulative learning rates (T,);
    examples, labels: int64 (N,); predicted: classes (T, N); features: float32 (T, N, F).
    """

    shared: dict[str, Any]
    steps: Sequence[int]
    positions: Tensor
    examples: Tensor
    labels: Tensor
    predicted: Tensor
    features: Tensor


@dataclass(frozen=True)
class Making:
    """How the picture was made: the method and its parameters."""

    method: Method
    n_neighbors: int
    min_dist: float
    seed: int

    @property
    def parameters(self) -> str:
        """All that the coordinates depend on beside the features, as JSON."""
        told: dict[str, Any] = {"pca_dimensions": DIMENSIONS, "seed": self.seed}
        if self.method != "pca":
            told |= {"n_neighbors": self.n_neighbors, "min_dist": self.min_dist}
        return json.dumps(told, sort_keys=True)


def versions() -> str:
    """Versions of the packages that make the picture, as JSON."""
    return json.dumps({name: version(name) for name in PACKAGES}, sort_keys=True)


def example_rows(of: Followed, pictures: dict[str, Floats]) -> pa.Table:
    """Return a row of EXAMPLES a method, checkpoint and example.

    pictures: coordinates (T, N, 2) by method.
    """
    checkpoints, n = of.features.shape[:2]
    moved = displacements(of.features)
    plain: dict[str, Any] = {
        "step": np.repeat(of.steps, n),
        "example": np.tile(of.examples.numpy(), checkpoints),
        "label": np.tile(of.labels.numpy(), checkpoints),
        "predicted_label": of.predicted.flatten().numpy(),
        "displacement": moved.flatten().numpy(),
        "speed": speeds(moved, of.positions).flatten().numpy(),
        "turning": turning_cosines(of.features).flatten().numpy(),
    }
    tables = []
    for method, places in pictures.items():
        x, y = places.reshape(-1, 2).T
        columns = plain | {"x": x.astype(float), "y": y.astype(float)}
        for name, value in (of.shared | {"method": method, "n": n}).items():
            columns[name] = [value] * (checkpoints * n)
        arrays = [
            # from_pandas: NaN becomes null, as SQL would count it as a number.
            pa.array(columns[each.name], each.type, from_pandas=True)
            for each in EXAMPLES
        ]
        tables.append(pa.Table.from_arrays(arrays, schema=EXAMPLES))
    return pa.concat_tables(tables)


def contour_rows(of: Followed, pictures: dict[str, Floats]) -> pa.Table:
    """Return a row of CONTOURS a closed line around half of a class' density, by checkpoint.

    A class of few examples has none (``contours.FEWEST``).
    """
    labels = of.labels.numpy()
    shared = of.shared | {"n": len(labels), "mass": MASS}
    rows = [
        shared
        | {"method": method, "step": step, "label": int(label), "path": path}
        | {"x": line[:, 0], "y": line[:, 1]}
        for method, places in pictures.items()
        for step, plane in zip(of.steps, places, strict=True)
        for label in np.unique(labels)
        for path, line in enumerate(density_contours(plane[labels == label], MASS))
    ]
    return pa.Table.from_pylist(rows, CONTOURS)


def image_rows(eval_id: str, examples: Tensor, images: Tensor) -> pa.Table:
    """Return a row of IMAGES an example: its pixels, uint8 (N, C, H, H), as a PNG."""
    rows = [
        {"eval_id": eval_id, "example": example, "png": png(image)}
        for example, image in zip(examples.tolist(), images, strict=True)
    ]
    return pa.Table.from_pylist(rows, IMAGES)


def png(image: Tensor) -> bytes:
    """Encode pixels, uint8 (C, H, H) of one or three channels."""
    levels = image.permute(1, 2, 0).numpy()
    written = BytesIO()
    Image.fromarray(levels.squeeze(2) if levels.shape[2] == 1 else levels).save(written, "png")
    return written.getvalue()


def quality_rows(of: Followed, making: Making, pictures: dict[str, Floats]) -> pa.Table:
    """Return a row of QUALITY a checkpoint, the picture of ``making`` beside that of ``pca``.

    Displacement here is the root mean square over examples, so that its square is that of the
    ``displacement`` analysis; turning is the mean.
    """
    moved = displacements(of.features)
    together = moved.square().mean(dim=1).sqrt()
    turning = turning_cosines(of.features).nanmean(dim=1)
    columns = zip(
        of.steps,
        _kept(of.features.numpy(), pictures[making.method], pictures["pca"], making.n_neighbors),
        _correlations(moved.numpy(), pictures[making.method]),
        together.tolist(),
        speeds(together, of.positions).tolist(),
        turning.tolist(),
        strict=True,
    )
    n = of.features.shape[1]
    rows = [
        of.shared
        | {
            "method": making.method,
            "step": step,
            "n": n,
            "k": making.n_neighbors,
            **kept,
            "chance": chance_overlap(n, making.n_neighbors),
            "spearman": null(spearman),
            "displacement": null(displacement),
            "speed": null(speed),
            "turning_cosine": null(cosine),
            "parameters": making.parameters,
            "versions": versions(),
        }
        for step, kept, spearman, displacement, speed, cosine in columns
    ]
    return pa.Table.from_pylist(rows, QUALITY)


def _kept(
    features: Floats, picture: Floats, comparator: Floats, k: int
) -> Iterator[dict[str, float]]:
    """Quality of both pictures at each checkpoint, by column."""
    for original, embedded, plain in zip(features, picture, comparator, strict=True):
        own = quality(original, embedded, k)._asdict()
        other = quality(original, plain, k)._asdict()
        yield own | {f"pca_{name}": value for name, value in other.items()}


def _correlations(moved: NDArray[np.float64], picture: Floats) -> Iterator[float]:
    """Spearman's correlation of the moves in the picture with ``moved`` (T, N); first NaN."""
    yield math.nan
    for t in range(1, len(picture)):
        embedded = np.linalg.norm(picture[t] - picture[t - 1], axis=1)
        yield movement_correlation(moved[t], embedded)
