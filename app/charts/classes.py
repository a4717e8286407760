"""One cell, class by class: the composite beside the deep part's own network."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, PANEL, PLOT_SIZE, QUIET, title

SPLICE, NETWORK = "splice", "the deep part's own network"
ROW = 26


def by_class(classes: pl.DataFrame, name: str) -> alt.LayerChart:
    """Draw the accuracy of each class under the splice (filled) and its network (hollow).

    ``classes``: class_name, of (``SPLICE`` or ``NETWORK``), n, correct, accuracy, accuracy_low,
    accuracy_high; two rows a class, or one where the cell is the network itself.
    """
    order = classes["class_name"].unique(maintain_order=True).to_list()
    base = alt.Chart(classes).encode(
        y=alt.Y("class_name:N", sort=order, title=None, axis=alt.Axis(labelLimit=PANEL // 2)),
        yOffset=alt.YOffset("of:N", sort=[NETWORK, SPLICE]),
        color=alt.Color(
            "of:N",
            title=None,
            scale=alt.Scale(domain=[NETWORK, SPLICE], range=[QUIET, ARM_COLOURS[0]]),
            legend=alt.Legend(orient="bottom", columns=1, symbolOpacity=1, labelLimit=PANEL),
        ),
    )
    scale = alt.Scale(domain=[0, 1])
    bars = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("accuracy_low:Q", scale=scale), x2="accuracy_high:Q"
    )
    dots = base.mark_point(filled=True, size=45, opacity=1).encode(
        x=alt.X(
            "accuracy:Q",
            title="accuracy",
            scale=scale,
            axis=alt.Axis(format=".0%", tickCount=5),
        ),
        tooltip=[
            alt.Tooltip("class_name:N", title="class"),
            alt.Tooltip("of:N", title="of"),
            alt.Tooltip("accuracy:Q", format=".1%"),
            alt.Tooltip("accuracy_low:Q", title="95 % over examples, from", format=".1%"),
            alt.Tooltip("accuracy_high:Q", title="to", format=".1%"),
            alt.Tooltip("correct:Q", title="right", format=","),
            alt.Tooltip("n:Q", title="examples", format=","),
        ],
    )
    return alt.layer(bars, dots).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=ROW * len(order),
        title=title(name, "bars: 95 % over examples (Wilson)"),
    )
