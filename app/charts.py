"""Charts: a frame in, an ``altair.Chart`` out. No Streamlit, no store, no state."""

import json

import altair as alt
import numpy as np
import polars as pl

PANEL = 285
# Streamlit's default fits axes and legends into the size; here the size is that of the plot,
# so that cells stay square.
PLOT_SIZE = alt.AutoSizeParams(type="pad")
SCHEME = "viridis"
# Readable on white and on near-black.
QUIET = "#7d8894"
# Okabe & Ito 2008, without black and yellow, which vanish on one of the two backgrounds.
ARM_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
# Nine colours along matplotlib's viridis, for pictures that are not drawn by Vega.
VIRIDIS = np.array(
    [
        [68, 1, 84],
        [71, 44, 122],
        [59, 81, 139],
        [44, 113, 142],
        [33, 144, 141],
        [39, 173, 129],
        [92, 200, 99],
        [170, 220, 50],
        [253, 231, 37],
    ],
    dtype=np.float64,
)
METRIC_NAMES = {
    "accuracy": "accuracy",
    "agreement": "agreement with the later network",
    "retention": "retention of accuracy above chance",
}


def epoch_label(epoch: float) -> str:
    """``12`` for whole epochs, ``0.25`` for others."""
    return f"{epoch:.0f}" if float(epoch).is_integer() else f"{epoch:.2g}"


def scale_floor(metric: str, chance: float) -> float:
    """Where a metric's colour scale begins: chance, or 0 for retention (already above chance)."""
    return 0.0 if metric == "retention" else chance


def _colour(metric: str, chance: float) -> alt.Color:
    floor = scale_floor(metric, chance)
    named = "chance 0 %" if metric == "retention" else f"chance {chance:.0%}".replace("%", " %")
    ticks = [floor + (1 - floor) * share for share in (0, 0.5, 1)]
    return alt.Color(
        f"{metric}:Q",
        title=METRIC_NAMES[metric],
        scale=alt.Scale(scheme=SCHEME, domain=[floor, 1], clamp=True),
        legend=alt.Legend(
            orient="bottom",
            gradientLength=PANEL - 20,
            gradientThickness=10,
            titleLimit=PANEL,
            values=ticks,
            labelExpr=(
                f"datum.value <= {floor + 1e-6} ? '{named}' : format(datum.value * 100, '.0f') "
                "+ ' %'"
            ),
        ),
    )


def _cell_tooltip() -> list[alt.Tooltip]:
    percent = ".1%"
    return [
        alt.Tooltip("shallow_epoch:Q", title="shallow part, epoch", format=".4~g"),
        alt.Tooltip("shallow_step:Q", title="shallow part, step", format=","),
        alt.Tooltip("deep_epoch:Q", title="deep part, epoch", format=".4~g"),
        alt.Tooltip("deep_step:Q", title="deep part, step", format=","),
        alt.Tooltip("accuracy:Q", title="accuracy", format=percent),
        alt.Tooltip("accuracy_low:Q", title="95 % over examples, from", format=percent),
        alt.Tooltip("accuracy_high:Q", title="to", format=percent),
        alt.Tooltip("agreement:Q", title="agreement", format=percent),
        alt.Tooltip("retention:Q", title="retention", format=percent),
        alt.Tooltip("n:Q", title="examples", format=","),
    ]


def heatmap(cells: pl.DataFrame, metric: str, chance: float, title: str) -> alt.LayerChart:
    """Matrix of one run at one cut: deep step to the right, shallow step upwards.

    Steps stand evenly with their true epochs; the diagonal, the network itself, is a thin line.
    Cells where ``metric`` is null stay grey.
    """
    epochs = {
        step: epoch_label(epoch)
        for step, epoch in cells.select("shallow_step", "shallow_epoch")
        .unique()
        .sort("shallow_step")
        .iter_rows()
    }
    # Positions are steps, which differ; epochs that round alike would share a row.
    epoch_of_step = f"({json.dumps(epochs)})[datum.value]"
    # Cells of whole pixels: fractions would leave pale seams between them.
    size = max(PANEL // len(epochs), 1) * len(epochs)
    bare = {"labelExpr": epoch_of_step, "labelOverlap": True, "ticks": False, "domain": False}
    band = alt.Scale(padding=0)
    x = alt.X(
        "deep_step:O",
        title="deep part from epoch",
        scale=band,
        axis=alt.Axis(labelAngle=0, **bare),
    )
    y = alt.Y(
        "shallow_step:O",
        sort="descending",
        title="shallow part from epoch",
        scale=band,
        axis=alt.Axis(**bare),
    )
    base = alt.Chart(cells).encode(x=x, y=y)
    rects = (
        base.transform_filter(f"isValid(datum.{metric})")
        .mark_rect()
        .encode(color=_colour(metric, chance), tooltip=_cell_tooltip())
    )
    diagonal = base.transform_filter("datum.shallow_step == datum.deep_step")
    shadow = diagonal.mark_line(color="black", strokeWidth=2.5, opacity=0.45)
    line = diagonal.mark_line(color="white", strokeWidth=1)
    return (
        alt.layer(rects, shadow, line)
        .properties(
            autosize=PLOT_SIZE,
            width=size,
            height=size,
            title=alt.TitleParams(
                title,
                subtitle="right of the line: shallow part earlier than deep",
                subtitleColor=QUIET,
                anchor="start",
            ),
        )
        .configure_view(strokeWidth=0, fill=QUIET, fillOpacity=0.35)
    )


def thumbnail(cells: pl.DataFrame, metric: str, chance: float, size: int) -> np.ndarray:
    """Draw the same matrix as ``heatmap`` as pixels: uint8 (about size, about size, 3).

    Null cells are grey. Ten of these draw at once where ten Vega charts would take a second.
    """
    matrix = (
        cells.sort("deep_step")
        .pivot(on="deep_step", index="shallow_step", values=metric)
        .sort("shallow_step", descending=True)
        .drop("shallow_step")
        .to_numpy()
        .astype(np.float64)
    )
    floor = scale_floor(metric, chance)
    place = np.clip((matrix - floor) / (1 - floor), 0, 1) * (len(VIRIDIS) - 1)
    grid = np.arange(len(VIRIDIS))
    filled = np.nan_to_num(place)
    pixels = np.stack([np.interp(filled, grid, VIRIDIS[:, band]) for band in range(3)], axis=-1)
    pixels[np.isnan(matrix)] = 128
    enlarge = max(size // len(matrix), 1)
    return np.rint(pixels).astype(np.uint8).repeat(enlarge, axis=0).repeat(enlarge, axis=1)


def lag_profile(cells: pl.DataFrame, metric: str, chance: float, title: str) -> alt.Chart:
    """One line a deep step: the metric against how much earlier the shallow part is.

    Never pooled over deep steps: the mix of steps changes with the lag (Simpson's paradox).
    """
    frame = cells.filter(
        pl.col("shallow_step") <= pl.col("deep_step"), pl.col("deep_step") > 0
    ).with_columns((pl.col("deep_epoch") - pl.col("shallow_epoch")).alias("lag"))
    latest = max(frame["deep_epoch"].to_list(), default=1.0)
    few = frame["deep_step"].n_unique() <= 20
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
                    type="gradient",
                    orient="bottom",
                    gradientLength=PANEL - 20,
                    gradientThickness=10,
                ),
            ),
            detail="deep_step:N",
            tooltip=[alt.Tooltip("lag:Q", title="lag, epochs", format=".4~g"), *_cell_tooltip()],
        )
        .properties(
            autosize=PLOT_SIZE,
            width=PANEL,
            height=PANEL * 0.7,
            title=alt.TitleParams(title, anchor="start"),
        )
    )


def retention_against_own_accuracy(points: pl.DataFrame, runs: list[str]) -> alt.LayerChart:
    """Retention under the final deep part against the shallow checkpoint's own accuracy A(s,s).

    ``points``: run, shallow_epoch, shallow_step, own_accuracy, retention, n; one line a run.
    ``runs``: their names, in the order of their colours.
    """
    colour = alt.Color(
        "run:N",
        title=None,
        scale=alt.Scale(domain=runs, range=ARM_COLOURS),
        legend=alt.Legend(orient="bottom", columns=1, labelLimit=PANEL, symbolOpacity=1),
    )
    base = alt.Chart(points).encode(
        x=alt.X(
            "own_accuracy:Q",
            title="A(s,s): own accuracy of the earlier network",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(domain=[0, 1]),
        ),
        y=alt.Y(
            "retention:Q",
            title="retention under the final deep part",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(domain=[0, 1], clamp=True),
        ),
        color=colour,
    )
    lines = base.mark_line(strokeWidth=1, opacity=0.5).encode(order="shallow_step:Q")
    marks = base.mark_point(filled=True, size=55, opacity=0.9).encode(
        shape=alt.Shape("run:N", title=None, scale=alt.Scale(domain=runs)),
        tooltip=[
            alt.Tooltip("run:N", title="run"),
            alt.Tooltip("shallow_epoch:Q", title="shallow part, epoch", format=".4~g"),
            alt.Tooltip("shallow_step:Q", title="step", format=","),
            alt.Tooltip("own_accuracy:Q", title="A(s,s)", format=".1%"),
            alt.Tooltip("retention:Q", title="retention", format=".1%"),
            alt.Tooltip("n:Q", title="examples", format=","),
        ],
    )
    return alt.layer(lines, marks).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL,
        title=alt.TitleParams(
            "At equal own accuracy",
            subtitle="one point a shallow checkpoint, joined in the order of training",
            subtitleColor=QUIET,
            anchor="start",
        ),
    )


def training_curves(
    metrics: pl.DataFrame, checkpoints: pl.DataFrame, runs: list[str], value: str, title: str
) -> alt.LayerChart:
    """Loss or accuracy by epoch, a colour a run, test dashed; rules where the rate changes.

    ``metrics``: rows of the view of that name and ``run``, the name; ``checkpoints``: epoch, step.
    ``runs``: all names, in the order of their colours.
    """
    during = metrics.filter(
        pl.col("mode") == "running", pl.col("run_id") == pl.col("run_id").first()
    ).sort("step")
    # The last epoch at the old rate ends where the new one begins. One-cycle changes all the time.
    changes = during.filter((pl.col("lr").shift(-1) / pl.col("lr") - 1).abs() > 0.5)
    y_axis = alt.Axis(format="%") if value == "accuracy" else alt.Axis()
    lines = (
        alt.Chart(metrics.filter(pl.col("mode") == "eval"))
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("epoch:Q", title="epoch"),
            y=alt.Y(f"{value}:Q", title=title, axis=y_axis),
            color=alt.Color(
                "run:N",
                title=None,
                scale=alt.Scale(domain=runs, range=ARM_COLOURS),
                legend=alt.Legend(orient="bottom", columns=1, labelLimit=400),
            ),
            strokeDash=alt.StrokeDash(
                "split:N",
                title=None,
                scale=alt.Scale(domain=["train", "test"], range=[[1, 0], [5, 4]]),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("split:N"),
                alt.Tooltip("labels:N", title="labels"),
                alt.Tooltip("epoch:Q", format=".4~g"),
                alt.Tooltip("step:Q", format=","),
                alt.Tooltip("accuracy:Q", format=".1%"),
                alt.Tooltip("loss:Q", title="loss, nats", format=".3~g"),
                alt.Tooltip("lr:Q", title="learning rate", format=".3~g"),
            ],
        )
    )
    rules = (
        alt.Chart(changes)
        .mark_rule(strokeWidth=1, strokeDash=[2, 3], color="gray")
        .encode(x="epoch:Q", tooltip=[alt.Tooltip("lr:Q", title="learning rate until here")])
    )
    ticks = (
        alt.Chart(checkpoints.unique("step"))
        .mark_tick(orient="vertical", size=8, thickness=1.5, color="gray", yOffset=-5)
        .encode(
            x="epoch:Q",
            y=alt.YDatum(0),
            tooltip=[
                alt.Tooltip("epoch:Q", title="checkpoint at epoch", format=".4~g"),
                alt.Tooltip("step:Q", title="step", format=","),
            ],
        )
    )
    return alt.layer(lines, rules, ticks).properties(height=300)
