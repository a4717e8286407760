"""Trajectories: the picture with its time slider, its quality, motion in the original space."""

import altair as alt
import polars as pl

from app.charts.style import (
    ARM_COLOURS,
    CLASS_COLOURS,
    PANEL,
    PLOT_SIZE,
    QUIET,
    epoch_label,
    epoch_labels,
    title,
)

SIDE = 340
TRAIL = 4
LINES = [ARM_COLOURS[0], ARM_COLOURS[5], QUIET]
METHODS = {
    "aligned_umap": "AlignedUMAP",
    "pooled_umap": "UMAP of all checkpoints",
    "pca": "first two principal components",
}


def trajectory(points: pl.DataFrame, classes: list[str], method: str) -> alt.LayerChart:
    """Draw every example at the checkpoint of a slider, with a trail of the ones before.

    ``points``: frame, step, epoch, example, class, x, y, displacement, turning. A class has the
    colour of its place among ``classes``. The slider is the chart's own.
    """
    epochs = points.select("frame", "step", "epoch").unique().sort("frame")
    last = int(epochs["frame"].max() or 0)  # type: ignore[arg-type]
    at = alt.param(
        name="at",
        value=last,
        bind=alt.binding_range(min=0, max=last, step=1, name="checkpoint "),
    )
    base = alt.Chart(points).encode(
        x=alt.X("x:Q", axis=None, scale=_whole(points["x"])),
        y=alt.Y("y:Q", axis=None, scale=_whole(points["y"])),
        color=alt.Color(
            "class:N",
            title=None,
            scale=alt.Scale(
                domain=classes,
                range=[CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(classes))],
            ),
            legend=alt.Legend(orient="bottom", columns=4, symbolOpacity=1, labelLimit=60),
        ),
    )
    trails = (
        base.transform_filter(f"datum.frame <= at && datum.frame > at - {TRAIL}")
        .mark_line(strokeWidth=0.8, opacity=0.3)
        .encode(detail="example:N", order="frame:Q")
    )
    heads = (
        base.transform_filter("datum.frame == at")
        .mark_circle(size=28, opacity=0.9)
        .encode(
            tooltip=[
                alt.Tooltip("class:N"),
                alt.Tooltip("example:Q", format=","),
                alt.Tooltip("epoch:Q", format=".4~g"),
                alt.Tooltip("step:Q", format=","),
                alt.Tooltip("displacement:Q", title="displacement, spreads", format=".3~g"),
                alt.Tooltip("turning:Q", title="turning cosine", format=".2f"),
            ]
        )
    )
    names = [
        f"epoch {epoch_label(epoch)}, step {step:,}"
        for step, epoch in epochs.select("step", "epoch").iter_rows()
    ]
    when = (
        alt.Chart(epochs.with_columns(pl.Series("when", names, dtype=pl.String)))
        .transform_filter("datum.frame == at")
        .mark_text(align="left", baseline="top", fontSize=13, color=QUIET)
        .encode(x=alt.value(4), y=alt.value(4), text="when:N")
    )
    return (
        alt.layer(trails, heads, when)
        .add_params(at)
        .properties(
            autosize=PLOT_SIZE,
            width=SIDE,
            height=SIDE,
            title=title(METHODS[method], f"lines: the last {TRAIL - 1} moves"),
        )
    )


def _whole(places: pl.Series) -> alt.Scale:
    """Span all checkpoints: a scale of those shown alone would move with the slider."""
    low, high = places.to_numpy().min(), places.to_numpy().max()
    return alt.Scale(domain=[float(low), float(high)], nice=False, padding=8)


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


def turning(quality: pl.DataFrame) -> alt.Chart | alt.LayerChart:
    """Mean turning cosine by checkpoint, with what jitter and a random walk would give."""
    nulls = pl.DataFrame({"value": [-0.5, 0.0], "of": ["independent jitter", "random walk"]})
    rules = alt.Chart(nulls).mark_rule(strokeDash=[4, 3], color=QUIET).encode(y="value:Q")
    words = (
        alt.Chart(nulls)
        .mark_text(align="left", dy=-6, color=QUIET)
        .encode(x=alt.value(4), y="value:Q", text="of:N")
    )
    lines = _lines(quality, {"turning_cosine": "mean over examples"}, [-1, 1])
    return _panel(alt.layer(lines, rules, words), "Turning cosine")
