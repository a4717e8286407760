"""The Splice lab: checkpoints on the training curve; a splice beside its deep network."""

import altair as alt
import polars as pl

from app.charts.style import (
    ARM_COLOURS,
    PLOT_SIZE,
    QUIET,
    WIDE,
    epoch_labels,
    stroke_legend,
    title,
)

SIDES = ("deep part", "shallow part")
# Where the two rows of dots lie below the curves, in units of accuracy.
LANES = {"deep part": -0.13, "shallow part": -0.27}
SIDE_COLOURS = {"shallow part": ARM_COLOURS[1], "deep part": ARM_COLOURS[0]}
PICKED = "picked"


def checkpoint_curve(
    metrics: pl.DataFrame, checkpoints: dict[str, pl.DataFrame], chosen: dict[str, int]
) -> alt.LayerChart:
    """Accuracy at each checkpoint, and below it a dot a checkpoint for either side.

    ``metrics``: rows of the view for the runs of both sides, with ``run``, the name.
    ``checkpoints``: of each side, step and epoch. ``chosen``: of each side, the step: a full dot
    and a rule. A click on a dot is the selection ``picked``: ``side`` and ``step``.
    """
    dots = pl.concat(
        [
            checkpoints[side].select(
                "step",
                "epoch",
                pl.lit(side).alias("side"),
                pl.lit(LANES[side]).alias("lane"),
                (pl.col("step") == chosen[side]).alias("chosen"),
                pl.format("{} of step {}", pl.lit(side), "step").alias("label"),
            )
            for side in SIDES
        ]
    )
    steps = dots["step"].unique().sort().to_list()
    x = alt.X(
        "step:O",
        title="epoch",
        scale=alt.Scale(domain=steps),
        axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, labelExpr=epoch_labels(dots)),
    )
    y_axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], domain=False, ticks=False)
    y_scale = alt.Scale(domain=[-0.36, 1.04], nice=False, zero=False)
    lines = (
        alt.Chart(metrics.filter(pl.col("mode") == "eval", pl.col("step").is_in(steps)))
        .mark_line(strokeWidth=1.8, color=QUIET)
        .encode(
            x=x,
            y=alt.Y("accuracy:Q", title="accuracy", axis=y_axis, scale=y_scale),
            detail="run:N",
            strokeDash=alt.StrokeDash(
                "split:N",
                title=None,
                scale=alt.Scale(domain=["train", "test"], range=[[1, 0], [5, 4]]),
                legend=stroke_legend("top", columns=2),
            ),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("split:N"),
                alt.Tooltip("epoch:Q", format=".4~g"),
                alt.Tooltip("step:Q", format=","),
                alt.Tooltip("accuracy:Q", format=".1%"),
            ],
        )
    )
    sides = alt.Scale(domain=list(SIDE_COLOURS), range=list(SIDE_COLOURS.values()))
    # The same for fill, stroke and rules: Vega makes one of them. Below, where the dots are: beside
    # that of the curves it would be wider than a phone.
    legend = alt.Legend(orient="bottom", symbolType="circle")
    colour = alt.Color(
        "side:N",
        title=None,
        scale=sides,
        legend=legend,
    )
    rules = (
        alt.Chart(dots.filter(pl.col("chosen")))
        .mark_rule(strokeWidth=2, opacity=0.8)
        .encode(x=x, color=colour)
    )
    click = alt.selection_point(name=PICKED, fields=["side", "step"], on="click", clear=False)
    points = (
        alt.Chart(dots)
        .mark_point(size=110, strokeWidth=1.5, cursor="pointer")
        .encode(
            x=x,
            y=alt.Y("lane:Q", title="accuracy", axis=y_axis, scale=y_scale),
            fill=alt.Fill("side:N", scale=sides, title=None, legend=legend),
            stroke=alt.Stroke("side:N", scale=sides, title=None, legend=legend),
            description="label:N",
            fillOpacity=alt.condition("datum.chosen", alt.value(1), alt.value(0.12)),
            tooltip=[
                alt.Tooltip("side:N", title="click for the"),
                alt.Tooltip("epoch:Q", title="of epoch", format=".4~g"),
                alt.Tooltip("step:Q", title="step", format=","),
            ],
        )
        .add_params(click)
    )
    return alt.layer(lines, rules, points).properties(height=260)


def confusion(counts: pl.DataFrame, classes: tuple[str, ...]) -> alt.LayerChart:
    """Count what the splice says (to the right) of what the deep network says (a row a class).

    ``counts``: ``own``, ``predicted`` (class numbers) and ``count``. The colour is the share of
    the row; the number, where there is room, the count.
    """
    # Not by a function for polars to call: its threads would wait for Python, and Python for them.
    named = counts.with_columns(
        pl.Series("own_name", [classes[k] for k in counts["own"]], pl.String),
        pl.Series("predicted_name", [classes[k] for k in counts["predicted"]], pl.String),
        (pl.col("count") / pl.col("count").sum().over("own")).alias("share"),
    )
    order = list(classes)
    few = len(order) <= 12
    # Every name where there is room for it, else those that don't overlap.
    axis = {"labelLimit": 70, "ticks": False, "domain": False, "labelOverlap": not few}
    base = alt.Chart(named).encode(
        x=alt.X(
            "predicted_name:N",
            scale=alt.Scale(domain=order, padding=0),
            title="the splice says",
            axis=alt.Axis(labelAngle=-45 if max(map(len, order)) > 2 else 0, **axis),
        ),
        y=alt.Y(
            "own_name:N",
            scale=alt.Scale(domain=order, padding=0),
            title="the deep network says",
            axis=alt.Axis(**axis),
        ),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "share:Q",
            title="share of the row",
            scale=alt.Scale(scheme="viridis", domain=[0, 1]),
            legend=alt.Legend(
                orient="bottom",
                format=".0%",
                gradientLength=WIDE - 40,
                gradientThickness=10,
                values=[0, 0.5, 1],
            ),
        ),
        tooltip=[
            alt.Tooltip("own_name:N", title="the deep network says"),
            alt.Tooltip("predicted_name:N", title="the splice says"),
            alt.Tooltip("count:Q", title="examples", format=","),
            alt.Tooltip("share:Q", title="of its row", format=".1%"),
        ],
    )
    layers = [cells]
    if few:
        layers.append(
            base.mark_text(fontSize=10).encode(
                text=alt.Text("count:Q", format=","),
                color=alt.condition("datum.share > 0.6", alt.value("black"), alt.value("white")),
            )
        )
    return (
        alt.layer(*layers)
        .properties(
            autosize=PLOT_SIZE,
            width=WIDE,
            height=WIDE,
            title=title("Against the deep network itself", "the diagonal: both say the same"),
        )
        .configure_view(strokeWidth=0, fill=QUIET, fillOpacity=0.2)
    )


def class_shares(shares: pl.DataFrame) -> alt.Chart:
    """Probabilities of one image, two bars a class: the splice's and the deep network's own.

    ``shares``: ``class_name``, ``splice``, ``deep network``.
    """
    names = shares["class_name"].to_list()
    long = shares.unpivot(
        ["splice", "deep network"], index="class_name", variable_name="who", value_name="share"
    )
    return (
        alt.Chart(long)
        .mark_bar()
        .encode(
            y=alt.Y("class_name:N", sort=names, title=None, axis=alt.Axis(labelLimit=110)),
            yOffset=alt.YOffset("who:N", sort=["splice", "deep network"]),
            x=alt.X(
                "share:Q",
                title="probability",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", tickCount=5),
            ),
            color=alt.Color(
                "who:N",
                title=None,
                scale=alt.Scale(
                    domain=["splice", "deep network"], range=[ARM_COLOURS[4], ARM_COLOURS[1]]
                ),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=[
                alt.Tooltip("class_name:N", title="class"),
                alt.Tooltip("who:N", title="who"),
                alt.Tooltip("share:Q", title="probability", format=".1%"),
            ],
        )
        .properties(autosize=PLOT_SIZE, width=WIDE, height=alt.Step(11))
    )
