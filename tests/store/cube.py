"""A study made up by hand: every table of the cube, small enough for slow oracles in Python.

Two arms, the first with two seeds, and one run that serves as a control alone. Predictions are
drawn at random; the columns of ``splices`` that the questions need are counted from them.
"""

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.store import memory, noise

STUDY = "by-hand"
TRUE, SECOND, RANDOM, OTHER = ("a" * 12, "b" * 12, "c" * 12, "d" * 12)
ARMS = {TRUE: ("true", 0), SECOND: ("true", 1), RANDOM: ("random", 0)}
STEPS = (0, 10, 20, 40)
STEPS_AN_EPOCH = 10
CUTS = (("stem", 1), ("stage1", 2))
CLASSES = ("cat", "dog", "owl")
N = 30
TEST, TRAIN, FOGGY = ("e" * 12, "f" * 12, "0" * 12)
SETS = {TEST: ("test", "none", 0), TRAIN: ("train", "none", 0), FOGGY: ("test", "fog", 2)}
TARGETS = [i % 3 for i in range(N)]
# A PNG of one black pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
SCORES = {TRUE: 0.9, SECOND: 0.7, RANDOM: 0.2}

# run, shallow run, control, set, cut, shallow step, deep step
CellName = tuple[str, str, str, str, str, int, int]
TYPES = {
    "replicate": pa.int32(),
    "depth": pa.int32(),
    "pool": pa.int32(),
    "severity": pa.int32(),
    "q": pa.int32(),
    "features": pa.int32(),
    "permutations": pa.int32(),
    "batch_size": pa.int32(),
    "predicted": pa.list_(pa.uint8()),
    "targets": pa.list_(pa.uint8()),
    "k": pa.int32(),
    "label": pa.int32(),
    "predicted_label": pa.int32(),
    "excess": pa.float64(),
    "excess_low": pa.float64(),
    "excess_high": pa.float64(),
    "asymmetry": pa.float64(),
    "asymmetry_low": pa.float64(),
    "asymmetry_high": pa.float64(),
}


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table, types by name where the first row alone would not tell."""
    found = pa.Table.from_pylist(rows).schema
    fields = [pa.field(field.name, TYPES.get(field.name, field.type)) for field in found]
    return pa.Table.from_pylist(rows, pa.schema(fields))


def write(
    home: Path, kind: str, unit_id: str, rows: pa.Table | list[dict[str, Any]], run_id: str | None
) -> Path:
    """Write a part in the layout of docs/store.md; return its path.

    Without the engine: these tests pass where torch is not installed.
    """
    about = {
        "kind": kind,
        "unit_id": unit_id,
        "run_id": run_id,
        "label": f"{kind} by hand",
        "seconds": 1.0,
        "finished_at": "2025-01-01T00:00:00+00:00",
        "versions": {},
    }
    rows = rows if isinstance(rows, pa.Table) else table(rows)
    rows = rows.add_column(0, "unit_id", pa.array([unit_id] * len(rows), pa.string()))
    path = home / "parts" / kind / f"{unit_id}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows.replace_schema_metadata({"featdyn": json.dumps(about)}), path)
    return path


def cell_names() -> Iterator[CellName]:
    """Every cell: the arms' own cubes on each set, one control of the first run on test."""
    cubes = [(run, run, "none", each) for run in ARMS for each in SETS]
    for cube in [*cubes, (TRUE, OTHER, "other_seed", TEST)]:
        for cut, _ in CUTS:
            for s in STEPS:
                for t in STEPS:
                    yield (*cube, cut, s, t)


def predicted(cell: CellName) -> list[int]:
    """What a cell predicts: right four times in five, at random else."""
    draw = random.Random(repr(cell))
    return [y if draw.random() < 0.8 else draw.randrange(3) for y in TARGETS]


def correct(cell: CellName) -> int:
    """How many of them are right."""
    return sum(p == y for p, y in zip(predicted(cell), TARGETS, strict=True))


def retention(cell: CellName) -> float | None:
    """A made-up retention; NULL in the column of the untrained deep part."""
    t = cell[-1]
    return None if t == 0 else random.Random(repr(cell)).random()


def displacement(run: str, cut: str, s: int, t: int) -> float:
    """A made-up displacement, symmetric, 0 on the diagonal."""
    return abs(s - t) * (1 + ord(run[0]) % 7) / 100 + (0.5 if cut == "stem" and s != t else 0)


def splice_row(cell: CellName) -> dict[str, Any]:
    """The row of a cell in ``splices``."""
    run, shallow, control, eval_id, cut, s, t = cell
    split, corruption, severity = SETS[eval_id]
    right = correct(cell)
    return {
        "run_id": run,
        "shallow_run_id": shallow,
        "control": control,
        "replicate": 0,
        "eval_id": eval_id,
        "split": split,
        "corruption": corruption,
        "severity": severity,
        "cut": cut,
        "depth": dict(CUTS)[cut],
        "shallow_step": s,
        "deep_step": t,
        "norm": "inherit",
        "dtype": "float32",
        "batch_size": 250,
        "target_half_width": 0.0,
        "n": N,
        "correct": right,
        "accuracy": right / N,
        "loss": 1.0,
        "margin": 0.5,
        "agreement": 0.75,
        "chance": 1 / 3,
        "retention": retention(cell),
        "half_width": 0.0,
        "dtype_agreement": 1.0,
    }


NAMES = (
    "run_id shallow_run_id control replicate eval_id cut depth shallow_step deep_step norm dtype "
    "batch_size n"
)


def prediction_row(cell: CellName) -> dict[str, Any]:
    """The row of a cell in ``predictions``."""
    row = splice_row(cell)
    return {name: row[name] for name in NAMES.split()} | {"predicted": predicted(cell)}


def unit_of(cell: CellName) -> str:
    """The unit that a cell belongs to: one a cube and cut."""
    return "-".join(part[:3] for part in cell[:5])


def study_rows(controls: bool = True) -> list[dict[str, Any]]:
    """The study's runs, with or without that of the control."""
    runs = [(run, arm, f"{arm}, seed {seed}", seed, "arm") for run, (arm, seed) in ARMS.items()]
    if controls:
        runs.append((OTHER, "true", "true, seed 0, other seed", 5, "control"))
    return [
        {
            "study": STUDY,
            "title": "By hand",
            "position": position,
            "arm": arm,
            "name": name,
            "role": role,
            "run_id": run,
            "train_size": 100,
            "config": json.dumps(
                {
                    "data": {"name": "digits"},
                    "network": {"name": "mlp", "norm_layer": "batch"},
                    "recipe": {"optimizer": "sgd"},
                    "label_noise": 1.0 if arm == "random" else 0.0,
                    "seeds": {"init": seed, "order": seed, "labels": 0},
                }
            ),
            "study_toml": "",
        }
        for position, (run, arm, name, seed, role) in enumerate(runs)
    ]


def write_study(home: Path, controls: bool = True) -> Path:
    """Write the part of the study."""
    return write(home, "studies", STUDY, study_rows(controls), None)


def _write_training(home: Path, run: str) -> Path:
    folder = home / "runs" / run / "checkpoints"
    folder.mkdir(parents=True)
    for step in STEPS:
        record = {"step": step, "epoch": step / STEPS_AN_EPOCH, "sha256": f"{step:064}", "bytes": 4}
        (folder / f"step-{step:08d}.json").write_text(json.dumps(record))
    rows = [
        {
            "run_id": run,
            "step": step,
            "epoch": step / STEPS_AN_EPOCH,
            "split": "train",
            "mode": "eval",
            "labels": "trained_on",
            "n": 10,
            "correct": 5,
            "accuracy": 0.5,
            "loss": 1.0,
            "lr": 0.1,
        }
        for step in STEPS
    ]
    return write(home, "metrics", run, rows, run)


def evaluation_row(eval_id: str) -> dict[str, Any]:
    """The row of a set."""
    split, corruption, severity = SETS[eval_id]
    return {
        "eval_id": eval_id,
        "dataset": "digits",
        "split": split,
        "n": N,
        "classes": len(CLASSES),
        "subset_sha256": "2" * 64,
        "labels": "true" if split == "test" else "trained_on",
        "corruption": corruption,
        "severity": severity,
        "config": "{}",
        "class_names": list(CLASSES),
        "targets": TARGETS,
    }


def _displacement_rows(run: str) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run,
            "eval_id": TEST,
            "split": "test",
            "cut": cut,
            "depth": depth,
            "shallow_step": s,
            "deep_step": t,
            "norm": "inherit",
            "n": N,
            "displacement": displacement(run, cut, s, t),
            "one_minus_cka": 0.5,
        }
        for cut, depth in CUTS
        for s in STEPS
        for t in STEPS
    ]


def consistency_rows(run: str) -> list[dict[str, Any]]:
    """The rows of a run in ``consistency``."""
    controls = ["none", "other_seed", "twin"] if run == TRUE else ["none"]
    return [
        {
            "run_id": run,
            "eval_id": eval_id,
            "split": SETS[eval_id][0],
            "cut": cut,
            "depth": depth,
            "norm": "inherit",
            "dtype": "float32",
            "control": control,
            "replicate": 0,
            "measure": measure,
            "weighting": weighting,
            "pairs": pairs,
            # Other sets, measures, weightings and pairs score differently: no mix stays unseen.
            "score": SCORES[run]
            + (0 if (eval_id, measure, pairs) == (TEST, "accuracy", "all") else 0.01)
            + (0 if weighting == "learning_rate" else 0.02),
            "score_low": 0.1,
            "score_high": 1.0,
            "excess": None if control == "none" else 0.3,
            "excess_low": None if control == "none" else 0.2,
            "excess_high": None if control == "none" else 0.4,
            "asymmetry": 0.1 if control == "none" else None,
            "asymmetry_low": 0.05 if control == "none" else None,
            "asymmetry_high": 0.15 if control == "none" else None,
            "n": N,
            "checkpoints": 8,
            "resamples": 1000,
        }
        for eval_id in SETS
        for cut, depth in CUTS
        for control in controls
        for measure in ("accuracy", "agreement")
        for weighting in ("learning_rate", "steps")
        for pairs in ("all", "final")
    ]


def _horizon_rows(run: str) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run,
            "eval_id": TEST,
            "split": "test",
            "cut": cut,
            "depth": depth,
            "norm": "inherit",
            "dtype": "float32",
            "deep_step": t,
            "eps": eps,
            "horizon": t // 2,
            "censored": t == 0,
            "n": N,
        }
        for cut, depth in CUTS
        for t in STEPS
        for eps in (0.01, 0.05)
    ]


def kept(run: str, control: str, eval_id: str, step: int) -> float:
    """A made-up retention under the last deep part: it grows; a control's is a quarter of it."""
    whole = 0.6 + 0.1 * STEPS.index(step) - (0.3 if eval_id == FOGGY else 0)
    return (whole - (0.2 if run == RANDOM else 0)) * (1 if control == "none" else 0.25)


def retention_rows(run: str) -> list[dict[str, Any]]:
    """The rows of a run in ``retentions``."""
    return [
        {
            "run_id": run,
            "eval_id": eval_id,
            "split": SETS[eval_id][0],
            "cut": cut,
            "depth": depth,
            "norm": "inherit",
            "dtype": "float32",
            "control": control,
            "replicate": 0,
            "shallow_step": s,
            "deep_step": STEPS[-1],
            "retention": kept(run, control, eval_id, s),
            "retention_low": kept(run, control, eval_id, s) - 0.05,
            "retention_high": kept(run, control, eval_id, s) + 0.05,
            "n": N,
        }
        for eval_id in SETS
        for cut, depth in CUTS
        for control in (("none", "other_seed") if run == TRUE else ("none",))
        for s in STEPS[:-1]
    ]


# Right of N by either average and by the last network; one more by SWA of the second seed.
RIGHT = {"swa": 22, "ensemble": 19, "last": 20}


def _comparator_rows(run: str) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run,
            "eval_id": TEST,
            "split": "test",
            "comparator": comparator,
            "first_step": 40 if comparator == "last" else 20,
            "last_step": 40,
            "checkpoints": 1 if comparator == "last" else 2,
            "norm": "recalibrate" if comparator == "swa" else "inherit",
            "n": N,
            "correct": right,
            "accuracy": right / N,
            "loss": 0.7,
        }
        for comparator, right in (RIGHT | ({"swa": 23} if run == SECOND else {})).items()
    ]


# path, cut, depth, {alpha: loss}, {alpha: correct of N}: the first with a barrier, the last no end.
PATHS = (
    ("parameters", "none", 0, {0.0: 0.2, 0.25: 1.0, 0.5: 2.0, 1.0: 0.6}, {0.5: 9}),
    ("shallow_parameters", "stem", 1, {0.0: 0.6, 0.5: 0.3, 1.0: 0.2}, {}),
    ("shallow_parameters", "stage1", 2, {0.0: 0.6, 0.5: 0.9}, {}),
)


def _connectivity_rows(run: str) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run,
            "eval_id": TEST,
            "split": "test",
            "path": path,
            "cut": cut,
            "depth": depth,
            "shallow_step": 10,
            "deep_step": 40,
            "alpha": alpha,
            "norm": "recalibrate",
            "n": N,
            "correct": right.get(alpha, 24),
            "accuracy": right.get(alpha, 24) / N,
            "loss": loss,
        }
        for path, cut, depth, losses, right in PATHS
        for alpha, loss in losses.items()
    ]


def probe_correct(run: str, cut: str, step: int) -> int:
    """How many of the N a made-up probe gets right: not in the order of the splices."""
    return 12 + random.Random(repr((run, cut, step))).randrange(N - 12)


def probe_rows(run: str) -> list[dict[str, Any]]:
    """The rows of a run in ``probes``, on two sets."""
    return [
        {
            "run_id": run,
            "eval_id": eval_id,
            "split": SETS[eval_id][0],
            "cut": cut,
            "depth": depth,
            "step": step,
            "norm": "inherit",
            "fit_labels": "true",
            "pool": 1,
            "n": N,
            "correct": probe_correct(run, cut, step),
            "accuracy": probe_correct(run, cut, step) / N,
            "accuracy_low": 0.2,
            "accuracy_high": 1.0,
            "chance": 1 / 3,
            "network_accuracy": 0.8,
            "fit_n": 100,
            "fit_accuracy": 1.0,
            "strength": 10.0,
        }
        for eval_id in (TEST, FOGGY)
        for cut, depth in CUTS
        for step in STEPS
    ]


TRAJECTORY_METHODS = ("pooled_umap", "pca")


def place(method: str, step: int, example: int) -> tuple[float, float]:
    """Coordinates of an example: it moves to the right as far as its number says."""
    return example * step / 100, float(example % 3) + (10 if method == "pca" else 0)


def _followed(run: str, cut: str, method: str, step: int) -> dict[str, Any]:
    return {
        "run_id": run,
        "eval_id": TEST,
        "split": "test",
        "cut": cut,
        "depth": dict(CUTS)[cut],
        "norm": "inherit",
        "method": method,
        "step": step,
        "n": N,
    }


def _trajectory_rows(run: str) -> list[dict[str, Any]]:
    return [
        _followed(run, cut, method, step)
        | {
            "example": i,
            "label": TARGETS[i],
            "predicted_label": TARGETS[i] if step else 0,
            "x": place(method, step, i)[0],
            "y": place(method, step, i)[1],
            "displacement": None if step == 0 else 0.5,
            "speed": None if step == 0 else 0.25,
            "turning": None if step in (STEPS[0], STEPS[-1]) else -0.5,
        }
        for cut, _ in CUTS
        for method in TRAJECTORY_METHODS
        for step in STEPS
        for i in range(N)
    ]


def _trajectory_quality_rows(run: str) -> list[dict[str, Any]]:
    return [
        _followed(run, cut, "pooled_umap", step)
        | {
            "k": 5,
            "trustworthiness": 0.9,
            "continuity": 0.95,
            "neighbour_overlap": 0.5,
            "chance": 5 / (N - 1),
            "pca_trustworthiness": 0.7,
            "pca_continuity": 0.8,
            "pca_neighbour_overlap": 0.3,
            "spearman": None if step == 0 else 0.4,
            "displacement": None if step == 0 else 0.5,
            "speed": None if step == 0 else 0.25,
            "turning_cosine": None if step in (STEPS[0], STEPS[-1]) else -0.5,
            "parameters": json.dumps({"seed": 0}),
            "versions": json.dumps({"umap-learn": "0.5.12"}),
        }
        for cut, _ in CUTS
        for step in STEPS
    ]


def _contour_rows(run: str) -> list[dict[str, Any]]:
    """Return a square around the origin for each class, at every checkpoint."""
    square = {"x": [-1.0, 1.0, 1.0, -1.0, -1.0], "y": [-1.0, -1.0, 1.0, 1.0, -1.0]}
    return [
        _followed(run, cut, method, step) | {"label": label, "mass": 0.5, "path": 0} | square
        for cut, _ in CUTS
        for method in TRAJECTORY_METHODS
        for step in STEPS
        for label in sorted(set(TARGETS))
    ]


def _image_rows() -> list[dict[str, Any]]:
    return [{"eval_id": TEST, "example": i, "png": PNG} for i in range(N)]


def corruption_rows(run: str) -> list[dict[str, Any]]:
    """The rows of a run in ``corruptions``: the clean set and a foggy one."""
    return [
        {
            "run_id": run,
            "eval_id": eval_id,
            "split": "test",
            "corruption": corruption,
            "severity": severity,
            "step": step,
            "norm": "inherit",
            "n": N,
            "correct": (correct := probe_correct(run, corruption, step)),
            "accuracy": correct / N,
            "accuracy_low": 0.2,
            "accuracy_high": 1.0,
        }
        for eval_id, corruption, severity in ((TEST, "none", 0), (FOGGY, "fog", 2))
        for step in STEPS
    ]


# Companions, and the kind of the unit that writes them here.
MAIN = {
    "horizons": "consistency",
    "retentions": "consistency",
    "trajectory_quality": "trajectories",
    "trajectory_contours": "trajectories",
    "trajectory_images": "trajectories",
    "noise_tests": "noise",
    "noise_alignment": "noise",
    "memory_examples": "memory",
}


# measure, components, labelled, permutations
MEASURES = (
    ("tv_kde", 1, True, 200),
    ("tv_kde", 2, True, 200),
    ("tv_kde", 2, False, 200),
    ("mmd2", 0, False, 200),
    ("sliced_wasserstein", 0, False, 200),
    ("c2st", 0, False, 39),
    ("tv_bound", 0, False, 39),
)


def divergence_rows(run: str) -> list[dict[str, Any]]:
    """Made-up distances: neighbours, each step against the last, and test against train."""
    pairs = [(0, 10), (10, 20), (20, 40), (0, 40), (10, 40)]
    compared = [(s, t, "none") for s, t in pairs] + [(s, s, TRAIN) for s in STEPS]
    return [
        {
            "run_id": run,
            "eval_id": TEST,
            "other_eval_id": other,
            "split": "test",
            "cut": cut,
            "depth": depth,
            "shallow_step": s,
            "deep_step": t,
            "norm": "inherit",
            "measure": measure,
            "q": q,
            "labelled": labelled,
            "n": N,
            "other_n": N,
            "features": 8,
            "permutations": permutations,
            "value": (t - s) / 100 + q / 10 + 0.1,
            "null_mean": 0.1,
            "null_high": 0.2,
            "p": 1 / (1 + permutations),
            "excess": (t - s) / 100 + q / 10,
        }
        for cut, depth in CUTS
        for s, t, other in compared
        for measure, q, labelled, permutations in MEASURES
    ]


def right(run: str, eval_id: str, cut: str, s: int, t: int) -> list[bool]:
    """Which examples a cell of a run's own cube is right on."""
    cell = (run, run, "none", eval_id, cut, s, t)
    return [p == y for p, y in zip(predicted(cell), TARGETS, strict=True)]


def memory_rows(run: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of a run in ``memory`` and ``memory_examples``, on every set."""
    splits = {eval_id: split for eval_id, (split, *_) in SETS.items()}
    of_run = partial(right, run)
    return memory.rows(run, splits, CUTS, STEPS, TRAIN, of_run, SCORES[run], len(CLASSES))


def write_all(home: Path) -> list[Path]:
    """Write every part of the study into a home; return their paths."""
    parts = [write_study(home)]
    parts += [_write_training(home, run) for run in (*ARMS, OTHER)]
    parts += [write(home, "evaluations", each, [evaluation_row(each)], None) for each in SETS]
    cells: dict[str, list[CellName]] = {}
    for cell in cell_names():
        cells.setdefault(unit_of(cell), []).append(cell)
    for unit_id, names in cells.items():
        run = names[0][0]
        kind = "splices" if names[0][2] == "none" else "controls"
        parts.append(write(home, kind, unit_id, [splice_row(cell) for cell in names], run))
        rows = [prediction_row(cell) for cell in names]
        parts.append(write(home, "predictions", unit_id, rows, run))
    for run in ARMS:
        for kind, rows in (
            ("displacement", _displacement_rows(run)),
            ("consistency", consistency_rows(run)),
            ("horizons", _horizon_rows(run)),
            ("retentions", retention_rows(run)),
            ("comparators", _comparator_rows(run)),
            ("connectivity", _connectivity_rows(run)),
            ("probes", probe_rows(run)),
            ("corruptions", corruption_rows(run)),
            ("trajectories", _trajectory_rows(run)),
            ("trajectory_quality", _trajectory_quality_rows(run)),
            ("trajectory_contours", _contour_rows(run)),
            ("trajectory_images", _image_rows()),
            ("divergences", divergence_rows(run)),
        ):
            unit_id = MAIN.get(kind, kind)
            parts.append(write(home, kind, f"{unit_id}-{run}", rows, run))
        for kind, rows in (noise.rows(run, TEST, CUTS) | memory_rows(run)).items():
            parts.append(write(home, kind, f"{MAIN.get(kind, kind)}-{run}", rows, run))
    return parts
