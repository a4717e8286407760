"""What a splice does, computed now or stored: one form for both, so that one page draws either."""

from dataclasses import dataclass
from typing import Any

import polars as pl

KINDS = ("right to wrong", "wrong to right", "wrong to another wrong")
CONFUSION = {"own": pl.Int64, "predicted": pl.Int64, "count": pl.Int64}


@dataclass(frozen=True)
class Outcome:
    """A cell and its examples in counts.

    ``per_class``: a row a class that has examples, with ``own_accuracy``, that of the deep network
    itself. ``confusion``: ``own``, ``predicted`` (class numbers) and ``count``, pairs that occur;
    empty where there is none. ``changes``: examples of each of KINDS. ``flips``: pictures, none
    where the cell is a stored one.
    """

    n: int
    correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    agreement: float
    loss: float
    margin: float
    classes: tuple[str, ...]
    per_class: pl.DataFrame
    confusion: pl.DataFrame
    changes: dict[str, int]
    flips: tuple[dict[str, Any], ...] = ()

    @property
    def own_accuracy(self) -> float | None:
        """Accuracy of the deep network itself on the same examples."""
        if self.per_class.is_empty():
            return None
        return float((self.per_class["own_accuracy"] * self.per_class["n"]).sum()) / self.n

    @property
    def chance(self) -> float | None:
        """Sum over classes of label share times predicted share; None without the counts."""
        if self.per_class.is_empty() or self.confusion.is_empty():
            return None
        labels = self.per_class.select("class", (pl.col("n") / self.n).alias("of_labels"))
        said = self.confusion.group_by("predicted").agg(
            (pl.col("count").sum() / self.n).alias("of_predictions")
        )
        both = labels.join(said, left_on="class", right_on="predicted")
        return float((both["of_labels"] * both["of_predictions"]).sum())


def computed(result: dict[str, Any]) -> Outcome:
    """Read the answer of ``featdyn_engine.live_answers.splice``."""
    rows = result["confusion"] or []
    confusion = [
        {"own": own, "predicted": predicted, "count": count}
        for own, row in enumerate(rows)
        for predicted, count in enumerate(row)
        if count
    ]
    return Outcome(
        **{name: result["cell"][name] for name in NUMBERS},
        classes=tuple(result["classes"]),
        per_class=pl.DataFrame(result["per_class"]),
        confusion=pl.DataFrame(confusion, CONFUSION),
        changes=result["changes"],
        flips=tuple(result["flips"]),
    )


NUMBERS = (
    *("n", "correct", "accuracy", "accuracy_low", "accuracy_high"),
    *("agreement", "loss", "margin"),
)


def stored(cells: pl.DataFrame, classes: pl.DataFrame, changes: pl.DataFrame) -> Outcome | None:
    """Read the answers of ``stored_cell``, ``stored_classes``, ``stored_changes``; None: no cell.

    Of several rows of a cell the first is taken. Predictions may not have been kept: then classes
    and changes are empty.
    """
    if cells.is_empty():
        return None
    cell = cells.row(0, named=True)
    same = [pl.col(name) == cell[name] for name in ("dtype", "batch_size")]
    classes, changes = classes.filter(*same), changes.filter(*same)
    right, was_right = pl.col("predicted") == pl.col("target"), pl.col("own") == pl.col("target")
    kinds = {
        KINDS[0]: was_right & ~right,
        KINDS[1]: ~was_right & right,
        KINDS[2]: ~was_right & ~right & (pl.col("own") != pl.col("predicted")),
    }
    known = changes.filter(pl.col("target").is_not_null())
    return Outcome(
        **{name: cell[name] for name in NUMBERS},
        classes=_names(classes, changes),
        per_class=classes,
        confusion=changes.group_by("own", "predicted")
        .agg(pl.col("count").sum())
        .cast(CONFUSION)  # type: ignore[arg-type]
        .sort("own", "predicted"),
        changes={kind: int(known.filter(found)["count"].sum()) for kind, found in kinds.items()},
    )


def _names(classes: pl.DataFrame, changes: pl.DataFrame) -> tuple[str, ...]:
    """Name the classes by number; those that the set has no example of by their number alone."""
    named = dict(classes.select("class", "class_name").iter_rows())
    columns = [changes["own"], changes["predicted"], changes["target"].drop_nulls()]
    last = max((int(column.max()) for column in columns if len(column)), default=-1)  # type: ignore[arg-type]
    return tuple(named.get(k) or str(k) for k in range(last + 1))
