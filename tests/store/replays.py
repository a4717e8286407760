"""A replay experiment planted by hand: plain, replayed and control runs, SWA, corrupted images."""

import json
from pathlib import Path
from typing import Any

from store.results import ingest
from tests.store import cube

STUDY = "replayed-by-hand"
LAST, BATCH = 40, 8
STEPS = (0, 20, 30, 40)
# eval_id: kind, severity
SETS = {"1" * 12: ("fog", 1), "2" * 12: ("fog", 3), "3" * 12: ("snow", 1)}


def _replay(share: float, source: str | None = None) -> dict[str, Any]:
    plain = {"depth": 1, "from_step": 10, "share": share, "steps": []}
    # Runs of an older engine don't know the field.
    return plain if source is None else plain | {"source": source, "window": None}


# arm, replay, clean accuracy of each seed, that of SWA
ARMS: tuple[tuple[str, Any, list[float], list[float]], ...] = (
    ("plain", None, [0.80, 0.84, 0.90], [0.83, 0.86, 0.91]),
    ("replay", _replay(0.5), [0.82, 0.87, 0.92], [0.82, 0.88, 0.93]),
    ("current", _replay(0.5, "current"), [0.79, 0.83, 0.88], [0.80, 0.85, 0.90]),
    ("lonely", _replay(0.25, "stored"), [0.70], []),
)


def corrupted(accuracy: float, eval_id: str) -> float:
    """Accuracy on a corrupted set: fog 1, fog 3 and snow 1 cost more and more."""
    return accuracy - 0.1 * int(eval_id[0])


def run_id(arm: int, seed: int) -> str:
    """Name the run of an arm and seed."""
    return f"{arm:06d}{seed:06d}"


# Its comparators average other checkpoints than its training did.
OTHER_MEAN = run_id(2, 2)


def write(home: Path, single_seed: bool = False) -> None:
    """Bring the study into a store."""
    rows, parts = [], []
    sets = [
        cube.evaluation_row(cube.FOGGY) | {"eval_id": key, "corruption": kind, "severity": severity}
        for key, (kind, severity) in SETS.items()
    ]
    parts.append(cube.write(home, "evaluations", "sets", sets, None))
    for a, (arm, replay, accuracies, swa) in enumerate(ARMS):
        for seed, accuracy in enumerate(accuracies[: 1 if single_seed else None]):
            run = run_id(a, seed)
            config = {
                "data": {"name": "digits"},
                "network": {"name": "mlp", "norm_layer": "batch"},
                "recipe": {"optimizer": "sgd", "lr": 0.1, "batch_size": BATCH, "steps": LAST},
                "label_noise": 0.0,
                "seeds": {"init": seed, "order": seed, "labels": seed},
                "freeze": None,
                "replay": replay,
                "branch": None,
                "swa_from": 0.75,
            }
            rows.append(
                {
                    "study": STUDY,
                    "title": "Replayed by hand",
                    "position": len(rows),
                    "arm": arm,
                    "name": f"{arm}, seed {seed}",
                    "role": "arm",
                    "run_id": run,
                    "train_size": 80,
                    "config": json.dumps(config, sort_keys=True),
                    "study_toml": "",
                }
            )
            parts += _of_run(home, run, accuracy, swa[seed] if swa else None)
    ingest(home, [cube.write(home, "studies", STUDY, rows, None), *parts])


def _of_run(home: Path, run: str, accuracy: float, swa: float | None) -> list[Path]:
    folder = home / "runs" / run / "checkpoints"
    folder.mkdir(parents=True)
    for step in STEPS:
        record = {"step": step, "epoch": step / 10, "sha256": "1" * 64, "bytes": 4}
        (folder / f"step-{step:08d}.json").write_text(json.dumps(record))
    metrics = [_metric(run, LAST, "eval", accuracy), _metric(run, 20, "eval", 0.11)]
    metrics += [] if swa is None else [_metric(run, LAST, "swa", swa)]
    parts = [cube.write(home, "metrics", run, metrics, run)]
    scored = [
        cube.corruption_rows(cube.TRUE)[0]
        | {"run_id": run, "eval_id": key, "corruption": kind, "severity": severity, "step": step}
        | {"accuracy": corrupted(accuracy, key) - (0 if step == LAST else 0.5)}
        for key, (kind, severity) in SETS.items()
        for step in STEPS
    ]
    parts.append(cube.write(home, "corruptions", f"c-{run}", scored, run))
    if swa is not None:
        # From step 30, 0.75 of the last, on; that from 20 on is another mean.
        first = 20 if run == OTHER_MEAN else 30
        averages = [_average(run, key, first, corrupted(swa, key)) for key in SETS]
        parts.append(cube.write(home, "comparators", f"m-{run}", averages, run))
    return parts


def _metric(run: str, step: int, mode: str, accuracy: float) -> dict[str, Any]:
    return {
        "run_id": run,
        "step": step,
        "epoch": step / 10,
        "split": "test",
        "mode": mode,
        "labels": "true",
        "n": 100,
        "correct": 0,
        "accuracy": accuracy,
        "loss": 1.0,
        "lr": 0.1,
    }


def _average(run: str, eval_id: str, first: int, accuracy: float) -> dict[str, Any]:
    return {
        "run_id": run,
        "eval_id": eval_id,
        "split": "test",
        "comparator": "swa",
        "first_step": first,
        "last_step": LAST,
        "checkpoints": 2,
        "norm": "recalibrate",
        "n": 100,
        "correct": 0,
        "accuracy": accuracy,
        "loss": 1.0,
    }
