"""How a network is trained, and what an experiment changes about that on the way."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from featdyn_engine.domain.terms import (
    STRICT,
    Augmentation,
    Count,
    Decay,
    Optimizer,
    Positive,
    PositiveShare,
    Seed,
    Share,
    Step,
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. Defaults: He et al. 2016 (arXiv 1512.03385), section 4.2.

    ``momentum`` and ``nesterov`` are SGD's and Muon's, ``betas`` and ``eps`` Adam's and AdamW's.
    ``milestones`` are shares of ``steps`` at which a ``step`` schedule multiplies the learning
    rate by ``gamma``; the other schedules ignore both. ``warmup`` is the share of the steps over
    which the rate first climbs; None: 0.3 for ``one_cycle``, else 0. ``clip_norm`` bounds the
    gradient's 2-norm. Training ends at the first epoch whose running accuracy reaches
    ``stop_at``. At a checkpoint ``monitor`` fixed examples of each split are scored, at the last
    one all of them.
    """

    __pydantic_config__: ClassVar = STRICT
    steps: Count
    batch_size: Count = 128
    lr: Positive = 0.1
    optimizer: Optimizer = "sgd"
    momentum: Decay = 0.9
    nesterov: bool = False
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    schedule: Literal["constant", "step", "cosine", "one_cycle"] = "step"
    milestones: tuple[Share, ...] = (0.5, 0.75)
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1
    warmup: Decay | None = None
    label_smoothing: Decay = 0.0
    clip_norm: Positive | None = None
    augmentation: tuple[Augmentation, ...] = ()
    stop_at: PositiveShare | None = None
    monitor: Count = 2000


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A run that is its parent up to ``step``, then sees its data in the order of ``order``."""

    __pydantic_config__: ClassVar = STRICT
    step: Count
    order: Seed


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """Blocks 1 .. ``depth`` held still from ``from_step`` on, weights and running statistics.

    ``part = "deep"`` freezes, as a control, the one block behind the cut (never the last) whose
    parameter count comes nearest to theirs. ``weights_of``: the shallow part is taken from the
    parent's checkpoint of that step instead of from this run.
    """

    __pydantic_config__: ClassVar = STRICT
    depth: Count
    from_step: Step = 0
    part: Literal["shallow", "deep"] = "shallow"
    weights_of: Step | None = None


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Explicit temporal augmentation: the deep part also learns from stored shallow parts.

    From ``from_step`` on, the first ``share`` of each mini-batch passes through blocks
    1 .. ``depth`` of one stored checkpoint (evaluation mode, no gradient), drawn anew for every
    mini-batch: among ``steps`` of the parent, or, where these are empty, among all that this run
    has stored so far, or the latest ``window`` of them. With ``share = 1`` its own shallow part
    therefore stands still; with less nothing is frozen, and replay is a way to train.
    ``source = "current"``, a control of the same cost: the share passes, in the same mode and
    without gradient, through the run's own shallow part as it is, so that nothing is old.
    """

    __pydantic_config__: ClassVar = STRICT
    depth: Count
    steps: tuple[Step, ...] = ()
    share: PositiveShare = 1.0
    from_step: Step = 0
    window: Count | None = None
    source: Literal["stored", "current"] = "stored"
