"""The training loop: one page, deterministic, resumable at every checkpoint.

Whatever is drawn at random is drawn from a seed and a position (the epoch), never from a
generator that lives on; so a resumed run needs weights, momenta and a step number, and goes on
exactly where the other stopped.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from featdyn_engine import checkpoints
from featdyn_engine.data import registry as data_registry
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.domain import Recipe, RunConfig
from featdyn_engine.models import registry as model_registry
from featdyn_engine.randomness import generator

METRICS = pa.schema(
    [
        ("run_id", pa.string()),
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("split", pa.string()),
        ("mode", pa.string()),
        ("labels", pa.string()),
        ("n", pa.int64()),
        ("correct", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
        ("lr", pa.float64()),
    ]
)
EVALUATION_BATCH = 500
RESUME = "resume.safetensors"
WARM_UP_SHARE = 0.3


def steps_per_epoch(train_size: int, batch_size: int) -> int:
    """Full mini-batches in one pass; the few examples left over differ from pass to pass.

    A training set smaller than one mini-batch is one smaller mini-batch.
    """
    return max(train_size // batch_size, 1)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Learning rate of the update that leads from ``step`` to ``step + 1``.

    ``one_cycle`` (Smith & Topin, arXiv 1708.07120) climbs linearly from lr/25 for 30 % of the
    steps, then falls along a half cosine to zero. Momentum is not cycled.
    """
    progress = step / recipe.steps
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "step":
        # The first step at or past the share; 0.3 * 30 is a little more than 9 in floating point.
        marks = [math.ceil(share * recipe.steps - 1e-6) for share in recipe.milestones]
        passed = sum(step >= mark for mark in marks)
        return recipe.lr * recipe.gamma**passed
    if progress < WARM_UP_SHARE:
        return recipe.lr * (1 / 25 + (1 - 1 / 25) * progress / WARM_UP_SHARE)
    fall = (progress - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)
    return recipe.lr * (1 + math.cos(math.pi * fall)) / 2


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run a block with ``count`` CPU threads: sums in another order are other weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def score(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[int, float]:
    """Correct predictions and mean cross-entropy (nats) in evaluation mode."""
    network.eval()
    correct, loss = 0, 0.0
    batches = zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True)
    for x, y in batches:
        logits = network(x)
        correct += int((logits.argmax(dim=1) == y).sum())
        # In double precision, which MPS lacks.
        loss += float(F.cross_entropy(logits.cpu().double(), y.cpu(), reduction="sum"))
    network.train()
    return correct, loss / len(labels)


@dataclass
class Log:
    """What a resumed run must remember: its step, metrics so far, sums of the epoch under way."""

    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    n: int = 0
    correct: int = 0
    loss: float = 0.0


def _store_resume(folder: Path, network: nn.Module, optimizer: SGD, log: Log) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors[f"momentum.{index}"] = state["momentum_buffer"]
    checkpoints.write_tensors(folder / RESUME, tensors, {"log": json.dumps(asdict(log))})


def _load_resume(folder: Path, network: nn.Module, optimizer: SGD) -> Log:
    path = folder / RESUME
    if not path.exists():
        return Log()
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        log = Log(**json.loads(file.metadata()["log"]))
    network.load_state_dict(
        {
            name.removeprefix("network."): tensor
            for name, tensor in tensors.items()
            if name.startswith("network.")
        }
    )
    state = optimizer.state_dict()
    state["state"] = {
        int(name.removeprefix("momentum.")): {"momentum_buffer": tensor}
        for name, tensor in tensors.items()
        if name.startswith("momentum.")
    }
    optimizer.load_state_dict(state)
    return log


def train(
    config: RunConfig, home: Path, progress: Callable[[float], None] = lambda share: None
) -> pa.Table:
    """Train the run of ``config``, writing its checkpoints; return its metrics (see METRICS).

    Goes on from the last checkpoint of an interrupted run, to the same bits. ``progress`` hears
    the share done, 0 to 1.
    """
    folder = checkpoints.run_folder(home, config.run_id)
    checkpoints.write_json(folder / "config.json", asdict(config))
    recipe, device = config.recipe, config.device
    dataset = data_registry.load(config.data)
    true_labels, classes = dataset.train_labels, dataset.classes
    labels = noisy_labels(true_labels, config.label_noise, classes, config.seeds.labels).to(device)
    images = dataset.normalise(dataset.train_images).to(device)
    test_images = dataset.normalise(dataset.test_images).to(device)
    test_labels = dataset.test_labels.to(device)
    network = model_registry.build(config.network, dataset.channels, classes, config.seeds.init)
    network.to(device)
    optimizer = SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    log = _load_resume(folder, network, optimizer)
    order_seed = config.seeds.order
    per_epoch = steps_per_epoch(len(labels), recipe.batch_size)

    def record(split: str, mode: str, kind: str, n: int, correct: int, loss: float) -> None:
        epoch, lr = log.step / per_epoch, learning_rate(recipe, max(log.step - 1, 0))
        row = (config.run_id, log.step, epoch, split, mode, kind, n, correct, correct / n, loss, lr)
        log.rows.append(dict(zip(METRICS.names, row, strict=True)))

    def checkpoint() -> None:
        record("train", "eval", "trained_on", len(labels), *score(network, images, labels))
        record("test", "eval", "true", len(test_labels), *score(network, test_images, test_labels))
        checkpoints.save(folder, log.step, log.step / per_epoch, network.state_dict())
        _store_resume(folder, network, optimizer, log)

    with cpu_threads(config.threads):
        network.train()
        if not log.rows:
            checkpoint()
        while log.step < recipe.steps:
            epoch, position = divmod(log.step, per_epoch)
            order = torch.randperm(len(labels), generator=generator("order", order_seed, epoch))
            start = position * recipe.batch_size
            batch = order[start : start + recipe.batch_size].to(device)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, log.step)
            logits = network(images[batch])
            loss = F.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            log.step += 1
            log.n += len(batch)
            log.correct += int((logits.argmax(dim=1) == labels[batch]).sum())
            log.loss += loss.item() * len(batch)
            if log.step % per_epoch == 0:
                record("train", "running", "trained_on", log.n, log.correct, log.loss / log.n)
                log.n, log.correct, log.loss = 0, 0, 0.0
            if log.step in config.checkpoints:
                checkpoint()
            progress(log.step / recipe.steps)
    (folder / RESUME).unlink(missing_ok=True)
    return pa.Table.from_pylist(log.rows, METRICS)
