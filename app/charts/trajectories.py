"""Trajectories by checkpoint: quality of the picture, motion in the original space."""

import altair as alt
import polars as pl

from app.charts.style import (
    ARM_COLOURS,
    PANEL,
    PLOT_SIZE,
    QUIET,
    epoch_labels,
    stroke_legend,
    title,
)

LINES = [ARM_COLOURS[0], ARM_COLOURS[5], QUIET]


def _lines(quality: pl.DataFrame, columns: dict[str, str], span: list[float] | None) -> alt.Chart:
    """Draw columns of ``quality`` over the checkpoints, drawn evenly, the first one strongest."""
    long = quality.select("step", "epoch", *columns).unpivot(
        index=["step", "epoch"], variable_name="column", value_name="value"
    )
    named = long.with_columns(pl.col("column").replace(columns).alias("of"))
    shown = list(columns.values())
    scale = alt.Scale(domain=span) if span else alt.Scale(zero=True)
    return (
        alt.Chart(named)
        .mark_line(point=alt.OverlayMarkDef(size=18), strokeWidth=1.5)
        .encode(
            x=alt.X(
                "step:O",
                title="epoch",
                axis=alt.Axis(
                    labelExpr=epoch_labels(quality),
                    labelOverlap=True,
                    labelAngle=0,
                ),
            ),
            y=alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "of:N",
                title=None,
                scale=alt.Scale(domain=shown, range=LINES[: len(shown)]),
                legend=alt.Legend(orient="bottom", columns=1, labelLimit=PANEL),
            ),
            tooltip=[
                alt.Tooltip("of:N", title="of"),
                alt.Tooltip("epoch:Q", format=".4~g"),
                alt.Tooltip("step:Q", format=","),
                alt.Tooltip("value:Q", format=".3f"),
            ],
        )
    )


def _panel(chart: alt.Chart | alt.LayerChart, name: str) -> alt.Chart | alt.LayerChart:
    """Give a small chart its size and its title."""
    return chart.properties(autosize=PLOT_SIZE, width=PANEL, height=PANEL * 0.5, title=title(name))


def trust(quality: pl.DataFrame) -> alt.Chart | alt.LayerChart:
    """Trustworthiness of the picture by checkpoint, beside that of two principal components."""
    columns = {
        "trustworthiness": "this picture",
        "pca_trustworthiness": "two principal components",
    }
    return _panel(_lines(quality, columns, [0.4, 1]), "Trustworthiness")


def overlap(quality: pl.DataFrame) -> alt.Chart | alt.LayerChart:
    """Overlap of nearest neighbours by checkpoint, beside two principal components and chance."""
    columns = {
        "neighbour_overlap": "this picture",
        "pca_neighbour_overlap": "two principal components",
        "chance": "chance",
    }
    return _panel(_lines(quality, columns, [0, 1]), "Overlap of nearest neighbours")


def motion(quality: pl.DataFrame) -> alt.Chart | alt.LayerChart:
    """How far features moved since the checkpoint before, in the original space."""
    lines = _lines(quality, {"displacement": "spreads of the features"}, None)
    return _panel(lines, "Displacement of the features")


def pace(quality: pl.DataFrame) -> alt.Chart | alt.LayerChart:
    """How far features moved for each unit of learning rate, in the original space."""
    lines = _lines(quality, {"speed": "spreads per cumulative learning rate"}, None)
    return _panel(lines, "Speed of the features")


def turning(quality: pl.DataFrame) -> alt.Chart | alt.LayerChart:
    """Mean turning cosine by checkpoint, with what jitter and a random walk would give."""
    nulls = pl.DataFrame({"value": [0.0, -0.5], "null": ["random walk", "independent jitter"]})
    # Named in a legend: the curve may pass anywhere, also where words would stand beside a rule.
    # Of a field of its own, else Vega-Lite makes one legend of this and the curve's colour.
    rules = (
        alt.Chart(nulls)
        .mark_rule(color=QUIET)
        .encode(
            y="value:Q",
            strokeDash=alt.StrokeDash(
                "null:N",
                title=None,
                scale=alt.Scale(domain=nulls["null"].to_list(), range=[[6, 3], [2, 3]]),
                legend=stroke_legend("top", columns=2),
            ),
        )
    )
    lines = _lines(quality, {"turning_cosine": "mean over examples"}, [-1, 1])
    return _panel(alt.layer(lines, rules), "Turning cosine")
