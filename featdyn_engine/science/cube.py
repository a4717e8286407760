"""The splice cube: scores and predictions of every (cut, shallow, deep) of a set of networks."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SpliceCube:
    """What D cuts, S shallow and T deep parts do on N examples of K classes.

    depths: those of the cuts. classes: K. n: int64 (D, S, T), examples evaluated, 0 where a pair
    was left out. predicted: uint8 or int16 (D, S, T, N), meaningful where ``seen``. seen: bool
    (D, S, T, N), or None where every example was. loss: float64 (D, S, T), mean cross-entropy in
    nats. margin: float64 (D, S, T), mean of the true logit minus the largest other.
    """

    depths: tuple[int, ...]
    classes: int
    n: Tensor
    predicted: Tensor
    loss: Tensor
    margin: Tensor
    seen: Tensor | None = None

    def at(self, depth: int) -> "SpliceCube":
        """Return the one cut at ``depth`` alone, D = 1."""
        d = slice(self.depths.index(depth), self.depths.index(depth) + 1)
        seen = None if self.seen is None else self.seen[d]
        parts = (self.n[d], self.predicted[d], self.loss[d], self.margin[d], seen)
        return SpliceCube((depth,), self.classes, *parts)

    def correct(self, labels: Tensor) -> Tensor:
        """Count right predictions, int64 (D, S, T). labels: int64 (N,)."""
        return torch.stack([self._counted(d, self.predicted[d] == labels) for d in self._cuts])

    def agreement(self, reference: Tensor) -> Tensor:
        """Share of examples with the prediction of network t: float64 (D, S, T), NaN for n = 0.

        reference: what the plain networks predict, (T, N), or (D, T, N) where they differ by cut.
        """
        reference = reference.expand(len(self.depths), *reference.shape[-2:])
        counts = [self._counted(d, self.predicted[d] == reference[d]) for d in self._cuts]
        return torch.stack(counts).double() / self.n

    def predicted_shares(self) -> Tensor:
        """Share of each class among a cell's predictions: float64 (D, S, T, K), NaN for n = 0."""
        counts = [
            torch.stack([self._counted(d, self.predicted[d] == k) for k in range(self.classes)], -1)
            for d in self._cuts
        ]
        return torch.stack(counts).double() / self.n[..., None]

    @property
    def _cuts(self) -> range:
        return range(len(self.depths))

    def _counted(self, d: int, hits: Tensor) -> Tensor:
        seen = self.n[d, ..., None] > 0 if self.seen is None else self.seen[d]
        return (hits & seen).sum(dim=-1)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the true logit minus the largest other. logits (N, K), labels (N,) to (N,)."""
    true = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return true.squeeze(1) - others.amax(dim=1)


class Tally:
    """Collects logits of cells, mini-batch by mini-batch, into a SpliceCube.

    Sums are float64 and stay on the device of the logits: nothing waits for an accelerator.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        shallow: int,
        deep: int,
        labels: Tensor,
        classes: int,
        partial: bool = False,
    ) -> None:
        device, shape = labels.device, (len(depths), shallow, deep)
        self.depths, self.labels, self.classes = depths, labels, classes
        kind = torch.uint8 if classes <= 256 else torch.int16
        self.predicted = torch.zeros(*shape, len(labels), dtype=kind, device=device)
        self.seen = torch.zeros(*shape, len(labels), dtype=torch.bool) if partial else None
        # MPS has no double precision.
        double = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros(shape, dtype=double, device=device)
        self.margin = torch.zeros(shape, dtype=double, device=device)
        self.n = torch.zeros(shape, dtype=torch.int64)

    def record(self, d: int, s: int, t: int, examples: Tensor | slice, logits: Tensor) -> Tensor:
        """Count logits (B, K) of some examples of a cell; return the predictions, int64 (B,)."""
        labels = self.labels[examples]
        logits = logits.to(self.loss.dtype)
        prediction = logits.argmax(dim=1)
        self.predicted[d, s, t, examples] = prediction.to(self.predicted.dtype)
        self.loss[d, s, t] += F.cross_entropy(logits, labels, reduction="sum")
        self.margin[d, s, t] += margins(logits, labels).sum()
        self.n[d, s, t] += len(labels)
        if self.seen is not None:
            self.seen[d, s, t, examples] = True
        return prediction

    def cube(self) -> SpliceCube:
        """Return what was collected, on the CPU."""
        loss, margin = (each.cpu().double() / self.n for each in (self.loss, self.margin))
        predicted = self.predicted.cpu()
        return SpliceCube(self.depths, self.classes, self.n, predicted, loss, margin, self.seen)


def cell(depth: int, logits: Tensor, labels: Tensor, batch_size: int) -> SpliceCube:
    """Return the cube of one cell, D = S = T = 1, from its logits (N, K) and labels (N,).

    Summed mini-batch by mini-batch, as in a cube of many cells: the same to the last bit.
    """
    tally = Tally((depth,), 1, 1, labels, logits.shape[1])
    for start in range(0, len(labels), batch_size):
        examples = slice(start, start + batch_size)
        tally.record(0, 0, 0, examples, logits[examples])
    return tally.cube()
