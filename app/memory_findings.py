"""What the page on memory says in words: frames in, sentences out, all of our reading."""

import polars as pl

from app.charts import epoch_label
from app.words import counted, plain

SMALLEST_P = 0.001


def halfway(shown: pl.DataFrame) -> int | None:
    """Return the last shallow step up to half of the deep one; None without an earlier step.

    ``shown``: rows of ``memory_arms.of_arms`` at one deep step an arm. The untrained network is
    taken only where there is no other.
    """
    earlier = shown.filter(pl.col("shallow_step") < pl.col("deep_step"))
    steps = sorted(set(earlier["shallow_step"]))
    deep = max(earlier["deep_step"].to_list(), default=0)
    upto = [step for step in steps if 0 < step <= deep / 2]
    return (
        upto[-1]
        if upto
        else min((step for step in steps if step), default=min(steps, default=None))
    )


def _percent(row: dict[str, float | None], name: str) -> str:
    """Write a share with its limits, where there are any."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "nothing to keep"
    limits = "" if low is None or high is None else f" ({low:.1%} to {high:.1%})"
    return f"**{value:.1%}**{limits}"


def _p(values: list[float]) -> str:
    """Write McNemar's p of one run, or in how many of several it is below 0.05."""
    if len(values) == 1:
        small = values[0] < SMALLEST_P
        return "p < 0.001" if small else f"p = {values[0]:.3f}"
    return f"p < 0.05 in {sum(p < 0.05 for p in values)} of {counted(len(values), 'seed')}"


def kept(shown: pl.DataFrame, runs: pl.DataFrame, arms: list[str], cut: str) -> str | None:
    """Say what each arm keeps halfway back, and what flips, with McNemar's test.

    ``shown``: one deep step and set, rows of ``of_arms``; ``runs``: arm, shallow_step, deep_step
    and p of each run at the same places. None without an earlier checkpoint.
    """
    step = halfway(shown)
    if step is None:
        return None
    here = shown.filter(pl.col("shallow_step") == step)
    parts = []
    for arm in arms:
        of_arm = here.filter(pl.col("arm") == arm)
        if of_arm.is_empty():
            continue
        row = of_arm.row(0, named=True)
        p = runs.filter(
            pl.col("arm") == arm,
            pl.col("shallow_step") == step,
            pl.col("deep_step") == row["deep_step"],
        )["p"].to_list()
        parts.append(
            f"{_percent(row, 'share')} with {plain(arm)} ({row['right_to_wrong']:.1%} of all turn "
            f"wrong, {row['wrong_to_right']:.1%} turn right; McNemar {_p(p)})"
        )
    first = here.row(0, named=True)
    return (
        f"Of what the network of epoch {epoch_label(first['deep_epoch'])} has in memory, its deep "
        f"part keeps under the features of epoch {epoch_label(first['shallow_epoch'])}, cut "
        f"{plain(cut)}: {'; '.join(parts)}."
    )


def forgotten(cells: pl.DataFrame, arms: list[str]) -> str:
    """Count what is forgotten, over the runs of each arm.

    ``cells``: arm, forgotten (null: it can't be said) of every run's cells on one set.
    """
    parts = []
    for arm in arms:
        of_arm = cells.filter(pl.col("arm") == arm, pl.col("forgotten").is_not_null())
        if of_arm.is_empty():
            parts.append(f"with {plain(arm)} it can't be said of any (too close to chance)")
        else:
            count = int(of_arm["forgotten"].sum())
            parts.append(f"**{count:,}** of {len(of_arm):,} with {plain(arm)}")
    return (
        "Forgotten, though the earlier network itself was good: "
        f"{'; '.join(parts)} (pairs of an earlier shallow and a later deep part)."
    )


def transfer(gaps: pl.DataFrame, arms: list[str]) -> str | None:
    """Say halfway back whether more is lost on the training set than elsewhere.

    ``gaps``: arm, law, shallow_step, deep_step, their epochs, gap, gap_low, gap_high; one deep
    step. None without an earlier checkpoint.
    """
    step = halfway(gaps)
    if step is None:
        return None
    here = gaps.filter(pl.col("shallow_step") == step)
    parts = []
    for row in here.sort(pl.col("arm").cast(pl.Enum(arms)), maintain_order=True).iter_rows(
        named=True
    ):
        low, high = row["gap_low"], row["gap_high"]
        if low is None or high is None:
            said, limits = "not decided", "one seed"
        else:
            limits = f"{100 * low:+.1f} to {100 * high:+.1f}"
            said = (
                "more on training"
                if low > 0
                else "less on training"
                if high < 0
                else "no gap shows"
            )
        parts.append(
            f"{plain(row['law'])} with {plain(row['arm'])}: **{100 * row['gap']:+.1f} points** "
            f"({limits}; {said})"
        )
    first = here.row(0, named=True)
    return (
        f"Lost under the features of epoch {epoch_label(first['shallow_epoch'])} on the training "
        f"set, beyond what is lost elsewhere: {'; '.join(parts)}. Over seeds all are scored on the "
        "same images: of other images of the two laws this says nothing."
    )
