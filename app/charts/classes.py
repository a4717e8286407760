"""A splice class by class, beside the network that its deep part comes from."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, PLOT_SIZE, QUIET, WIDE, title


def by_class(per_class: pl.DataFrame) -> alt.LayerChart:
    """Accuracy of a splice class by class with its interval; a tick for the deep network itself.

    ``per_class``: class, class_name, n, accuracy, accuracy_low, accuracy_high, own_accuracy.
    """
    names = per_class.sort("class")["class_name"].to_list()
    y = alt.Y("class_name:N", sort=names, title=None, axis=alt.Axis(labelLimit=110))
    scale = alt.Scale(domain=[0, 1])
    base = alt.Chart(per_class).encode(
        y=y,
        tooltip=[
            alt.Tooltip("class_name:N", title="class"),
            alt.Tooltip("accuracy:Q", title="splice", format=".1%"),
            alt.Tooltip("accuracy_low:Q", title="95 % over examples, from", format=".1%"),
            alt.Tooltip("accuracy_high:Q", title="to", format=".1%"),
            alt.Tooltip("own_accuracy:Q", title="deep network itself", format=".1%"),
            alt.Tooltip("n:Q", title="examples", format=","),
        ],
    )
    bars = base.mark_bar(color=ARM_COLOURS[4], height=alt.RelativeBandSize(0.62)).encode(
        x=alt.X("accuracy:Q", title="accuracy", scale=scale, axis=alt.Axis(format="%", tickCount=5))
    )
    ranges = base.mark_rule(strokeWidth=1.5, color=QUIET).encode(
        x=alt.X("accuracy_low:Q", scale=scale), x2="accuracy_high:Q"
    )
    own = base.mark_tick(thickness=3, color=ARM_COLOURS[1]).encode(
        x=alt.X("own_accuracy:Q", scale=scale)
    )
    return alt.layer(bars, ranges, own).properties(
        autosize=PLOT_SIZE,
        width=WIDE,
        height=alt.Step(22),
        title=title(
            "Class by class",
            ["bar: splice, line: 95 % over examples", "orange tick: the deep network itself"],
        ),
    )
