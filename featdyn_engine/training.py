"""The training loop: deterministic, and resumable at every checkpoint.

Whatever is drawn at random is drawn from a seed and a position (the epoch, the step), never from
a generator that lives on; so a resumed run needs weights, momenta and a step number, and goes on
exactly where the other stopped.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine import checkpoints, restored
from featdyn_engine.data import registry as data_registry
from featdyn_engine.data.augmentation import augment
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.domain import InputError, RunConfig, RunFailedError
from featdyn_engine.files import write_json
from featdyn_engine.metrics import METRICS, metrics_row, monitored, score
from featdyn_engine.models import registry as model_registry
from featdyn_engine.randomness import generator
from featdyn_engine.recipes import optimizers
from featdyn_engine.recipes.interventions import Interventions, average
from featdyn_engine.recipes.schedules import learning_rate, steps_per_epoch
from featdyn_engine.science.comparators import past
from featdyn_engine.science.execution import cpu_threads, exact_arithmetic
from featdyn_engine.science.recalibration import chosen_images, mini_batches, recalibrate

# How often a loss that is not finite is looked for: looking waits for the accelerator.
LOOK_EVERY = 50


@dataclass
class Log:
    """What a resumed run must remember: its step, metrics so far, sums of the epoch under way."""

    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    n: int = 0
    correct: float = 0
    loss: float = 0.0
    branched: bool = False
    ended: bool = False


class Training:
    """One training under way: its data and network on their device, and what it remembers."""

    def __init__(self, config: RunConfig, dataset: Dataset, home: Path) -> None:
        self.config = config
        self.recipe = config.recipe
        self.home = home
        self.folder = checkpoints.run_folder(home, config.run_id)
        self.device = torch.device(config.device)
        self.dataset = dataset
        classes = self.dataset.task.classes
        labels = self.dataset.train_labels
        labels = noisy_labels(labels, config.label_noise, classes, config.seeds.labels)
        self.train = (self.dataset.train_images.to(self.device), labels.to(self.device))
        self.test = tuple(
            part.to(self.device) for part in (self.dataset.test_images, self.dataset.test_labels)
        )
        self.per_epoch = steps_per_epoch(len(labels), self.recipe.batch_size)
        self.network = self._on_device(
            model_registry.build(config.network, self.dataset.task, config.seeds.init)
        )
        self.optimizers = optimizers.build(self.recipe, self.network)
        self.interventions = Interventions(
            config,
            self.network,
            torch.compile(self.network) if config.compile else self.network,
            self._of_parent,
            lambda step: self._stored(config, step),
            lambda: [step for step in config.stored_steps if step <= self.log.step],
        )
        self.log = Log()
        # Sums of the epoch under way, and the first step whose loss was not finite, or -1: kept
        # on the device, which is not waited for at every step. MPS has no double precision.
        double = torch.float32 if self.device.type == "mps" else torch.float64
        self.sums = torch.zeros(2, dtype=double, device=self.device)
        self.bad_step = torch.tensor(-1, device=self.device)
        self.order = lru_cache(1)(self._order)

    def _on_device(self, network: nn.Sequential) -> nn.Sequential:
        network = network.to(self.device)
        if self.config.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def _of_parent(self, step: int) -> nn.Sequential:
        parent = self.config.parent
        if parent is None:
            raise ValueError(f"run {self.config.run_id} has no parent")
        try:
            return self._stored(parent, step)
        except FileNotFoundError:
            raise RunFailedError(
                self.log.step,
                f"expected the checkpoint of step {step} of its parent {parent.run_id}, found "
                "none: it may have ended before (stop_at); name a step that it stored",
            ) from None

    def _stored(self, source: RunConfig, step: int) -> nn.Sequential:
        """Return the network of a checkpoint, ready to look at."""
        network = model_registry.build(self.config.network, self.dataset.task)
        folder = checkpoints.run_folder(self.home, source.run_id)
        network.load_state_dict(checkpoints.load(folder, step))
        return self._on_device(network).eval().requires_grad_(False)

    def _order(self, seed: int, epoch: int) -> Tensor:
        stream = generator("order", seed, epoch)
        return torch.randperm(len(self.train[1]), generator=stream).to(self.device)

    def begin(self) -> None:
        """Take up the resume point, or the weights that an intervention starts from."""
        tensors, log = checkpoints.load_resume(self.folder)
        if log:
            self.log = Log(**json.loads(log))
            self.network.load_state_dict(tensors["network"])
            optimizers.load_state(self.optimizers, tensors["optimizers"])
            self.sums[:] = torch.tensor([self.log.loss, self.log.correct], dtype=self.sums.dtype)
        else:
            self.interventions.take_weights()
            if self.config.branch is None:
                self.checkpoint()
        self.interventions.set_mode(self.log.step)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Images as the network takes them, and labels, of the update that comes next."""
        seed = self.config.seeds.order
        if self.config.branch and self.log.branched:
            seed = self.config.branch.order
        epoch, position = divmod(self.log.step, self.per_epoch)
        start = position * self.recipe.batch_size
        chosen = self.order(seed, epoch)[start : start + self.recipe.batch_size]
        images = self.train[0][chosen]
        if self.recipe.augmentation:
            stream = generator("augmentation", seed, self.log.step)
            images = augment(images, self.recipe.augmentation, stream)
        images = self.dataset.normalise(images)
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, self.train[1][chosen]

    def update(self) -> None:
        """Do one update."""
        step, recipe = self.log.step, self.recipe
        images, labels = self.batch()
        self.interventions.before_update(step)
        optimizers.set_learning_rate(self.optimizers, learning_rate(recipe, step))
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits = self.interventions(images, step)
        logits = logits.float()
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        self.network.zero_grad()
        loss.backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            self.sums[0] += loss * len(labels)
            self.sums[1] += (logits.argmax(dim=1) == labels).sum()
            good = loss.isfinite() | (self.bad_step >= 0)
            self.bad_step = torch.where(good, self.bad_step, step)
        self.log.step += 1
        self.log.n += len(labels)

    def look(self) -> None:
        """Raise RunFailedError if a loss was not finite."""
        step = int(self.bad_step)
        if step >= 0:
            raise RunFailedError(
                step,
                f"expected a finite loss, got one that is not, in the update after step {step} "
                f"(learning rate {learning_rate(self.recipe, step):.3g}); lower lr, add warmup, "
                "or set clip_norm",
            )

    def end_epoch(self) -> None:
        """Record the epoch's running accuracy; end early where the recipe says so."""
        self.look()
        loss, correct = self.sums.tolist()
        n = self.log.n
        self.record("train", "running", "trained_on", n, int(correct), loss / n)
        stop_at = self.recipe.stop_at
        self.log.ended = stop_at is not None and correct / n >= stop_at
        self.log.n = 0
        self.sums.zero_()

    def record(self, split: str, mode: str, labels: str, n: int, correct: int, loss: float) -> None:
        """Add a row of METRICS; a branch repeats its parent up to its step, and has none there."""
        log = self.log
        if log.branched or self.config.branch is None:
            place = (self.config.run_id, log.step, log.step / self.per_epoch, split, mode, labels)
            lr = learning_rate(self.recipe, max(log.step - 1, 0))
            log.rows.append(metrics_row(place, n, correct, loss, lr))

    def measure(self, mode: str, most: int | None) -> None:
        """Score a network on ``most`` fixed examples of each split; None: on all of them."""
        for split, kind, (images, labels) in (
            ("train", "trained_on", self.train),
            ("test", "true", self.test),
        ):
            if most is not None and most < len(labels):
                chosen = monitored(len(labels), most).to(self.device)
                images, labels = images[chosen], labels[chosen]
            correct, loss = score(self.network, self.dataset, images, labels)
            self.record(split, mode, kind, len(labels), correct, loss)

    def checkpoint(self) -> None:
        """Score the network, store it, and store from where to go on."""
        log = self.log
        self.look()
        self.measure("eval", None if log.ended else self.recipe.monitor)
        if not all(weight.isfinite().all() for weight in self.network.parameters()):
            raise RunFailedError(
                log.step,
                f"expected finite weights, got others after step {log.step}; lower lr, add "
                "warmup, or set clip_norm",
            )
        checkpoints.save(
            self.folder, log.step, log.step / self.per_epoch, self.network.state_dict()
        )
        log.loss, log.correct = self.sums.tolist()
        checkpoints.save_resume(
            self.folder,
            {
                "network": self.network.state_dict(),
                "optimizers": optimizers.state(self.optimizers),
            },
            json.dumps(asdict(log)),
        )

    def branch_off(self) -> None:
        """Become the parent's checkpoint at the branch.

        On a CPU the weights are these already, to the last bit, as both runs did the same up to
        here; doing it again brings the momenta along, which checkpoints don't hold.
        """
        branch, log = self.config.branch, self.log
        if branch and log.step == branch.step and not log.branched:
            log.branched = True
            self.network.load_state_dict(self._of_parent(branch.step).state_dict())
            self.checkpoint()

    def average_checkpoints(self) -> None:
        """Store the mean of the late checkpoints, its BatchNorm estimated on training images."""
        if self.config.swa_from is None:
            return
        # Of the steps done, as a run may have ended early.
        stored = [each.step for each in checkpoints.listing(self.folder)]
        late = past(stored, self.config.swa_from)
        self.network.load_state_dict(average(checkpoints.load(self.folder, step) for step in late))
        images = self.train[0]
        batches = mini_batches(chosen_images(len(images)).to(self.device))
        normalise = self.dataset.normalise
        recalibrate(self.network, (normalise(images[batch]) for batch in batches))
        self.measure("swa", None)
        checkpoints.save_derived(self.folder, "swa", late, self.network.state_dict())

    def go(self, progress: Callable[[float], None]) -> None:
        """Train from the resume point to the end."""
        self.begin()
        steps = self.recipe.steps
        first_step = self.config.branch.step if self.config.branch else 0
        while not self.log.ended:
            self.branch_off()
            self.update()
            step = self.log.step
            if step % LOOK_EVERY == 0:
                self.look()
            if step % self.per_epoch == 0:
                self.end_epoch()
            self.log.ended |= step == steps
            if self.log.ended or (step in self.config.checkpoints and step > first_step):
                self.checkpoint()
            progress(step / steps)
        self.average_checkpoints()


def train(
    config: RunConfig, home: Path, progress: Callable[[float], None] = lambda share: None
) -> pa.Table:
    """Train the run of ``config``, writing its checkpoints; return its metrics (see METRICS).

    Goes on from the last checkpoint of an interrupted run, to the same bits. ``progress`` hears
    the share done, 0 to 1. Raises RunFailedError where loss or weights are not finite, InputError
    for a run that was restored from a snapshot.
    """
    folder = checkpoints.run_folder(home, config.run_id)
    if restored.of(folder) is not None:
        raise InputError(
            f"run {config.run_id}: expected a run of this home, got one restored from a snapshot, "
            "whose rows would stand beside those of another training; set FEATDYN_HOME to "
            "another folder"
        )
    write_json(folder / "config.json", asdict(config))
    with cpu_threads(config.threads), exact_arithmetic():
        run = Training(config, data_registry.load(config.data, home), home)
        run.go(progress)
    checkpoints.remove_resume(folder)
    return pa.Table.from_pylist(run.log.rows, METRICS)
