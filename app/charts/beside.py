"""What stands beside the score: memory horizons, averages, and barriers between networks."""

import altair as alt
import polars as pl

from app.charts.style import PANEL, PLOT_SIZE, arm_colour, reference, stroke_legend, title

PATHS = {"parameters": "whole network", "shallow_parameters": "shallow part alone"}


def horizon(horizons: pl.DataFrame, arms: list[str], eps: float) -> alt.LayerChart:
    """Memory horizon of each deep step for one loss of accuracy that is allowed, in updates.

    ``horizons``: run, arm, deep_epoch, deep_step, horizon, censored, n. Hollow: censored, the
    horizon is at least this.
    """
    base = alt.Chart(horizons).encode(
        x=alt.X("deep_epoch:Q", title="deep part from epoch", axis=alt.Axis(format=".4~g")),
        y=alt.Y("horizon:Q", title="horizon, updates", axis=alt.Axis(format=",.0f", tickCount=5)),
        color=arm_colour(arms, horizons["arm"]),
        detail="run:N",
    )
    tooltip = [
        alt.Tooltip("run:N"),
        alt.Tooltip("deep_epoch:Q", title="deep part, epoch", format=".4~g"),
        alt.Tooltip("deep_step:Q", title="step", format=","),
        alt.Tooltip("horizon:Q", title="horizon, updates", format=","),
        alt.Tooltip("censored:N", title="at least this"),
        alt.Tooltip("n:Q", title="examples", format=","),
    ]
    line = base.mark_line(strokeWidth=1, opacity=0.5)
    marks = [
        base.transform_filter(kept)
        .mark_point(size=45, filled=filled, opacity=1)
        .encode(tooltip=tooltip)
        for kept, filled in (("datum.censored", False), ("!datum.censored", True))
    ]
    return alt.layer(line, *marks).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL * 0.7,
        title=title(
            f"May lose {100 * eps:.0f} {'point' if eps == 0.01 else 'points'}",
            "hollow: at least this",
        ),
    )


def average_gains(
    gains: pl.DataFrame, means: pl.DataFrame, arms: list[str], shown: str
) -> alt.LayerChart:
    """Accuracy of averages over late checkpoints minus that of the last network; dashed: zero.

    ``gains``: run, arm, network, gain, accuracy, checkpoints, n; a faint point a run. ``means``:
    arm, network, gain, gain_low, gain_high, n_seeds, n; bars 95 % over seeds by Student's t, none
    for one seed. ``shown``: the set, in words.
    """
    present = [arm for arm in arms if arm in set(gains["arm"])]
    ends = [
        *means["gain_low"].drop_nulls(),
        *means["gain_high"].drop_nulls(),
        *gains["gain"],
        *(-0.01, 0.01),
    ]
    x = alt.X(
        "gain:Q",
        title="accuracy minus that of the last network",
        axis=alt.Axis(format="+.1%", tickCount=4),
        # Whole intervals: a domain that is joined with values would leave out their ends.
        scale=alt.Scale(domain=[min(ends), max(ends)], nice=True),
    )
    row = alt.Y("network:N", title=None, axis=alt.Axis(ticks=False, grid=True))
    where = {"y": row, "yOffset": alt.YOffset("arm:N", sort=present)}
    colour = arm_colour(arms, present)
    runs = (
        alt.Chart(gains)
        .mark_point(filled=True, size=25, opacity=0.45)
        .encode(
            x=x,
            color=colour,
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("network:N"),
                alt.Tooltip("accuracy:Q", format=".1%"),
                alt.Tooltip("gain:Q", format="+.2%"),
                alt.Tooltip("checkpoints:Q", title="checkpoints averaged"),
                alt.Tooltip("n:Q", title="examples", format=","),
            ],
            **where,
        )
    )
    base = alt.Chart(means).encode(color=colour, **where)
    bars = (
        base.transform_filter("isValid(datum.gain_low)")
        .mark_rule(strokeWidth=1.5)
        .encode(x=alt.X("gain_low:Q"), x2="gain_high:Q")
    )
    middles = base.mark_tick(thickness=3, size=16, opacity=1).encode(
        x=x,
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("network:N"),
            alt.Tooltip("gain:Q", title="gain, mean over seeds", format="+.2%"),
            alt.Tooltip("gain_low:Q", title="95 % over seeds, from", format="+.2%"),
            alt.Tooltip("gain_high:Q", title="to", format="+.2%"),
            alt.Tooltip("n_seeds:Q", title="seeds"),
            alt.Tooltip("n:Q", title="examples", format=","),
        ],
    )
    zero = reference(x=0)
    several = max(means["n_seeds"].to_list()) > 1
    told = "points: runs; bars: 95 % over seeds (t)" if several else "one seed: no interval"
    return alt.layer(zero, bars, runs, middles).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=alt.Step(20),
        title=title(f"What averages gain, {shown}", told),
    )


def barrier(barriers: pl.DataFrame, arms: list[str]) -> alt.LayerChart:
    """Barrier of the loss on the straight path from each earlier network to the last one.

    ``barriers``: run, arm, path, shallow_epoch, shallow_step, deep_step, barrier,
    accuracy_barrier, n; a row a path.
    """
    named = barriers.with_columns(pl.col("path").replace(PATHS).alias("moves"))
    base = alt.Chart(named).encode(
        x=alt.X(
            "shallow_epoch:Q", title="earlier network from epoch", axis=alt.Axis(format=".4~g")
        ),
        y=alt.Y(
            "barrier:Q",
            title="barrier of the loss, nats",
            axis=alt.Axis(tickCount=5, format=".3~g"),
            # Rounding would fill the picture where there is no barrier.
            scale=alt.Scale(domain=alt.DomainUnionWith(unionWith=[0, 0.1])),
        ),
        color=arm_colour(arms, barriers["arm"]),
        detail=["run:N", "moves:N"],
    )
    lines = base.mark_line(strokeWidth=1.5).encode(
        strokeDash=alt.StrokeDash(
            "moves:N",
            title=None,
            scale=alt.Scale(domain=list(PATHS.values()), range=[[1, 0], [4, 3]]),
            legend=stroke_legend("top"),
        )
    )
    marks = base.mark_point(filled=True, size=40, opacity=1).encode(
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("moves:N", title="what moves"),
            alt.Tooltip("shallow_epoch:Q", title="earlier network, epoch", format=".4~g"),
            alt.Tooltip("shallow_step:Q", title="step", format=","),
            alt.Tooltip("barrier:Q", title="barrier, nats", format=".3~g"),
            alt.Tooltip("accuracy_barrier:Q", title="accuracy lost on the way", format=".1%"),
            alt.Tooltip("n:Q", title="examples", format=","),
        ]
    )
    return alt.layer(lines, marks).properties(
        autosize=PLOT_SIZE, width=PANEL, height=PANEL * 0.7, title=title("Barrier of the loss")
    )
