"""Noise of SGD: its spectrum beside the isotropic control."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, PANEL, PLOT_SIZE, QUIET, WIDE, title


def scree(spectrum: pl.DataFrame, edge: float) -> alt.LayerChart:
    """Eigenvalues over rank, both logarithmic: filled SGD, hollow the control.

    ``spectrum``: of one place: source (``sgd`` and at most one control), rank, eigenvalue,
    band_low, band_high. Grey: 95 % of isotropic noise at each rank, of the trace of SGD's; rule:
    its upper Marchenko-Pastur edge, ``edge``. Eigenvalues of 0 have no place on the axis.
    """
    shown = spectrum.filter(pl.col("eigenvalue") > 0)
    x = alt.X("rank:Q", title="rank", scale=alt.Scale(type="log", nice=False))
    scale = alt.Scale(type="log")
    y = alt.Y("eigenvalue:Q", title="eigenvalue", scale=scale, axis=alt.Axis(format=".0e"))
    own = shown.filter(pl.col("source") == "sgd")
    control = shown.filter(pl.col("source") != "sgd")
    tooltip = [
        alt.Tooltip("source:N"),
        alt.Tooltip("rank:Q"),
        alt.Tooltip("eigenvalue:Q", format=".3~g"),
    ]
    band = alt.Chart(own.filter(pl.col("band_low") > 0)).mark_area(color=QUIET, opacity=0.25)
    rule = alt.Chart(pl.DataFrame({"edge": [edge]})).mark_rule(color=QUIET, strokeDash=[4, 3])
    return alt.layer(
        band.encode(x=x, y=alt.Y("band_low:Q", scale=scale), y2="band_high:Q"),
        rule.encode(y=alt.Y("edge:Q", scale=scale)),
        alt.Chart(control)
        .mark_point(filled=False, size=35, color=QUIET)
        .encode(x=x, y=y, tooltip=tooltip),
        alt.Chart(own)
        .mark_point(filled=True, size=35, color=ARM_COLOURS[0], opacity=1)
        .encode(x=x, y=y, tooltip=tooltip),
    ).properties(
        autosize=PLOT_SIZE,
        width=WIDE,
        height=PANEL,
        title=title(
            "Spectrum of the noise",
            [
                "filled: SGD; hollow: isotropic control",
                "grey: isotropic, 95 % a rank; rule: MP edge",
            ],
        ),
    )
