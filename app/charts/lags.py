"""Profiles over the lag, from the shallow part back to the deep part."""

import altair as alt
import polars as pl

from app.charts.matrices import cell_tooltip
from app.charts.style import METRIC_NAMES, PANEL, PLOT_SIZE, scale_floor, title

# More lines can't be told apart.
MOST_LINES = 12


def lag_profile(cells: pl.DataFrame, metric: str, chance: float, name: str) -> alt.LayerChart:
    """One line a deep step: the metric against how much earlier the shallow part is.

    Never pooled over deep steps: the mix of steps changes with the lag (Simpson's paradox). Of
    more deep steps than ``MOST_LINES`` so many are drawn, evenly spread over the list of them and
    the last one always; the title says so. Bands: 95 % over examples, of metrics that are shares
    of examples; retention has none here.
    """
    forward = cells.filter(
        pl.col("shallow_step") <= pl.col("deep_step"), pl.col("deep_step") > 0
    ).with_columns((pl.col("deep_epoch") - pl.col("shallow_epoch")).alias("lag"))
    every = forward["deep_epoch"].unique().sort().to_list()
    epochs = every if len(every) <= MOST_LINES else _spread(every, MOST_LINES)
    frame = forward.filter(pl.col("deep_epoch").is_in(epochs))
    latest = max(epochs, default=1.0)
    least = min(scale_floor(metric, chance), 0)
    scale = alt.Scale(domain=alt.DomainUnionWith(unionWith=[least, 1]))
    base = alt.Chart(frame).encode(
        x=alt.X("lag:Q", title="lag: epochs from shallow to deep part"), detail="deep_step:N"
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(size=14), strokeWidth=1.5).encode(
        y=alt.Y(
            f"{metric}:Q",
            title=METRIC_NAMES[metric],
            scale=scale,
            axis=alt.Axis(format="%"),
        ),
        color=alt.Color(
            "deep_epoch:Q",
            title="deep part from epoch",
            # Plasma's ends are too dark for lines on black and too pale on white.
            scale=alt.Scale(
                scheme="plasma",
                domain=[-0.3 * latest, 1.2 * latest],
            ),
            # A few of them, the last one always: its line is the highest.
            legend=alt.Legend(
                orient="bottom", values=epochs[:: -(len(epochs) // 5 + 1)][::-1], format=".3~g"
            ),
        ),
        tooltip=[alt.Tooltip("lag:Q", title="lag, epochs", format=".4~g"), *cell_tooltip()],
    )
    banded = metric != "retention"
    layers = [lines]
    if banded:
        bands = base.mark_area(opacity=0.12).encode(
            y=alt.Y(f"{metric}_low:Q", scale=scale),
            y2=f"{metric}_high:Q",
            color=alt.Color("deep_epoch:Q"),
        )
        layers = [bands, lines]
    return alt.layer(*layers).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL * 0.7,
        title=title(
            name,
            ("bands: 95 % over examples" if banded else "no interval")
            + (f"; {len(epochs)} of {len(every)} deep parts" if len(epochs) < len(every) else ""),
        ),
    )


def _spread(values: list[float], count: int) -> list[float]:
    """Choose ``count`` of more values, evenly spread over the list, both ends among them."""
    return [values[round(k * (len(values) - 1) / (count - 1))] for k in range(count)]
