"""Corrupted images: kind by severity, accuracy along training, scores beside the clean ones."""

import altair as alt
import polars as pl

from app.charts.style import PANEL, PLOT_SIZE, WIDE, arm_colour, stroke_legend, title

PERCENT = alt.Axis(format=".0%", tickCount=5)


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("corruption:N"),
        alt.Tooltip("severity:O"),
        alt.Tooltip("epoch:Q", format=".4~g"),
        alt.Tooltip("step:Q", format=","),
        alt.Tooltip("accuracy:Q", format=".1%"),
        alt.Tooltip("accuracy_low:Q", title="95 % over examples, from", format=".1%"),
        alt.Tooltip("accuracy_high:Q", title="to", format=".1%"),
        alt.Tooltip("n:Q", title="examples", format=","),
    ]


def corruption_heatmap(rows: pl.DataFrame, chance: float, heading: str) -> alt.LayerChart:
    """Accuracy of one checkpoint by kind and severity; the clean set is the column 0 of each kind.

    ``rows``: corruption, severity, step, epoch, accuracy, accuracy_low, accuracy_high, n. Colours
    run from ``chance`` to 100 %.
    """
    corrupted = rows.filter(pl.col("corruption") != "none")
    kinds = corrupted["corruption"].unique(maintain_order=True).to_list()
    clean = rows.filter(pl.col("corruption") == "none")
    of_kinds = pl.concat([clean.with_columns(pl.lit(kind).alias("corruption")) for kind in kinds])
    shown = pl.concat([of_kinds, corrupted])
    base = alt.Chart(shown).encode(
        x=alt.X("severity:O", axis=alt.Axis(labelAngle=0, title="severity (0: clean)")),
        y=alt.Y("corruption:N", sort=kinds, title=None),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "accuracy:Q",
            scale=alt.Scale(scheme="viridis", domain=[chance, 1], clamp=True),
            legend=alt.Legend(format=".0%", title=f"accuracy, from {chance:.0%}", orient="bottom"),
        ),
        tooltip=_tooltip(),
    )
    bright = (1 + chance) / 2
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("accuracy:Q", format=".0%"),
        color=alt.condition(f"datum.accuracy > {bright}", alt.value("#111"), alt.value("#fff")),
    )
    return alt.layer(cells, numbers).properties(
        autosize=PLOT_SIZE,
        width=0.9 * PANEL,
        height=max(24 * len(kinds), 60),
        title=title(heading),
    )


def corruption_over_time(rows: pl.DataFrame, arms: list[str]) -> alt.LayerChart:
    """Clean and corrupted accuracy along training, a line an arm's run.

    ``rows``: run_id, arm, epoch, step, set (``clean`` or the corruption), accuracy, accuracy_low,
    accuracy_high, n. Dashed: corrupted.
    """
    base = alt.Chart(rows).encode(
        x=alt.X("epoch:Q", axis=alt.Axis(format=".4~g")),
        y=alt.Y("accuracy:Q", title="accuracy", axis=PERCENT, scale=alt.Scale(domain=[0, 1])),
        color=arm_colour(arms, rows["arm"]),
        detail=["run_id:N", "set:N"],
    )
    sets = rows["set"].unique(maintain_order=True).to_list()
    lines = base.mark_line(strokeWidth=1.5).encode(
        strokeDash=alt.StrokeDash(
            "set:N",
            title=None,
            scale=alt.Scale(domain=sets, range=[[1, 0], [4, 3]]),
            legend=stroke_legend("top", columns=2),
        )
    )
    bars = base.mark_rule(opacity=0.5).encode(
        y=alt.Y("accuracy_low:Q", title="accuracy"), y2="accuracy_high:Q"
    )
    marks = base.mark_point(filled=True, size=25, opacity=1).encode(tooltip=_tooltip())
    return alt.layer(bars, lines, marks).properties(
        autosize=PLOT_SIZE,
        width=WIDE,
        height=PANEL,
        title=title("Along training", "bars: 95 % over examples"),
    )


def slopes(
    rows: pl.DataFrame, arms: list[str], heading: str, axis: str, number: str, over: str
) -> alt.LayerChart:
    """Draw a quantity on clean and on corrupted images, joined by a line for each run.

    ``rows``: run_id, run, arm, cut, set (``clean`` or the corruption), value, low, high, n.
    ``heading`` and ``axis`` name the quantity, ``number`` is its format, ``over`` says what the
    bars are.
    """
    # Whole intervals, and all or nothing in sight.
    low, high = rows["low"].drop_nulls(), rows["high"].drop_nulls()
    scale = alt.Scale(domain=[min(0, *low), max(1, *high)])
    base = alt.Chart(rows).encode(
        x=alt.X("set:N", sort=None, title=None, axis=alt.Axis(labelAngle=0, labelLimit=PANEL)),
        y=alt.Y("value:Q", title=axis, scale=scale, axis=alt.Axis(tickCount=5, format=number)),
        color=arm_colour(arms, rows["arm"]),
        detail="run_id:N",
    )
    bars = base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", title=axis), y2="high:Q")
    tooltip = [
        alt.Tooltip("run:N"),
        alt.Tooltip("cut:N"),
        alt.Tooltip("set:N", title="images"),
        alt.Tooltip("value:Q", title=axis, format=number),
        alt.Tooltip("low:Q", title="95 % over examples, from", format=number),
        alt.Tooltip("high:Q", title="to", format=number),
        alt.Tooltip("n:Q", title="examples", format=","),
    ]
    marks = base.mark_point(filled=True, size=35, opacity=1).encode(tooltip=tooltip)
    return alt.layer(bars, base.mark_line(strokeWidth=1), marks).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL,
        title=title(heading, f"bars: 95 % over examples, {over}"),
    )
