"""What a study can say of a claim, and the rule by which intervals become a verdict. Ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import altair as alt

from app.findings import LEAST_DIFFERENCE, Contrast
from app.report.gallery import Gallery

HOLDS, PART, FAILS, UNTOLD = "holds", "holds in part", "doesn't hold", "can't be told"
# Share of the accuracy above chance that splices must keep for "predictions stay stable".
STABLE = 0.8


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
    """A claim as a question, the kind of rows that it needs, and what answers it."""

    key: str
    title: str
    question: str
    answer: Callable[[Gallery], Finding]


def by_limits(lows: list[float | None], bar: float, highs: list[float | None]) -> str:
    """Judge intervals against a bar: all above it, some, none; untold where one has no interval."""
    known = [(low, high) for low, high in zip(lows, highs, strict=True) if low is not None]
    if not known or len(known) < len(lows):
        return UNTOLD
    above = sum(low > bar for low, _ in known)
    if above == len(known):
        return HOLDS
    if above:
        return PART
    return FAILS if all(high is not None and high < bar for _, high in known) else UNTOLD


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
