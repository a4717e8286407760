"""What a splice is compared with: averages of checkpoints, in weights or in predictions.

Stochastic weight averaging (SWA, Izmailov et al., arXiv 1803.05407) means weights; an ensemble of
checkpoints (Huang et al., arXiv 1704.00109) means predicted probabilities. Both use several
states of one training, as a splice does, but never the features of one under another.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine.science.execution import exact_arithmetic


@dataclass(frozen=True)
class Score:
    """What was right among ``n`` examples, and the mean cross-entropy in nats."""

    n: int
    correct: int
    loss: float


def score(logits: Tensor, labels: Tensor) -> Score:
    """Score logits, or the logarithms of probabilities, (N, K) against labels, int64 (N,)."""
    logits = logits.cpu().double()
    labels = labels.cpu()
    correct = int((logits.argmax(dim=1) == labels).sum())
    return Score(len(labels), correct, float(F.cross_entropy(logits, labels)))


def past(steps: Sequence[int], share: float) -> list[int]:
    """Return the checkpoints from ``share`` (0 to 1) of the last step on; the last is always one.

    The same that a training averages for its derived checkpoint.
    """
    # 0.55 * 100 is a little more than 55.
    first = share * max(steps) - 1e-6
    return [step for step in steps if step >= first]


@torch.inference_mode()
def ensemble_logits(networks: Sequence[nn.Module], images: Tensor, batch_size: int) -> Tensor:
    """Return the logarithm of the mean of the networks' predicted probabilities, float64 (N, K).

    Of one network that is its own log-softmax. Networks in evaluation mode, on one device with
    the images (N, C, H, W), normalised; the result is on the CPU.
    """
    total = torch.tensor(-torch.inf, dtype=torch.float64)
    with exact_arithmetic():
        for network in networks:
            logits = torch.cat([network(batch).cpu() for batch in images.split(batch_size)])
            # Sums of logarithms: a probability too small for a number still has one.
            total = torch.logaddexp(total, logits.double().log_softmax(dim=1))
    return total - math.log(len(networks))
