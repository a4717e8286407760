"""Memory: flips by lag, the share kept, what is forgotten, the gap to another law, induction."""

import altair as alt
import polars as pl

from app.charts.matrices import SCHEME, matrix
from app.charts.style import ARM_COLOURS, PANEL, PLOT_SIZE, QUIET, arm_colour, reference, title

# The two ends of the blue-orange scale of differences.
GAINED, LOST = "#3b7cb5", "#e0822b"
SIDES = ["wrong to right", "right to wrong"]
# Lines here are sets of images, not arms.
LAW_COLOURS = [ARM_COLOURS[2], ARM_COLOURS[3], ARM_COLOURS[5], ARM_COLOURS[4], *ARM_COLOURS[:2]]
PERCENT = ".1%"


def _lag_axis(cells: pl.DataFrame) -> alt.X:
    """Lags evenly, in their order, with their true epochs; below 0 the future is read."""
    lags = cells["lag_epochs"].unique().sort().to_list()
    future = " (left of 0: future features)" if lags[0] < 0 else ""
    return alt.X(
        "lag_epochs:O",
        sort=lags,
        title=f"lag, epochs{future}",
        axis=alt.Axis(
            labelExpr="abs(datum.value) < 10 ? format(datum.value, '.2~g') : "
            "format(datum.value, '.0f')",
            labelAngle=0,
            labelOverlap=True,
            ticks=False,
        ),
    )


def _steps() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("lag_epochs:Q", title="lag, epochs", format=".4~g"),
        alt.Tooltip("shallow_step:Q", title="shallow part, step", format=","),
        alt.Tooltip("deep_step:Q", title="deep part, step", format=","),
    ]


def _counted() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("n:Q", title="examples", format=","),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]


def flips_by_lag(cells: pl.DataFrame, most: float, name: str, variance: str) -> alt.LayerChart:
    """Flips from the network of one deep step: upwards what is gained, downwards what is lost.

    ``cells``: of one arm and deep step: lag_epochs, shallow_step, deep_step, right_to_wrong,
    wrong_to_right (shares of the examples), change, change_low, change_high (of accuracy), n,
    n_seeds. ``most``: where the axis ends, on all panels. ``variance``: that of the dot's interval.
    """
    both = pl.concat(
        [
            cells.with_columns(
                pl.lit(side).alias("side"),
                (sign * pl.col(column)).alias("flips"),
                pl.col(column).alias("size"),
            )
            for side, column, sign in zip(
                SIDES, ("wrong_to_right", "right_to_wrong"), (1, -1), strict=True
            )
        ]
    )
    y = alt.Y(
        "flips:Q",
        title="share of the examples that flip",
        scale=alt.Scale(domain=[-most, most], nice=False),
        axis=alt.Axis(labelExpr="format(abs(datum.value), '.0%')", tickCount=5),
    )
    x = _lag_axis(cells)
    bars = (
        alt.Chart(both)
        .mark_bar()
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "side:N",
                title=None,
                scale=alt.Scale(domain=SIDES, range=[GAINED, LOST]),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=[
                alt.Tooltip("side:N", title="flip"),
                alt.Tooltip("size:Q", title="share of the examples", format=PERCENT),
                *_steps(),
                *_counted(),
            ],
        )
    )
    net = alt.Chart(cells).encode(x=x)
    limits = (
        net.transform_filter("isValid(datum.change_low)")
        .mark_rule(strokeWidth=1.5, color=QUIET)
        .encode(y=alt.Y("change_low:Q"), y2="change_high:Q")
    )
    # White with a dark rim: to be told from bars of both colours, and from both backgrounds.
    dots = net.mark_point(
        filled=True, size=32, fill="white", stroke="#333333", strokeWidth=1, opacity=1
    ).encode(
        y=alt.Y("change:Q"),
        tooltip=[
            alt.Tooltip("change:Q", title="change of accuracy", format="+.1%"),
            alt.Tooltip("change_low:Q", title=f"{variance}, from", format="+.1%"),
            alt.Tooltip("change_high:Q", title="to", format="+.1%"),
            *_steps(),
            *_counted(),
        ],
    )
    zero = reference(y=0, dash=(1, 0))
    return alt.layer(bars, zero, limits, dots).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL * 0.8,
        title=title(name, f"dot: change of accuracy, {variance}"),
    )


def share_by_lag(cells: pl.DataFrame, arms: list[str], variance: str) -> alt.LayerChart:
    """Share of memory kept under one deep step by lag, a line an arm, its interval as a band.

    ``cells``: arm, lag_epochs, shallow_step, deep_step, share, share_low, share_high, n, n_seeds;
    of one deep step an arm.
    """
    x = alt.X("lag_epochs:Q", title="lag, epochs", axis=alt.Axis(format=".4~g", tickCount=5))
    scale = alt.Scale(domain=[0, 1], clamp=True)
    axis = alt.Axis(format=".0%", tickCount=5)
    base = alt.Chart(cells.filter(pl.col("share").is_not_null())).encode(
        x=x, color=arm_colour(arms, cells["arm"])
    )
    band = (
        base.transform_filter("isValid(datum.share_low)")
        .mark_area(opacity=0.2)
        .encode(y=alt.Y("share_low:Q", scale=scale), y2="share_high:Q")
    )
    lines = base.mark_line(
        strokeWidth=1.5, point=alt.OverlayMarkDef(size=30, filled=True, opacity=1)
    ).encode(
        y=alt.Y("share:Q", title="share of memory kept", scale=scale, axis=axis),
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("share:Q", title="kept", format=PERCENT),
            alt.Tooltip("share_low:Q", title=f"{variance}, from", format=PERCENT),
            alt.Tooltip("share_high:Q", title="to", format=PERCENT),
            *_steps(),
            *_counted(),
        ],
    )
    present = reference(x=0)
    return alt.layer(present, band, lines).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL * 0.8,
        title=title("Share of memory kept", f"band: {variance}"),
    )


def share_heatmap(cells: pl.DataFrame, name: str) -> alt.LayerChart:
    """Share of memory kept by both steps, deep to the right; a cross marks what is forgotten.

    ``cells``: of one arm: shallow_step, deep_step, their epochs, share, share_low, share_high,
    forgotten, forgotten_in (runs), n, n_seeds. Cells of a network that has nothing in memory stay
    grey.
    """
    colour = alt.Color(
        "share:Q",
        title="share of memory kept",
        scale=alt.Scale(scheme=SCHEME, domain=[0, 1], clamp=True),
        legend=alt.Legend(
            orient="bottom",
            gradientLength=PANEL - 20,
            gradientThickness=10,
            titleLimit=PANEL,
            values=[0, 0.5, 1],
            format=".0%",
        ),
    )
    tooltip: list[alt.Tooltip] = [
        alt.Tooltip("shallow_epoch:Q", title="shallow part, epoch", format=".4~g"),
        alt.Tooltip("deep_epoch:Q", title="deep part, epoch", format=".4~g"),
        alt.Tooltip("share:Q", title="kept", format=PERCENT),
        alt.Tooltip("share_low:Q", title="95 %, from", format=PERCENT),
        alt.Tooltip("share_high:Q", title="to", format=PERCENT),
        alt.Tooltip("forgotten_in:Q", title="forgotten in runs"),
        *_counted(),
    ]
    return (
        matrix(cells, "share", colour, tooltip, crossed="forgotten")
        .properties(
            title=title(name, ["right of the line: earlier shallow part", "cross: forgotten"]),
        )
        .configure_view(strokeWidth=0, fill=QUIET, fillOpacity=0.35)
    )


def gap_by_lag(gaps: pl.DataFrame, name: str, variance: str, limits: list[float]) -> alt.LayerChart:
    """Gap between training set and other laws by lag, a line a law, its interval as bars.

    ``gaps``: of one arm and deep step: law, lag_epochs, shallow_step, deep_step, gap, gap_low,
    gap_high, n, n_seeds. ``limits``: of the axis, shared by panels. Above 0: earlier features cost
    more on the training set.
    """
    laws = gaps["law"].unique(maintain_order=True).to_list()
    base = alt.Chart(gaps).encode(
        x=_lag_axis(gaps),
        xOffset=alt.XOffset("law:N", sort=laws),
        color=alt.Color(
            "law:N",
            title=None,
            scale=alt.Scale(domain=laws, range=LAW_COLOURS),
            legend=alt.Legend(orient="bottom", columns=1, labelLimit=PANEL),
        ),
    )
    bars = (
        base.transform_filter("isValid(datum.gap_low)")
        .mark_rule(strokeWidth=1.5)
        .encode(y=alt.Y("gap_low:Q"), y2="gap_high:Q")
    )
    dots = base.mark_point(filled=True, size=30, opacity=1).encode(
        y=alt.Y(
            "gap:Q",
            title="lost on training minus lost there",
            scale=alt.Scale(domain=limits),
            axis=alt.Axis(format="+.0%", tickCount=5),
        ),
        tooltip=[
            alt.Tooltip("law:N", title="set"),
            alt.Tooltip("gap:Q", format="+.1%"),
            alt.Tooltip("gap_low:Q", title=f"{variance}, from", format="+.1%"),
            alt.Tooltip("gap_high:Q", title="to", format="+.1%"),
            *_steps(),
            *_counted(),
        ],
    )
    zero = reference(y=0)
    return alt.layer(zero, bars, dots).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL * 0.8,
        title=title(name, f"bars: {variance}"),
    )


def induction(points: pl.DataFrame, arms: list[str]) -> alt.LayerChart:
    """Memory on the training set against the test accuracy of the last network, a dot a run.

    ``points``: arm, name, train_memory, train_memory_low, train_memory_high, test_accuracy,
    train_n, test_n.
    """
    base = alt.Chart(points).encode(
        y=alt.Y(
            "test_accuracy:Q",
            title="test accuracy, last network",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format=".0%", tickCount=5),
        ),
        color=arm_colour(arms, points["arm"]),
    )
    scale = alt.Scale(domain=[0, 1])
    bars = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("train_memory_low:Q", scale=scale), x2="train_memory_high:Q"
    )
    dots = base.mark_point(filled=True, size=45, opacity=0.9).encode(
        x=alt.X(
            "train_memory:Q",
            title="mean memory of a training example",
            scale=scale,
            axis=alt.Axis(format=".0%", tickCount=5),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="run"),
            alt.Tooltip("train_memory:Q", title="training memory", format=PERCENT),
            alt.Tooltip("train_memory_low:Q", title="95 % over examples, from", format=PERCENT),
            alt.Tooltip("train_memory_high:Q", title="to", format=PERCENT),
            alt.Tooltip("test_accuracy:Q", title="test accuracy", format=PERCENT),
            alt.Tooltip("train_n:Q", title="training examples", format=","),
            alt.Tooltip("test_n:Q", title="test examples", format=","),
        ],
    )
    return alt.layer(bars, dots).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL * 0.8,
        title=title("Training memory and test accuracy", "a dot a run; bars: 95 % over examples"),
    )
