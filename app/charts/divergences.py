"""Distances between laws of features, over what their permutation null gives."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, PANEL, PLOT_SIZE, QUIET, title

MEASURE_NAMES = {
    "tv_kde": "TV by densities",
    "mmd2": "MMD²",
    "sliced_wasserstein": "sliced Wasserstein",
    "c2st": "accuracy of a classifier",
    "tv_bound": "TV shown by a classifier",
}
# Colours of the arms: these lines are measures of one run.
MEASURE_COLOURS = [*ARM_COLOURS[:4], ARM_COLOURS[5]]


def excess_by_lag(distances: pl.DataFrame, name: str) -> alt.LayerChart:
    """Excess of each distance over its null by lag, one line a measure, at one cut.

    ``distances``: measure, shallow_epoch, deep_epoch, value, null_mean, null_high, excess, p, n,
    permutations; one deep step. The scales of the measures differ by orders, so each is drawn in
    units of its own largest |excess| or null width among the rows; ``relative`` is that. Grey: from
    0, the mean of the null, to the highest 95 % point of any measure.
    """
    unit = pl.max_horizontal(
        pl.col("excess").abs(), pl.col("null_high") - pl.col("null_mean")
    ).max()
    scale = unit.over("measure")
    frame = (
        distances.filter(pl.col("excess").is_not_null())
        .with_columns(
            (pl.col("deep_epoch") - pl.col("shallow_epoch")).alias("lag"),
            # Where nothing moved and no null is wide, every excess is zero.
            pl.when(scale > 0).then(scale).otherwise(1.0).alias("unit"),
            pl.col("measure").replace(MEASURE_NAMES).alias("name"),
        )
        .with_columns(
            (pl.col("excess") / pl.col("unit")).alias("relative"),
            ((pl.col("null_high") - pl.col("null_mean")) / pl.col("unit"))
            .max()
            .over("lag")
            .alias("band"),
        )
    )
    base = alt.Chart(frame).encode(
        x=alt.X("lag:Q", title="lag, epochs", axis=alt.Axis(format=".4~g", tickCount=5))
    )
    band = (
        base.transform_calculate(zero="0")
        .mark_area(color=QUIET, opacity=0.3)
        .encode(y=alt.Y("band:Q"), y2=alt.Y2("zero:Q"))
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(size=30), strokeWidth=1.5).encode(
        y=alt.Y("relative:Q", title="excess over the null, of its largest"),
        color=alt.Color(
            "name:N",
            title=None,
            scale=alt.Scale(domain=list(MEASURE_NAMES.values()), range=MEASURE_COLOURS),
            legend=alt.Legend(orient="bottom", columns=1, labelLimit=PANEL),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="measure"),
            alt.Tooltip("lag:Q", title="lag, epochs", format=".4~g"),
            alt.Tooltip("shallow_step:Q", title="earlier step", format=","),
            alt.Tooltip("deep_step:Q", title="later step", format=","),
            alt.Tooltip("value:Q", format=".3~g"),
            alt.Tooltip("null_mean:Q", title="mean of the null", format=".3~g"),
            alt.Tooltip("null_high:Q", title="95 % of the null", format=".3~g"),
            alt.Tooltip("excess:Q", format=".3~g"),
            alt.Tooltip("p:Q", format=".3f"),
            alt.Tooltip("n:Q", title="examples", format=","),
            alt.Tooltip("permutations:Q", format=","),
        ],
    )
    return alt.layer(band, lines).properties(
        autosize=PLOT_SIZE, width=PANEL, height=PANEL * 0.7, title=title(name)
    )
