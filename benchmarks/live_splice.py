"""How long a visitor of the Splice lab waits: ResNet-20, 1,000 images at 32 x 32.

``cold``: from no worker to the first answer, the import of torch included. Then with a worker at
work: ``shallow``, another shallow step under the same deep one; ``deep``, another deep step;
``corruption``, the same cell on images that must be corrupted first. Questions follow each other
without the pause that the desk makes between those of one visitor. ``ratio``: goal / measured.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from app.desk import Answered, Desk, Limits
from app.live import COMMAND
from app.worker import Worker
from benchmarks.harness import RESULTS, write
from featdyn_engine import checkpoints
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe, RunConfig
from featdyn_engine.files import write_json
from featdyn_engine.models import registry

GOALS = {"cold": 2.0, "shallow": 0.7, "deep": 0.7, "corruption": 1.0}
ROOT = Path(__file__).parents[1]
KIND = "gaussian_blur"
CUT = "stage1.2"
PATIENCE = 300.0


def measure(
    images: int = 1000, pixels: int = 32, repeats: int = 5, folder: Path = RESULTS
) -> dict[str, object]:
    """Time each kind of wait, ``repeats`` times (cold: three); write the table."""
    with tempfile.TemporaryDirectory() as home:
        run = prepared_run(Path(home), images, pixels, repeats + 2)
        ask = Asker(Path(home), run)
        load = os.getloadavg()[0]
        last = run.checkpoints[-1]
        asked: dict[str, list[dict[str, Any]]] = {
            "shallow": [{"shallow": k + 2} for k in range(repeats)],
            "deep": [{"shallow": last, "deep": k + 1} for k in range(repeats)],
            "corruption": [
                {"shallow": 1, "corruption": KIND, "severity": k + 1} for k in range(repeats)
            ],
        }
        times: dict[str, list[float]] = {"cold": []}
        for _ in range(min(3, repeats)):
            ask.close()
            times["cold"].append(_seconds(partial(ask.answer, shallow=1)))
        for name, choices in asked.items():
            times[name] = [_seconds(partial(ask.answer, **choice)) for choice in choices]
        ask.close()
    torch_import = [_seconds(_import_torch) for _ in range(min(3, repeats))]
    measured = {name: statistics.median(each) for name, each in times.items()}
    return write(
        "live_splice",
        {
            "goal": GOALS,
            "reference": "the goals, in seconds; nothing else answers such a question",
            "ratio": {name: round(GOALS[name] / each, 3) for name, each in measured.items()},
            "seconds": {name: round(each, 3) for name, each in measured.items()},
            "torch_import_seconds": round(statistics.median(torch_import), 3),
            "workload": {
                "images": images,
                "pixels": pixels,
                "network": "resnet20",
                "cut": CUT,
            },
            "load_average_before": round(load, 1),
            "n": {name: len(each) for name, each in times.items()},
        },
        folder,
    )


def prepared_run(home: Path, images: int, pixels: int, steps: int) -> RunConfig:
    """Write a run with ``steps`` checkpoints, initial weights of as many seeds, and its images."""
    draw = np.random.default_rng(0)
    data = home / "pictures"
    data.mkdir()
    for split in ("train", "test"):
        rows = [_picture(draw, pixels) for _ in range(images)]
        labels = [k % 10 for k in range(images)]
        table = pa.table({"image": [{"bytes": row, "path": ""} for row in rows], "label": labels})
        pq.write_table(table, data / f"{split}-00000-of-00001.parquet")
    source = data_registry.identified(DataConfig(name="parquet", folder=str(data)), home)
    run = RunConfig(
        data=source,
        network=NetworkConfig(name="resnet20"),
        recipe=Recipe(steps=steps),
        checkpoints=tuple(range(1, steps + 1)),
    )
    task = data_registry.load(source, home).task
    run_folder = checkpoints.run_folder(home, run.run_id)
    for step in run.checkpoints:
        state = registry.build(run.network, task, step).state_dict()
        checkpoints.save(run_folder, step, float(step), state)
    write_json(run_folder / "config.json", asdict(run))
    return run


def _picture(draw: np.random.Generator, pixels: int) -> bytes:
    """Smooth random colours, as PNG."""
    rough = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    content = io.BytesIO()
    rough.resize((pixels, pixels), Image.Resampling.BILINEAR).save(content, "PNG")
    return content.getvalue()


class Asker:
    """Asks a desk, which opens with the first question."""

    def __init__(self, home: Path, run: RunConfig) -> None:
        self.home, self.run = home, run
        self.desk: Desk | None = None

    def answer(self, **choice: object) -> Answered:
        """Return what the worker answers. Raises RuntimeError where it is no answer."""
        self.desk = self.desk or Desk(lambda: Worker(COMMAND, folder=ROOT), Limits(between=0))
        run_id = self.run.run_id
        words = {
            "kind": "splice",
            "home": str(self.home),
            "run": run_id,
            "shallow_run": run_id,
            "deep": self.run.checkpoints[-1],
            "cut": CUT,
            "evaluation": "test",
            "corruption": "none",
            "severity": 0,
            "norm": None,
            **choice,
        }
        state = self.desk.ask("benchmark", tuple(words.items()), words, PATIENCE)
        if not isinstance(state, Answered):
            raise RuntimeError(f"live_splice: expected an answer, got {state}")
        return state

    def close(self) -> None:
        """End the worker, if there is one."""
        if self.desk is not None:
            self.desk.close()
        self.desk = None


def _import_torch() -> None:
    subprocess.run([sys.executable, "-c", "import torch"], check=True)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
