"""What a study can say of a claim, and the rule by which intervals become a verdict. Ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import altair as alt

from app.findings import LEAST_DIFFERENCE, Contrast
from app.report.gallery import Gallery, Mean

HOLDS, PART, FAILS, UNTOLD = "holds", "holds in part", "doesn't hold", "can't be told"
# For "predictions stay stable": of the accuracy above chance that splices keep, and of the answers
# that they share with the later network.
STABLE = 0.8
# A share of accuracy: less than a few test images, alike in every seed, is no cost and no gain.
LEAST_COST = 0.01
# One-sided, as each end of a 95 % interval.
TAIL = 0.025


@dataclass(frozen=True)
class Finding:
    """What a study says of a claim: paragraphs, verdict, figures; ``asked``: whether it could."""

    said: tuple[str, ...]
    verdict: str
    charts: tuple[alt.TopLevelMixin, ...] = ()
    asked: bool = True


def nothing(reason: str) -> Finding:
    """Return the finding of a study without the rows that a claim needs."""
    return Finding((reason,), UNTOLD, asked=False)


@dataclass(frozen=True)
class Claim:
    """A claim as a question, what answers it for a study, and the rule of its verdict, ours."""

    key: str
    title: str
    question: str
    answer: Callable[[Gallery], Finding]
    rule: str


def by_means(means: Sequence[Mean], bar: float, least: float | None = None) -> str:
    """Judge means over seeds against a bar: all above it, some, none; untold for single seeds.

    All: every lower limit, which needs no correction. Some: the clearest one after Bonferroni's
    correction for their number, as one of many would be above by luck. None: every upper limit is
    below ``least``, the least effect that matters; by default the bar.
    """
    limits = [(mean.low, mean.high) for mean in means]
    known = [(low, high) for low, high in limits if low is not None and high is not None]
    if not known or len(known) < len(means):
        return UNTOLD
    if all(low > bar for low, _ in known):
        return HOLDS
    if min(mean.p_not_above(bar) for mean in means) * len(means) < TAIL:
        return PART
    return FAILS if all(high < (bar if least is None else least) for _, high in known) else UNTOLD


def by_contrasts(contrasts: Sequence[Contrast | None]) -> str:
    """Judge a first arm against a second in several pictures: above in all, in some, in none.

    Untold where a picture is missing, and where one says the opposite of another.
    """
    known = [each for each in contrasts if each is not None]
    above = [each.differs and each.difference > 0 for each in known]
    below = [each.differs and each.difference < 0 for each in known]
    if len(known) < len(contrasts) or (any(above) and any(below)):
        return UNTOLD
    if any(above):
        return HOLDS if all(above) else PART
    return FAILS if any(each.difference_high < LEAST_DIFFERENCE for each in known) else UNTOLD
