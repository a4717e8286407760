"""Metrics of a training that featdyn has not done, from its checkpoints."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import torch

from featdyn_engine import checkpoints
from featdyn_engine.analyses.networks import network_of
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import RunConfig
from featdyn_engine.files import write_json
from featdyn_engine.learning_rates import rate_told
from featdyn_engine.metrics import METRICS, metrics_row, monitored, score
from featdyn_engine.science.execution import cpu_threads, exact_arithmetic


def score_recorded(
    config: RunConfig, home: Path, progress: Callable[[float], None] = lambda share: None
) -> pa.Table:
    """Score every checkpoint of a recorded run on both splits: rows of METRICS, mode ``eval``.

    As in a training of featdyn's, at most ``recipe.monitor`` fixed examples of a split, at the
    last checkpoint all of them. What a study said of the run is kept with it.
    """
    folder = checkpoints.run_folder(home, config.run_id)
    write_json(folder / "config.json", asdict(config))
    dataset = data_registry.load(config.data, home)
    device = torch.device(config.device)
    splits = (
        ("train", "trained_on", dataset.train_images, dataset.train_labels),
        ("test", "true", dataset.test_images, dataset.test_labels),
    )
    stored = checkpoints.listing(folder)
    rows = []
    with cpu_threads(config.threads), exact_arithmetic():
        for done, checkpoint in enumerate(stored, start=1):
            network = network_of(config, checkpoint.step, home)
            most = None if checkpoint is stored[-1] else config.recipe.monitor
            for split, labels, images, known in splits:
                chosen = monitored(len(known), most)
                asked = (images[chosen].to(device), known[chosen].to(device))
                correct, loss = score(network, dataset, *asked)
                place = (config.run_id, checkpoint.step, checkpoint.epoch, split, "eval", labels)
                rate = rate_told(config, home, checkpoint.step)
                rows.append(metrics_row(place, len(chosen), correct, loss, rate))
            progress(done / len(stored))
    return pa.Table.from_pylist(rows, METRICS)
