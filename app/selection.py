"""What one picture shows: one evaluation set, one cube a run and cut. Frames in, frames out."""

from dataclasses import dataclass

import polars as pl

from app.words import shortened
from store.queries.over_seeds import half_width

# Images alike in these columns are one set, whatever labels an arm was trained on.
SAME_IMAGES = ["split", "dataset", "n", "labels", "corruption", "severity", "subset"]
# One cube of a run and cut is one combination of these; of several, the first is shown.
VARIANT = [
    "dtype",
    "batch_size",
    "target_half_width",
    "replicate",
    "shallow_run_id",
    "norm",
    "eval_id",
]
# That of a study that names none: rows of another size come from a study that asked for them.
USUAL_BATCH = 250
# So that the size of the set, behind its name, is always read.
LONGEST_DATASET = 40


@dataclass(frozen=True)
class EvaluationSet:
    """The images that a page's pictures are about.

    ``key`` names the set in a link; ``eval_ids``: one for each run, as labels may differ.
    """

    key: str
    split: str
    dataset: str
    n: int
    classes: int
    corruption: str
    severity: int
    labels: str
    subset: str
    eval_ids: tuple[str, ...]

    @property
    def title(self) -> str:
        """The set in words, apart from others of its split."""
        corruption = "" if self.corruption == "none" else f", {self.corruption} {self.severity}"
        labels = "labels trained on" if self.labels == "trained_on" else "true labels"
        draw = "" if self.subset == "0" else f", draw {self.subset}"
        dataset = shortened(self.dataset, LONGEST_DATASET)
        return f"{dataset}, {self.n:,} images{corruption}, {labels}{draw}"


def evaluation_sets(found: pl.DataFrame) -> list[EvaluationSet]:
    """Group the rows of ``queries.evaluation_sets`` by their images, in that order."""
    groups = found.group_by(SAME_IMAGES, maintain_order=True).agg(
        pl.col("classes").first(), pl.col("eval_id").unique(maintain_order=True)
    )
    return [
        EvaluationSet(key=ids[0], eval_ids=tuple(ids), **row)
        for row in groups.iter_rows(named=True)
        for ids in [row.pop("eval_id")]
    ]


def usual_cut(cuts: list[str]) -> str:
    """Return the cut a third of the way down: after the first stage of a ResNet-20."""
    return cuts[len(cuts) // 3]


def unique_cubes(frame: pl.DataFrame, eval_ids: tuple[str, ...]) -> pl.DataFrame:
    """Keep the rows of a set, and of several cubes of a run at a cut one whole.

    Before others come float32, the usual batch size, every example evaluated, the first draw. So
    no two rows of the answer are the same cell.
    """
    of_set = frame.filter(pl.col("eval_id").is_in(eval_ids))
    variant = [name for name in VARIANT if name in frame.columns]
    rank = {
        "dtype": pl.col("dtype") != "float32",
        "batch_size": pl.col("batch_size") != USUAL_BATCH,
    }
    best = (
        of_set.select("run_id", "cut", *variant)
        .unique()
        .sort(*[rank.get(name, pl.col(name)) for name in variant], *variant)
        .unique(["run_id", "cut"], keep="first", maintain_order=True)
    )
    return of_set.join(
        best, on=["run_id", "cut", *variant], how="semi", nulls_equal=True, maintain_order="left"
    )


def matched(points: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Give the points under the final deep part ``retention_low`` and ``retention_high``.

    They are the ends of the interval of A(s,t), over examples, on the scale of retention: chance
    and the accuracy of the later network are held fixed. Points without retention are left out.
    """
    final = cells.filter(pl.col("deep_step") == pl.col("deep_step").max().over("run_id"))
    whole = final.filter(pl.col("shallow_step") == pl.col("deep_step")).select(
        "run_id", (pl.col("accuracy") - pl.col("chance")).alias("above_chance")
    )
    chances = final.select("run_id", "shallow_step", "chance").join(whole, on="run_id")
    return (
        points.filter(pl.col("retention").is_not_null())
        .join(chances, on=["run_id", "shallow_step"], maintain_order="left")
        .with_columns(
            ((pl.col(f"accuracy_{end}") - pl.col("chance")) / pl.col("above_chance")).alias(
                f"retention_{end}"
            )
            for end in ("low", "high")
        )
        .drop("chance", "above_chance")
    )


def with_limits(cells: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Put Wilson's 95 % limits, over examples, beside a share of the n examples of each cell."""
    n, share = pl.col("n"), pl.col(metric)
    z = 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)).sqrt() / (1 + z**2 / n)
    return cells.with_columns(
        (middle - half).clip(0, 1).alias(f"{metric}_low"),
        (middle + half).clip(0, 1).alias(f"{metric}_high"),
    )


def means_of_arms(cells: pl.DataFrame, arms: dict[str, str]) -> pl.DataFrame:
    """Mean over the seeds of each arm of every cell that all of them have.

    The answer looks like ``cells`` with the arm as ``run_id``; ``accuracy_low``, ``accuracy_high``:
    95 %, Student's t over seeds, the examples held fixed (null for one seed); ``seeds``: how many.
    Retention is null where that of any seed is. ``n``: the smallest of the seeds'.
    """
    key = ["arm", "cut", "depth", "shallow_step", "deep_step", "norm"]
    named = cells.with_columns(pl.col("run_id").replace(arms).alias("arm"))
    whole = named.select("arm", "run_id").unique().group_by("arm").agg(pl.len().alias("runs"))
    shares = ["accuracy", "agreement", "retention", "chance", "loss", "margin"]
    of_arms = (
        named.group_by(key, maintain_order=True)
        .agg(
            *[pl.col(name).mean() for name in shares],
            pl.col("accuracy").std().alias("sd"),
            pl.col("retention").null_count().alias("undefined"),
            pl.col("n").min(),
            pl.col("shallow_epoch", "deep_epoch", "dtype").first(),
            pl.len().cast(pl.Int64).alias("seeds"),
        )
        .join(whole, on="arm", maintain_order="left")
        .filter(pl.col("seeds") == pl.col("runs"))
    )
    half = half_width(of_arms["sd"], of_arms["seeds"])
    return of_arms.with_columns(
        pl.col("arm").alias("run_id"),
        pl.when(pl.col("undefined") == 0).then("retention").alias("retention"),
        (pl.col("accuracy") - half).clip(0, 1).alias("accuracy_low"),
        (pl.col("accuracy") + half).clip(0, 1).alias("accuracy_high"),
    ).drop("sd", "undefined", "runs")


def with_stored_limits(points: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Put the limits of retention that are ``stored`` in the place of those of ``matched``.

    ``stored``: rows of ``queries.retentions``, of the runs' own cubes.
    """
    key = ["run_id", "eval_id", "norm", "dtype", "shallow_step"]
    ends = ["retention_low", "retention_high"]
    known = stored.select(*key, *(pl.col(end).alias(f"{end}_stored") for end in ends))
    return (
        points.join(known, on=key, how="left", maintain_order="left")
        .with_columns(pl.coalesce(f"{end}_stored", end).alias(end) for end in ends)
        .drop(f"{end}_stored" for end in ends)
    )


def against_control(cells: pl.DataFrame, of_control: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Put ``of_control`` and ``difference`` beside the metric of each cell; null without either."""
    key = ["run_id", "cut", "shallow_step", "deep_step"]
    other = of_control.select(*key, pl.col(metric).alias("of_control"))
    return cells.join(other, on=key, how="left", maintain_order="left").with_columns(
        (pl.col(metric) - pl.col("of_control")).alias("difference")
    )


def of_norms(excesses: pl.DataFrame, norms: tuple[str, ...]) -> pl.DataFrame:
    """Keep one normalisation of each run's control: one of ``norms``, or else its first.

    A control may have no other: other seeds are matched under ``recalibrate`` alone.
    """
    key = ["run_id", "control"]
    best = (
        excesses.select(*key, "norm")
        .unique()
        .sort(~pl.col("norm").is_in(norms), "norm")
        .unique(key, keep="first")
    )
    return excesses.join(best, on=[*key, "norm"], how="semi", maintain_order="left")


def estimates(cells: pl.DataFrame) -> str | None:
    """Say so where cells were refined from some of the examples only."""
    refined = cells.filter(pl.col("target_half_width") > 0)
    if refined.is_empty():
        return None
    width = 100 * max(refined["half_width"].to_list())
    low, high = min(refined["n"].to_list()), max(refined["n"].to_list())
    return (
        f"Cells are estimates from a share of the set: each to ±{width:.1f} points "
        f"(95 %, for the whole set), n from {low:,} to {high:,}."
    )
