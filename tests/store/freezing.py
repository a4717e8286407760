"""A freezing experiment planted by hand: three seeds, a grid, its controls, another rate."""

import json
from pathlib import Path
from typing import Any

from store.results import ingest
from tests.store import cube

STUDY = "frozen-by-hand"
LAST, AN_EPOCH = 40, 10


def _freeze(depth: int, step: int, part: str = "shallow", weights_of: int | None = None) -> Any:
    return {"depth": depth, "from_step": step, "part": part, "weights_of": weights_of}


# arm, learning rate, freeze, replay, final accuracy of seed 0, 1, 2
ARMS: tuple[tuple[str, float, Any, Any, list[float]], ...] = (
    ("not frozen", 0.1, None, None, [0.90, 0.92, 0.97]),
    ("frozen 1 from 0", 0.1, _freeze(1, 0), None, [0.70, 0.74, 0.75]),
    ("frozen 1 from 20", 0.1, _freeze(1, 20), None, [0.88, 0.89, 0.96]),
    ("frozen 2 from 0", 0.1, _freeze(2, 0), None, [0.50, 0.50, 0.56]),
    ("deep control", 0.1, _freeze(1, 0, "deep"), None, [0.86, 0.92, 0.90]),
    ("final", 0.1, _freeze(1, 0, "shallow", LAST), None, [0.93, 0.95]),
    ("replay", 0.1, None, {"depth": 1, "from_step": 10, "share": 0.5, "steps": []}, [0.95]),
    ("small steps", 0.01, None, None, [0.80, 0.82, 0.81]),
    ("small steps, frozen", 0.01, _freeze(1, 0), None, [0.60, 0.61, 0.62]),
    ("no reference", 0.5, _freeze(1, 0), None, [0.40, 0.45]),
)


def _run_id(arm: int, seed: int) -> str:
    return f"{arm:06d}{seed:06d}"


def write(home: Path, single_seed: bool = False) -> None:
    """Bring the study's runs, with their final and an earlier accuracy, into a store."""
    rows, parts = [], []
    for a, (arm, lr, freeze, replay, accuracies) in enumerate(ARMS):
        for seed, accuracy in enumerate(accuracies[: 1 if single_seed else None]):
            config = {
                "data": {"name": "digits"},
                "network": {"name": "mlp", "norm_layer": "batch"},
                "recipe": {"optimizer": "sgd", "lr": lr, "batch_size": 8, "steps": LAST},
                "label_noise": 0.0,
                "seeds": {"init": seed, "order": seed, "labels": seed},
                "freeze": freeze,
                "replay": replay,
                "branch": None,
            }
            run_id = _run_id(a, seed)
            rows.append(
                {
                    "study": STUDY,
                    "title": "Frozen by hand",
                    "position": len(rows),
                    "arm": arm,
                    "name": f"{arm}, seed {seed}",
                    "role": "arm",
                    "run_id": run_id,
                    "train_size": 80,
                    "config": json.dumps(config, sort_keys=True),
                    "study_toml": "",
                }
            )
            corrupted = _corrupted(run_id, accuracy, first=not parts)
            parts.append(cube.write(home, "metrics", run_id, _metrics(run_id, accuracy), run_id))
            parts.append(cube.write(home, "corruptions", f"c{run_id}", corrupted, run_id))
    ingest(home, [cube.write(home, "studies", STUDY, rows, None), *parts])


def _metrics(run_id: str, accuracy: float) -> list[dict[str, Any]]:
    """The final accuracy on the test set, and others that must not be taken for it."""
    return [
        {
            "run_id": run_id,
            "step": step,
            "epoch": step / AN_EPOCH,
            "split": split,
            "mode": mode,
            "labels": "true",
            "n": 100,
            "correct": 0,
            "accuracy": value,
            "loss": 1.0,
            "lr": 0.1,
        }
        for step, split, mode, value in (
            (LAST, "test", "eval", accuracy),
            (LAST, "train", "eval", 1.0),
            (LAST, "test", "swa", 0.99),
            (20, "test", "eval", 0.11),
        )
    ]


def under_corruption(accuracy: float) -> float:
    """Mean over two kinds of the mean over severities, of a run of this final accuracy."""
    return ((accuracy - 0.1 + accuracy - 0.3) / 2 + accuracy / 2) / 2


def _corrupted(run_id: str, accuracy: float, first: bool) -> list[dict[str, Any]]:
    """Accuracies on corrupted sets, and others that must not be taken for them.

    Those of an earlier step, of the clean set, and of a set that only the first run has.
    """
    scores = [
        (LAST, "noise", 1, accuracy - 0.1),
        (LAST, "noise", 3, accuracy - 0.3),
        (LAST, "contrast", 1, accuracy / 2),
        (20, "contrast", 1, 0.11),
        (LAST, "none", 0, accuracy),
    ]
    if first:
        scores.append((LAST, "fog", 1, 0.0))
    return [
        {
            "run_id": run_id,
            "step": step,
            "split": "test",
            "norm": "inherit",
            "eval_id": f"{kind}-{severity}",
            "corruption": kind,
            "severity": severity,
            "n": 50,
            "correct": 0,
            "accuracy": value,
            "accuracy_low": value,
            "accuracy_high": value,
        }
        for step, kind, severity, value in scores
    ]
