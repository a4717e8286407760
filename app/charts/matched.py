"""Retention against what arms are matched by: own accuracy, or displacement."""

import altair as alt
import polars as pl

from app.charts.style import PANEL, PLOT_SIZE, arm_colour, title

# By the column it is matched by: title, axis, number format.
MATCHED = {
    "own_accuracy": ("At equal accuracy", "A(s,s): accuracy of the earlier network", "%"),
    "displacement": ("At equal displacement", "displacement from the final features", ".1~f"),
}


def retention_against(points: pl.DataFrame, matched_by: str, arms: list[str]) -> alt.LayerChart:
    """Retention under the final deep part against ``own_accuracy`` or ``displacement``.

    ``points``: run, arm, shallow_epoch, shallow_step, own_accuracy, displacement, retention,
    retention_low, retention_high, n; one line a run, bars 95 % over examples. ``arms``: in the
    order of their colours.
    """
    name, axis_title, axis_format = MATCHED[matched_by]
    # Accuracies share one scale; displacement ends where the data end.
    domain = {"domain": [0, 1]} if matched_by == "own_accuracy" else {"zero": True}
    # Above 1 too: an earlier shallow part may do better than the last one.
    shares = alt.Scale(domain=alt.DomainUnionWith(unionWith=[0, 1]))
    retention = alt.Y(
        "retention:Q",
        title="retention under the final deep part",
        axis=alt.Axis(format="%"),
        scale=shares,
    )
    base = alt.Chart(points.filter(pl.col(matched_by).is_not_null())).encode(
        x=alt.X(
            f"{matched_by}:Q",
            title=axis_title,
            axis=alt.Axis(format=axis_format, tickCount=5),
            scale=alt.Scale(**domain),
        ),
        color=arm_colour(arms, points["arm"]),
        detail="run:N",
    )
    lines = base.mark_line(strokeWidth=1, opacity=0.65).encode(y=retention, order="shallow_step:Q")
    bars = base.mark_rule(strokeWidth=1, opacity=0.65).encode(
        y=alt.Y("retention_low:Q", scale=shares), y2="retention_high:Q"
    )
    marks = base.mark_point(filled=True, size=45, opacity=0.9).encode(
        y=retention,
        shape=alt.Shape("arm:N", title=None, scale=alt.Scale(domain=arms)),
        tooltip=[
            alt.Tooltip("run:N", title="run"),
            alt.Tooltip("shallow_epoch:Q", title="shallow part, epoch", format=".4~g"),
            alt.Tooltip("shallow_step:Q", title="step", format=","),
            alt.Tooltip("own_accuracy:Q", title="A(s,s)", format=".1%"),
            alt.Tooltip("displacement:Q", title="displacement", format=".3~g"),
            alt.Tooltip("retention:Q", title="retention", format=".1%"),
            alt.Tooltip("retention_low:Q", title="95 % over examples, from", format=".1%"),
            alt.Tooltip("retention_high:Q", title="to", format=".1%"),
            alt.Tooltip("n:Q", title="examples", format=","),
        ],
    )
    return alt.layer(lines, bars, marks).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL,
        title=title(name, "a point a shallow checkpoint; bars: 95 % over examples"),
    )
