"""Profiles over the lag, from the shallow part back to the deep part."""

import altair as alt
import polars as pl

from app.charts.matrices import cell_tooltip
from app.charts.style import METRIC_NAMES, PANEL, PLOT_SIZE, scale_floor, title


def lag_profile(cells: pl.DataFrame, metric: str, chance: float, name: str) -> alt.Chart:
    """One line a deep step: the metric against how much earlier the shallow part is.

    Never pooled over deep steps: the mix of steps changes with the lag (Simpson's paradox).
    """
    frame = cells.filter(
        pl.col("shallow_step") <= pl.col("deep_step"), pl.col("deep_step") > 0
    ).with_columns((pl.col("deep_epoch") - pl.col("shallow_epoch")).alias("lag"))
    epochs = frame["deep_epoch"].unique().sort().to_list()
    latest = max(epochs, default=1.0)
    few = len(epochs) <= 20
    return (
        alt.Chart(frame)
        .mark_line(point=alt.OverlayMarkDef(size=14) if few else False, strokeWidth=1.5)
        .encode(
            x=alt.X("lag:Q", title="lag: epochs from shallow to deep part"),
            y=alt.Y(
                f"{metric}:Q",
                title=METRIC_NAMES[metric],
                scale=alt.Scale(domain=[min(scale_floor(metric, chance), 0), 1], clamp=True),
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
                legend=alt.Legend(
                    orient="bottom", values=epochs[:: len(epochs) // 5 + 1], format=".3~g"
                ),
            ),
            detail="deep_step:N",
            tooltip=[alt.Tooltip("lag:Q", title="lag, epochs", format=".4~g"), *cell_tooltip()],
        )
        .properties(
            autosize=PLOT_SIZE,
            width=PANEL,
            height=PANEL * 0.7,
            title=title(name),
        )
    )
