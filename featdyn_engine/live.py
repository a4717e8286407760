"""Splices, now: evaluated from checkpoint files, nothing stored."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from featdyn_engine import checkpoints
from featdyn_engine.analyses.networks import network_of, training_batches
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.data.evaluation import EvalSet
from featdyn_engine.domain import Cut, EvalConfig, InputError, Norm, RunConfig
from featdyn_engine.kept import Kept
from featdyn_engine.machine import cores
from featdyn_engine.science.execution import SAMPLE, cpu_threads, placed, prepared
from featdyn_engine.science.recalibrated import recalibrated_composite
from featdyn_engine.science.splice import Progress, compose, logits_of, silent
from featdyn_engine.splice_cell import BATCH, Cell, cell_of, sentence
from featdyn_engine.splice_request import Request, checked, request

__all__ = ["Cell", "Evaluator", "Request", "Scored", "request", "sentence", "splice"]

ROOM = 512 * 2**20


class Scored(NamedTuple):
    """A cell with its examples.

    logits: float32 (N, K) of the composite, own: of the network of the deep step itself, under
    the same normalisation. Both on the CPU.
    """

    cell: Cell
    examples: EvalSet
    logits: Tensor
    own: Tensor


def splice(request: Request, home: Path) -> list[Cell]:
    """Evaluate a request on the run's device: one cell for each of its shallow steps.

    Raises InputError as ``Evaluator.scored`` does.
    """
    evaluator = Evaluator(home, torch.device(request.run.device))
    return [evaluator.scored(request, step).cell for step in request.shallow_steps]


class Evaluator:
    """Evaluates splices one after another, and keeps what the next ones may need.

    Networks, images and logits are kept, up to ``room`` bytes in all; what a network computes goes
    by the hash of its checkpoint, so that a file which was replaced is read anew. Images of a set
    that take more than ``largest`` bytes are refused. The numbers are those of stored cells of the
    same kind of device, float32, a batch of 250: mini-batches are spread over the cores, each
    computed with the run's number of threads.
    """

    def __init__(
        self, home: Path, device: torch.device, room: int = ROOM, largest: int | None = None
    ) -> None:
        self.home, self.device, self.largest = home, device, largest
        self.kept = Kept(room)

    def scored(self, request: Request, step: int, progress: Progress = silent) -> Scored:
        """Evaluate one of a request's shallow steps; ``progress`` hears the share done, 0 to 1.

        Raises InputError for a step that isn't stored, a cut or a mode that the network doesn't
        have, two runs whose networks differ, a set too large to hold, and a checkpoint whose file
        is missing or damaged.
        """
        pair = self._pair(request, step)
        examples = self.examples(request.evaluation)
        with cpu_threads(request.run.threads):
            own = self._logits(pair.own, examples, request, lambda done: progress(done / 2))
            logits = self._logits(pair, examples, request, lambda done: progress((1 + done) / 2))
        about = (request, step, pair.cut, pair.norm, examples)
        return Scored(cell_of(*about, logits, own), examples, logits, own)

    def one(self, request: Request, step: int, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what composite and deep network say of one more image: logits (K,) each.

        image: float32 (1, C, H, H), normalised. Raises InputError as ``scored`` does.
        """
        pair = self._pair(request, step)
        sample = self.examples(request.evaluation).images[:SAMPLE]
        x = placed(image, self.device)
        with cpu_threads(request.run.threads):
            logits, own = (
                logits_of(self._network(each, sample), x, BATCH)[0] for each in (pair, pair.own)
            )
        return logits, own

    def examples(self, about: EvalConfig) -> EvalSet:
        """Return an evaluation set, its images as prepared networks take them."""

        def load() -> EvalSet:
            task = data_registry.load(about.data, self.home).task
            count = evaluation.size(about, self.home)
            size = count * 4 * task.channels * task.pixels**2
            if self.largest is not None and size > self.largest:
                raise InputError(
                    f"evaluation: expected at most {self.largest // (size // count):,} images of "
                    f"this size, got {count:,}; choose a set of fewer"
                )
            found = evaluation.load(about, self.home)
            return replace(found, images=placed(found.images, self.device))

        return self.kept.get(("examples", about.eval_id, about.corruption_folder), load)

    def _pair(self, request: Request, step: int) -> "_Pair":
        cut, norm = checked(request, self.home)
        return _Pair(
            self._part(request.shallow_run, step),
            self._part(request.run, request.deep_step),
            cut,
            norm,
        )

    def _part(self, run: RunConfig, step: int) -> "_Part":
        folder = checkpoints.run_folder(self.home, run.run_id)
        hashes = {each.step: each.sha256 for each in checkpoints.listing(folder)}
        return _Part(run, step, hashes[step])

    def _logits(
        self, pair: "_Pair", examples: EvalSet, request: Request, progress: Progress
    ) -> Tensor:
        workers = 1
        if self.device.type == "cpu":
            workers = max(cores() // request.run.threads, 1)
        key = ("logits", *pair.key, examples.sha256)
        return self.kept.get(
            key,
            lambda: logits_of(
                self._network(pair, examples.images[:SAMPLE]),
                examples.images,
                BATCH,
                workers,
                progress,
            ),
        )

    def _network(self, pair: "_Pair", sample: Tensor) -> nn.Sequential:
        """Return a composite; ``sample``: images on which folding is proved."""
        shallow, deep = pair.shallow, pair.deep
        if pair.norm in ("inherit", "none"):
            return compose(
                self.kept.get(
                    ("prepared", *shallow.key), lambda: prepared(self._stored(shallow), sample)
                ),
                self.kept.get(
                    ("prepared", *deep.key), lambda: prepared(self._stored(deep), sample)
                ),
                pair.depth,
            )
        return self.kept.get(
            ("recalibrated", *pair.key),
            lambda: recalibrated_composite(
                self.kept.get(("plain", *shallow.key), lambda: self._stored(shallow)),
                self.kept.get(("plain", *deep.key), lambda: self._stored(deep)),
                pair.depth,
                training_batches(deep.run, self.home, self.device),
                whole=pair.norm == "recalibrate",
            ),
        )

    def _stored(self, part: "_Part") -> nn.Sequential:
        name = f"the checkpoint of step {part.step:,} of run {part.run.run_id}"
        try:
            return network_of(part.run, part.step, self.home, self.device)
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"expected {name}, found no such file") from None
        except (OSError, ValueError, RuntimeError, SafetensorError):
            raise InputError(
                f"expected {name} as training wrote it, got a damaged file; `featdyn verify` "
                "names what is damaged"
            ) from None


@dataclass(frozen=True)
class _Part:
    """One side of a splice: a run at a step, with the hash of its checkpoint."""

    run: RunConfig
    step: int
    sha256: str

    @property
    def key(self) -> tuple[str, int, str]:
        return self.run.run_id, self.step, self.sha256


@dataclass(frozen=True)
class _Pair:
    """Two sides, and how they are joined."""

    shallow: _Part
    deep: _Part
    cut: Cut
    norm: Norm

    @property
    def own(self) -> "_Pair":
        """The network of the deep step, under the same treatment."""
        return replace(self, shallow=self.deep)

    @property
    def depth(self) -> int:
        # A network under itself is the same at every cut, unless the cut decides what is estimated.
        whole = self.shallow == self.deep and self.norm != "recalibrate_deep"
        return 0 if whole else self.cut.depth

    @property
    def key(self) -> tuple[object, ...]:
        return *self.shallow.key, *self.deep.key, self.depth, self.norm
