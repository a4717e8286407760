"""Steps of an optimiser from each of many mini-batch gradients, at fixed weights and state.

A step is -eta times a *direction*: for SGD the gradient itself, for Adam and AdamW the gradient
divided, coordinate by coordinate, by the root of a running mean of its squares (Kingma & Ba, arXiv
1412.6980; Loshchilov & Hutter, arXiv 1711.05101). Checkpoints keep no optimiser state. Here it is
what ``updates`` gradients drawn at *these* weights would have left in expectation, estimated by
the draws at hand: this project's operationalisation, exact at step 0, where the state is zero.
AdamW's weight decay shifts all steps alike and is left out, as SGD's is; Adam's enters the
gradient before it is divided, and is kept.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

StepRule = Literal["sgd", "adam", "adamw"]
STEP_RULES: tuple[StepRule, ...] = get_args(StepRule)
# Rows whose directions are made at one time.
ROWS = 16


def adam_directions(
    gradients: Tensor, updates: int, betas: tuple[float, float], eps: float
) -> Tensor:
    """Return Adam's direction for each gradient (B, P), as if it were the next one: float32 (B, P).

    With m and v the means over the draws of g and g^2, after t = ``updates`` such gradients the
    state is (1 - beta_1^t) m and (1 - beta_2^t) v; the direction is that of the update t + 1, with
    the usual correction of its bias. At t = 0 it is g / (|g| + eps), whatever the betas. All draws
    meet the same state. Raises ValueError for updates below 0 or no draws.
    """
    if gradients.ndim != 2 or not len(gradients) or updates < 0:
        raise ValueError(
            "expected gradients (B, P), B at least 1, and updates of 0 or more, got "
            f"{tuple(gradients.shape)} and {updates}"
        )
    first, second = (1 - beta ** (updates + 1) for beta in betas)
    mean = gradients.mean(dim=0) * (betas[0] * (1 - betas[0] ** updates) / first)
    square = torch.zeros_like(mean)
    for part in gradients.split(ROWS):
        square += part.square().sum(dim=0)
    square *= betas[1] * (1 - betas[1] ** updates) / second / len(gradients)
    found = torch.empty_like(gradients)
    for part, out in zip(gradients.split(ROWS), found.split(ROWS), strict=True):
        divisor = (square + part.square() * ((1 - betas[1]) / second)).sqrt_().add_(eps)
        torch.div(mean + part * ((1 - betas[0]) / first), divisor, out=out)
    return found


def optimizer_state(rule: StepRule, step: int) -> str:
    """Say where the state behind a direction comes from, in the words of the rows."""
    if rule == "sgd":
        return "none"
    return "estimated" if step else "exact"
