"""Charts of the trainings themselves."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, stroke_legend
from app.charts.style import title as titled

HEIGHT = 220
RULES_AND_TICKS = "ticks: checkpoints; dotted rules: the learning rate changes"


def training_curves(
    metrics: pl.DataFrame, checkpoints: pl.DataFrame, runs: list[str], value: str, title: str
) -> alt.LayerChart:
    """Loss or accuracy by epoch, a colour a run, test dashed; rules where the rate changes.

    ``metrics``: rows of the view of that name and ``run``, the name; ``checkpoints``: epoch, step.
    ``runs``: all names, in the order of their colours.
    """
    during = metrics.filter(
        pl.col("mode") == "running", pl.col("run_id") == pl.col("run_id").first()
    ).sort("step")
    # The last epoch at the old rate ends where the new one begins. One-cycle changes all the time.
    changes = during.filter((pl.col("lr").shift(-1) / pl.col("lr") - 1).abs() > 0.5)
    y_axis = alt.Axis(format="%") if value == "accuracy" else alt.Axis()
    lines = (
        alt.Chart(metrics.filter(pl.col("mode") == "eval"))
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("epoch:Q", title="epoch"),
            y=alt.Y(f"{value}:Q", title=title, axis=y_axis),
            color=alt.Color(
                "run:N",
                title=None,
                scale=alt.Scale(domain=runs, range=ARM_COLOURS),
                legend=alt.Legend(orient="bottom", columns=1, labelLimit=260),
            ),
            strokeDash=alt.StrokeDash(
                "split:N",
                title=None,
                scale=alt.Scale(domain=["train", "test"], range=[[1, 0], [5, 4]]),
                legend=stroke_legend("top", columns=2),
            ),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("split:N"),
                alt.Tooltip("labels:N", title="labels"),
                alt.Tooltip("epoch:Q", format=".4~g"),
                alt.Tooltip("step:Q", format=","),
                alt.Tooltip("accuracy:Q", format=".1%"),
                alt.Tooltip("loss:Q", title="loss, nats", format=".3~g"),
                alt.Tooltip("lr:Q", title="learning rate", format=".3~g"),
            ],
        )
    )
    rules = (
        alt.Chart(changes)
        .mark_rule(strokeWidth=1, strokeDash=[2, 3], color="gray")
        .encode(x="epoch:Q", tooltip=[alt.Tooltip("lr:Q", title="learning rate until here")])
    )
    ticks = (
        alt.Chart(checkpoints.unique("step"))
        .mark_tick(orient="vertical", size=8, thickness=1.5, color="gray", yOffset=-5)
        .encode(
            x="epoch:Q",
            y=alt.YDatum(0),
            tooltip=[
                alt.Tooltip("epoch:Q", title="checkpoint at epoch", format=".4~g"),
                alt.Tooltip("step:Q", title="step", format=","),
            ],
        )
    )
    # Vega warns of a scale without extent where a layer has no row.
    layers = [lines, ticks] if changes.is_empty() else [lines, rules, ticks]
    heading = titled(
        f"{value.capitalize()} while training",
        ["solid: training set, dashed: test set; single trainings", RULES_AND_TICKS],
    )
    # The height is that of the plot: a legend of many runs takes nothing from it.
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    return alt.layer(*layers).properties(autosize=fit, height=HEIGHT, title=heading)
