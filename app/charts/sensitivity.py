"""Forest plots: the arms of a study by what they change, a row an arm."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, PLOT_SIZE, QUIET, title

ROW = 22
# With the labels at its left a plot still fits a page 390 pixels wide.
WIDTH = 150
LABEL = 150
# Beside colour, so that nothing is told by colour alone.
VERDICT_SHAPES = {"holds": "circle", "doesn't": "cross", "can't be told": "diamond"}
OVER = {"seeds": "95 % over seeds (t)", "examples": "one seed: 95 % over examples"}


def _interval(rows: pl.DataFrame) -> str:
    return "bars: " + "; ".join(OVER[over] for over in OVER if over in set(rows["over"]))


def _y(rows: pl.DataFrame) -> alt.Y:
    return alt.Y(
        "label:N",
        sort=rows["label"].unique(maintain_order=True).to_list(),
        title=None,
        axis=alt.Axis(labelLimit=LABEL, labelOverlap=False, ticks=False, grid=True),
    )


def _colour(fields: list[str]) -> alt.Color:
    return alt.Color(
        "field:N",
        title="what the arm changes",
        scale=alt.Scale(
            domain=fields, range=[ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(fields))]
        ),
        legend=alt.Legend(orient="bottom", columns=2, symbolOpacity=1, labelLimit=LABEL),
    )


def _tooltip(name: str, number: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("field:N", title="changes"),
        alt.Tooltip("control:N", title="null"),
        alt.Tooltip("value:Q", title=name, format=number),
        alt.Tooltip("low:Q", title="95 %, from", format=number),
        alt.Tooltip("high:Q", title="to", format=number),
        alt.Tooltip("over:N", title="interval over"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
        alt.Tooltip("n:Q", title="examples", format=","),
    ]


def score_forest(
    rows: pl.DataFrame, fields: list[str], measure: str, least: float
) -> alt.LayerChart:
    """TC of each arm with its interval; the mark says whether the effect holds.

    ``rows``: label, arm, field, control, value, low, high, over, n_seeds, n, verdict. ``fields``:
    in the order of their colours. ``least``: the score that an arm must reach.
    """
    base = alt.Chart(rows).encode(y=_y(rows), color=_colour(fields))
    x = alt.X(
        "value:Q",
        title=f"TC of {measure}",
        axis=alt.Axis(format=".2~f", tickCount=4),
        scale=alt.Scale(domain=alt.DomainUnionWith(unionWith=[0, 1])),
    )
    rule = alt.Chart().mark_rule(color=QUIET, strokeDash=[3, 3]).encode(x=alt.XDatum(least))
    bars = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q"), x2="high:Q")
    marks = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=x,
        shape=alt.Shape(
            "verdict:N",
            title="the effect",
            scale=alt.Scale(domain=list(VERDICT_SHAPES), range=list(VERDICT_SHAPES.values())),
            legend=alt.Legend(orient="bottom", symbolFillColor=QUIET, symbolStrokeColor=QUIET),
        ),
        tooltip=[*_tooltip("TC", ".3f"), alt.Tooltip("verdict:N", title="the effect")],
    )
    return alt.layer(rule, bars, marks).properties(
        autosize=PLOT_SIZE,
        width=WIDTH,
        height=alt.Step(ROW),
        title=title("Score of each arm", _interval(rows)),
    )


def difference_forest(
    rows: pl.DataFrame, fields: list[str], heading: str, axis: str, least: float | None = None
) -> alt.LayerChart:
    """Draw a difference of each arm with its interval; dashed: zero.

    ``rows``: label, arm, field, control, value, low, high, over, n_seeds, n, with one row an arm.
    ``least``: where a difference is large enough, a dotted line.
    """
    base = alt.Chart(rows).encode(y=_y(rows), color=_colour(fields))
    x = alt.X(
        "value:Q",
        title=axis,
        axis=alt.Axis(format="+.2~f", tickCount=4),
        # Zero is always in sight: it is what a difference is held against.
        scale=alt.Scale(domain=alt.DomainUnionWith(unionWith=[0, 0.1])),
    )
    layers = [alt.Chart().mark_rule(color=QUIET, strokeDash=[3, 3]).encode(x=alt.XDatum(0))]
    if least is not None:
        quiet = alt.Chart().mark_rule(color=QUIET, strokeDash=[1, 3])
        layers.append(quiet.encode(x=alt.XDatum(least)))
    layers.append(base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q"), x2="high:Q"))
    layers.append(
        base.mark_point(filled=True, size=50, opacity=1).encode(x=x, tooltip=_tooltip(axis, "+.3f"))
    )
    return alt.layer(*layers).properties(
        autosize=PLOT_SIZE,
        width=WIDTH,
        height=alt.Step(ROW),
        title=title(heading, _interval(rows)),
    )
