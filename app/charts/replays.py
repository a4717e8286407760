"""Replay and SWA against the plain run: paired differences of the final accuracy."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, PLOT_SIZE, reference, title

WIDTH = 170
LABEL = 140
ROW = 26
SHAPES = {"clean": "circle", "corrupted": "square"}
COLOURS = {"clean": ARM_COLOURS[0], "corrupted": ARM_COLOURS[1]}


def replay_forest(rows: pl.DataFrame, heading: str) -> alt.LayerChart:
    """Difference of the final test accuracy of each condition, on clean and corrupted images.

    ``rows``: condition, images, accuracy, difference, difference_low, difference_high, n_pairs, n,
    kinds, verdict. Bars: 95 %, Student's t over seeds; none for one seed.
    """
    low, high = (rows[f"difference_{end}"].drop_nulls() for end in ("low", "high"))
    ends = [*low, *high, *rows["difference"], -0.01, 0.01]
    images = [each for each in SHAPES if each in set(rows["images"])]
    base = alt.Chart(rows).encode(
        y=alt.Y(
            "condition:N",
            sort=rows["condition"].unique(maintain_order=True).to_list(),
            title=None,
            axis=alt.Axis(labelLimit=LABEL, labelOverlap=False, ticks=False, grid=True),
        ),
        yOffset=alt.YOffset("images:N", sort=images),
        color=alt.Color(
            "images:N",
            title="test images",
            scale=alt.Scale(domain=images, range=[COLOURS[each] for each in images]),
            legend=alt.Legend(orient="bottom", symbolOpacity=1),
        ),
    )
    x = alt.X(
        "difference:Q",
        title="test accuracy minus that of the other",
        axis=alt.Axis(format="+.1%", tickCount=4),
        # Whole intervals: a domain that is joined with values would leave out their ends.
        scale=alt.Scale(domain=[min(ends), max(ends)], nice=True),
    )
    zero = reference(x=0)
    bars = (
        base.transform_filter("isValid(datum.difference_low)")
        .mark_rule(strokeWidth=1.5)
        .encode(x=alt.X("difference_low:Q"), x2="difference_high:Q")
    )
    marks = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=x,
        shape=alt.Shape(
            "images:N",
            title="test images",
            scale=alt.Scale(domain=images, range=[SHAPES[each] for each in images]),
        ),
        tooltip=[
            alt.Tooltip("condition:N"),
            alt.Tooltip("images:N"),
            alt.Tooltip("accuracy:Q", title="test accuracy", format=".1%"),
            alt.Tooltip("difference:Q", format="+.2%"),
            alt.Tooltip("difference_low:Q", title="95 % over seeds, from", format="+.2%"),
            alt.Tooltip("difference_high:Q", title="to", format="+.2%"),
            alt.Tooltip("n_pairs:Q", title="seeds"),
            alt.Tooltip("kinds:Q", title="kinds of images"),
            alt.Tooltip("n:Q", title="examples", format=","),
            alt.Tooltip("verdict:N"),
        ],
    )
    pairs = max(rows["n_pairs"].to_list())
    told = f"bars: 95 % over {pairs} seeds (t)" if pairs > 1 else "a single seed: no interval"
    return alt.layer(zero, bars, marks).properties(
        autosize=PLOT_SIZE, width=WIDTH, height=alt.Step(ROW), title=title(heading, told)
    )
