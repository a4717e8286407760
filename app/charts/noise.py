"""Noise of SGD: its spectrum, its difference to the isotropic control, its alignment with drift."""

import altair as alt
import polars as pl

from app.charts.style import (
    ARM_COLOURS,
    PANEL,
    PLOT_SIZE,
    QUIET,
    WIDE,
    epoch_labels,
    stroke_legend,
    title,
)

DASHES = {1: [1, 0], 2: [5, 3], 3: [1, 3], 4: [8, 3, 1, 3]}


def _colour(series: list[str]) -> alt.Color:
    """Give each series the colour of its place; a legend only where there are several."""
    return alt.Color(
        "series:N",
        title=None,
        scale=alt.Scale(
            domain=series, range=[ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(series))]
        ),
        legend=alt.Legend(orient="bottom", columns=1, labelLimit=WIDE, symbolOpacity=1)
        if len(series) > 1
        else None,
    )


def scree(spectra: pl.DataFrame, bands: pl.DataFrame, series: list[str]) -> alt.LayerChart:
    """Shares of eigenvalues over rank, both logarithmic: filled SGD, hollow its control.

    ``spectra``: of one place: series, source (``sgd`` and at most one control), rank, eigenvalue
    as a share of the sum. ``bands``: of isotropic noise, one for each size: n, p, rank, band_low,
    band_high, edge, its upper Marchenko-Pastur edge. Eigenvalues of 0 have no place on the axis.
    """
    shown = spectra.filter(pl.col("eigenvalue") > 0)
    x = alt.X("rank:Q", title="rank", scale=alt.Scale(type="log", nice=False))
    scale = alt.Scale(type="log")
    y = alt.Y(
        "eigenvalue:Q", title="share of the variance", scale=scale, axis=alt.Axis(format="~g")
    )
    tooltip = [
        alt.Tooltip("series:N"),
        alt.Tooltip("source:N"),
        alt.Tooltip("rank:Q"),
        alt.Tooltip("eigenvalue:Q", title="share", format=".3~g"),
    ]
    band = alt.Chart(bands.filter(pl.col("band_low") > 0)).mark_area(color=QUIET, opacity=0.25)
    edges = alt.Chart(bands.unique(["n", "p"], maintain_order=True))
    points = alt.Chart(shown).encode(x=x, y=y, color=_colour(series), tooltip=tooltip)
    return alt.layer(
        band.encode(
            x=x, y=alt.Y("band_low:Q", scale=scale), y2="band_high:Q", detail=["n:N", "p:N"]
        ),
        edges.mark_rule(color=QUIET, strokeDash=[4, 3]).encode(y=alt.Y("edge:Q", scale=scale)),
        points.transform_filter("datum.source != 'sgd'").mark_point(
            filled=False, size=35, strokeWidth=1.2
        ),
        points.transform_filter("datum.source == 'sgd'").mark_point(
            filled=True, size=35, opacity=1
        ),
    ).properties(
        autosize=PLOT_SIZE,
        width=WIDE,
        height=PANEL,
        title=title(
            "Spectrum of the noise",
            [
                "filled: noise; hollow: isotropic control",
                "grey: isotropic, 95 % a rank; rule: MP edge",
            ],
        ),
    )


def _steps(frame: pl.DataFrame) -> alt.X:
    """Checkpoints drawn evenly, labelled by their epoch."""
    return alt.X(
        "step:O",
        title="epoch",
        axis=alt.Axis(labelExpr=epoch_labels(frame), labelAngle=0, labelOverlap=True),
    )


def _when() -> list[alt.Tooltip]:
    return [alt.Tooltip("epoch:Q", format=".4~g"), alt.Tooltip("step:Q", format=",")]


def difference_to_control(tests: pl.DataFrame, series: list[str]) -> alt.LayerChart:
    """Delta log PR_sign over training, one mark a series, with its interval over draws.

    ``tests``: rows of one control, cut and example: series, step, epoch, delta, delta_low,
    delta_high, n, delta_p_holm, verdict.
    """
    base = alt.Chart(tests).encode(
        x=_steps(tests),
        xOffset=alt.XOffset("series:N", sort=series),
        color=_colour(series),
    )
    y = alt.Y("delta:Q", title="Δ log PR_sign", scale=alt.Scale(zero=True))
    tooltip = [
        alt.Tooltip("series:N"),
        *_when(),
        alt.Tooltip("delta:Q", title="Δ log PR_sign", format=".3f"),
        alt.Tooltip("delta_low:Q", title="95 % over draws, from", format=".3f"),
        alt.Tooltip("delta_high:Q", title="to", format=".3f"),
        alt.Tooltip("delta_p_holm:Q", title="p, after Holm", format=".2~g"),
        alt.Tooltip("n:Q", title="draws"),
        alt.Tooltip("verdict:N"),
    ]
    zero = alt.Chart(pl.DataFrame({"delta": [0.0]})).mark_rule(color=QUIET).encode(y=y)
    return alt.layer(
        zero,
        base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("delta_low:Q"), y2="delta_high:Q"),
        base.mark_point(filled=True, size=55, opacity=1).encode(y=y, tooltip=tooltip),
    ).properties(
        autosize=PLOT_SIZE,
        width=WIDE,
        height=PANEL,
        title=title(
            "Difference to the control",
            [
                "below 0: fewer directions than isotropic noise",
                "through the same network; bars: 95 % over draws",
            ],
        ),
    )


def noise_alignment(means: pl.DataFrame, series: str, colour: str, lines: list[str]) -> alt.Chart:
    """Share of the drift along the noise's leading directions over training, with baselines.

    ``means``: of one series: step, epoch, of, value, low, high, n; ``lines``: values of ``of``,
    the noise first, in the ``colour`` of its series, then baselines, grey, each its own dash.
    """
    base = alt.Chart(means).encode(x=_steps(means))
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("value:Q", title="share of the drift", scale=scale, axis=alt.Axis(format=".0%"))
    shades = [colour, *[QUIET] * (len(lines) - 1)]
    dashes = [DASHES[number] for number in range(1, len(lines) + 1)]
    legend = stroke_legend(columns=2, colour=None)
    tooltip = [
        alt.Tooltip("of:N", title="of"),
        *_when(),
        alt.Tooltip("value:Q", title="mean share", format=".1%"),
        alt.Tooltip("low:Q", title="95 % over examples, from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("n:Q", title="examples"),
    ]
    of = {
        "color": alt.Color(
            "of:N", title=None, scale=alt.Scale(domain=lines, range=shades), legend=legend
        ),
        "strokeDash": alt.StrokeDash(
            "of:N", title=None, scale=alt.Scale(domain=lines, range=dashes), legend=legend
        ),
    }
    band = base.transform_filter(f"datum.of == '{lines[0]}' && isValid(datum.low)").mark_area(
        color=colour, opacity=0.2
    )
    chart = alt.layer(
        band.encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_line(strokeWidth=1.8).encode(y=y, **of),
        base.mark_point(filled=True, size=30, opacity=1).encode(
            y=y, color=of["color"], tooltip=tooltip
        ),
    )
    return chart.properties(
        autosize=PLOT_SIZE,
        # Four stand in one row.
        width=PANEL * 0.9,
        height=PANEL * 0.7,
        title=title(series, "band: 95 % over examples"),
    )
