"""Forest plots: the arms of a study by what they change, a row an arm."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, PLOT_SIZE, QUIET, reference, title

ROW = 22
# With the labels at its left, and a word at its right, a plot fits a page 390 pixels wide.
WIDTH = 120
LABEL = 140
GAP = 8
OVER = {"seeds": "95 % over seeds (t)", "examples": "one seed: 95 % over examples"}


def _interval(rows: pl.DataFrame) -> str:
    return "bars: " + "; ".join(OVER[over] for over in OVER if over in set(rows["over"]))


def _y(order: pl.DataFrame) -> alt.Y:
    """Every arm has its row, with or without a value, so that forests stand side by side."""
    labels = order["label"].to_list()
    return alt.Y(
        "label:N",
        sort=labels,
        scale=alt.Scale(domain=labels),
        title=None,
        axis=alt.Axis(
            labelLimit=LABEL, labelOverlap=False, labelFlush=False, ticks=False, grid=True
        ),
    )


def _colour(order: pl.DataFrame) -> alt.Color:
    """One colour a field that arms change; the labels name it."""
    fields = order["field"].unique(maintain_order=True).to_list()
    colours = [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(fields))]
    return alt.Color("field:N", legend=None, scale=alt.Scale(domain=fields, range=colours))


def _domain(rows: pl.DataFrame, *always: float) -> alt.Scale:
    """Hold whole intervals; a domain that is joined with values would leave out their ends."""
    ends = [*rows["low"].drop_nulls(), *rows["high"].drop_nulls(), *rows["value"], *always]
    return alt.Scale(domain=[min(ends), max(ends)], nice=True)


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
    rows: pl.DataFrame, order: pl.DataFrame, measure: str, least: float
) -> alt.LayerChart:
    """TC of each arm with its interval, and in words at its right whether the effect holds.

    ``rows``: label, arm, field, control, value, low, high, over, n_seeds, n, verdict. ``order``:
    label and field of every arm, from top to bottom. ``least``: the score that an arm must reach.
    """
    base = alt.Chart(rows).encode(y=_y(order), color=_colour(order))
    x = alt.X(
        "value:Q",
        title=f"TC of {measure}",
        axis=alt.Axis(format=".2~f", tickCount=4),
        scale=_domain(rows, 0, 1),
    )
    rule = reference(x=least)
    bars = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q"), x2="high:Q")
    marks = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=x,
        tooltip=[*_tooltip("TC", ".3f"), alt.Tooltip("verdict:N", title="the effect")],
    )
    words = base.mark_text(align="left", fontSize=11).encode(
        x=alt.value(WIDTH + GAP), text="verdict:N", color=alt.value(QUIET)
    )
    return alt.layer(rule, bars, marks, words).properties(
        autosize=PLOT_SIZE,
        width=WIDTH,
        height=alt.Step(ROW),
        title=title("Score of each arm", _interval(rows)),
    )


def difference_forest(
    rows: pl.DataFrame, order: pl.DataFrame, heading: str, axis: str, least: float | None = None
) -> alt.LayerChart:
    """Draw a difference of each arm with its interval; dashed: zero.

    ``rows``: label, arm, field, control, value, low, high, over, n_seeds, n, with one row an arm.
    ``order``: as in ``score_forest``. ``least``: where a difference is large enough, a dotted line.
    """
    base = alt.Chart(rows).encode(y=_y(order), color=_colour(order))
    x = alt.X(
        "value:Q",
        title=axis,
        axis=alt.Axis(format="+.2~f", tickCount=4),
        # Zero is always in sight: it is what a difference is held against.
        scale=_domain(rows, 0, 0.05),
    )
    layers = [reference(x=0)]
    if least is not None:
        layers.append(reference(x=least, dash=(1, 3)))
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
