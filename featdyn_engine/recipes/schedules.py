"""Schedules of the learning rate and of checkpoints, as functions of the step alone."""

import math

from featdyn_engine.domain import Recipe

ONE_CYCLE_WARM_UP = 0.3
WARM_UP_START = 1 / 25


def learning_rate(recipe: Recipe, step: int) -> float:
    """Learning rate of the update that leads from ``step`` to ``step + 1``.

    Every schedule can begin with a warm-up, a linear climb from lr/25. After it, ``constant``
    stays; ``step`` is multiplied by ``gamma`` at each of the ``milestones`` (shares of all
    steps); ``cosine`` falls along a half cosine to zero (Loshchilov & Hutter, arXiv 1608.03983,
    without restarts); ``one_cycle`` (Smith & Topin, arXiv 1708.07120) is the cosine with a
    warm-up of 30 %. Momentum is not cycled.
    """
    share = recipe.warmup
    if share is None:
        share = ONE_CYCLE_WARM_UP if recipe.schedule == "one_cycle" else 0.0
    progress = step / recipe.steps
    if progress < share:
        return recipe.lr * (WARM_UP_START + (1 - WARM_UP_START) * progress / share)
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "step":
        # The first step at or past the share; 0.3 * 30 is a little more than 9 in floating point.
        marks = [math.ceil(mark * recipe.steps - 1e-6) for mark in recipe.milestones]
        return recipe.lr * recipe.gamma ** sum(step >= mark for mark in marks)
    fall = (progress - share) / (1 - share)
    return recipe.lr * (1 + math.cos(math.pi * fall)) / 2


def steps_per_epoch(train_size: int, batch_size: int) -> int:
    """Full mini-batches in one pass; the few examples left over differ from pass to pass.

    A training set smaller than one mini-batch is one smaller mini-batch.
    """
    return max(train_size // batch_size, 1)


def evenly_spaced(count: int, last: int) -> tuple[int, ...]:
    """At most ``count`` whole numbers from 0 to ``last``, about equally far apart."""
    return tuple(sorted({round(i * last / max(count - 1, 1)) for i in range(count)} | {0, last}))


def log_spaced(count: int, last: int) -> tuple[int, ...]:
    """Return 0, then whole numbers from 1 to ``last``, each about the same factor above its last.

    ``count`` in all where there is room: where factors would give the same number twice, the
    next one is taken and the rest spread over what remains.
    """
    steps = [0, 1]
    for left in range(count - 2, 0, -1):
        if steps[-1] >= last:
            break
        factor = (last / steps[-1]) ** (1 / left)
        steps.append(max(steps[-1] + 1, round(steps[-1] * factor)))
    return tuple(sorted({min(step, last) for step in steps} | {last}))


def learning_rates(recipe: Recipe, steps: int) -> list[float]:
    """Return the rates of the first ``steps`` updates."""
    return [learning_rate(recipe, step) for step in range(steps)]
