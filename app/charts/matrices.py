"""Matrices of a run at a cut: cells on viridis, differences to a control on blue-orange."""

import base64
import io

import altair as alt
import numpy as np
import polars as pl
from PIL import Image

from app.charts.style import METRIC_NAMES, PANEL, PLOT_SIZE, QUIET, epoch_labels, scale_floor, title

SCHEME = "viridis"
# Beyond so many cells a pointer tells of each what is drawn and no more: a browser makes the words
# of every cell whenever a matrix is drawn, whether or not a pointer is there.
MOST_TOLD = 1000
CELL = "cell"
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


def cell_tooltip(over: str = "examples") -> list[alt.Tooltip]:
    """Say of a cell both epochs and steps, every metric, n; ``over``: what its interval is over."""
    percent = ".1%"
    return [
        alt.Tooltip("shallow_epoch:Q", title="shallow part, epoch", format=".4~g"),
        alt.Tooltip("shallow_step:Q", title="shallow part, step", format=","),
        alt.Tooltip("deep_epoch:Q", title="deep part, epoch", format=".4~g"),
        alt.Tooltip("deep_step:Q", title="deep part, step", format=","),
        alt.Tooltip("accuracy:Q", title="accuracy", format=percent),
        alt.Tooltip("accuracy_low:Q", title=f"95 % over {over}, from", format=percent),
        alt.Tooltip("accuracy_high:Q", title="to", format=percent),
        alt.Tooltip("agreement:Q", title="agreement", format=percent),
        alt.Tooltip("retention:Q", title="retention", format=percent),
        alt.Tooltip("n:Q", title="examples", format=","),
    ]


def matrix(
    cells: pl.DataFrame,
    field: str,
    colour: alt.Color,
    tooltip: list[alt.Tooltip],
    crossed: str | None = None,
) -> alt.LayerChart:
    """Draw steps evenly with their true epochs; cells where ``field`` is null stay grey.

    ``crossed``: a column of truth values; cells for which it holds bear a cross.
    """
    # Positions are steps, which differ; epochs that round alike would share a row.
    epoch_of_step = epoch_labels(cells, "shallow_step", "shallow_epoch")
    count = cells["shallow_step"].n_unique()
    # Cells of whole pixels: fractions would leave pale seams between them.
    size = max(PANEL // count, 1) * count
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
    # A browser unpacks every column of every cell, so it gets those that are drawn or told.
    told = [tip.shorthand.partition(":")[0] for tip in tooltip]
    used = ["shallow_step", "deep_step", field, *([crossed] if crossed else []), *told]
    base = alt.Chart(cells.select(list(dict.fromkeys(used)))).encode(x=x, y=y)
    rects = (
        base.transform_filter(f"isValid(datum.{field})")
        .mark_rect(cursor="pointer")
        .encode(color=colour, tooltip=tooltip)
    )
    diagonal = base.transform_filter("datum.shallow_step == datum.deep_step")
    shadow = diagonal.mark_line(color="black", strokeWidth=2.5, opacity=0.45)
    line = diagonal.mark_line(color="white", strokeWidth=1)
    layers = [rects, shadow, line]
    if crossed is not None:
        # A halo, so that it is seen on every colour of the scale.
        cross = base.transform_filter(f"datum.{crossed}").mark_text
        layers += [
            cross(text="×", fontSize=17, fontWeight="bold", stroke="white", strokeWidth=3),
            cross(text="×", fontSize=17, fontWeight="bold", color="black"),
        ]
    return alt.layer(*layers).properties(autosize=PLOT_SIZE, width=size, height=size)


def heatmap(
    cells: pl.DataFrame, metric: str, chance: float, name: str, over: str = "examples"
) -> alt.LayerChart:
    """Matrix of one run at one cut: deep step to the right, shallow step upwards.

    Steps stand evenly with their true epochs; the diagonal, the network itself, is a thin line.
    Cells where ``metric`` is null stay grey. A click on one is the selection ``cell``:
    ``shallow_step`` and ``deep_step``.
    """
    told = cell_tooltip(over)
    if len(cells) > MOST_TOLD:
        bounds = {"accuracy_low:Q", "accuracy_high:Q"} if metric == "accuracy" else set()
        kept = {"shallow_epoch:Q", "deep_epoch:Q", f"{metric}:Q", *bounds, "n:Q"}
        told = [tip for tip in told if tip.shorthand in kept]
    drawn = matrix(cells, metric, _colour(metric, chance), told)
    return drawn.properties(
        title=title(name, "right of the line: shallow part earlier than deep")
    ).configure_view(strokeWidth=0, fill=QUIET, fillOpacity=0.35)


def selectable(matrix: alt.LayerChart) -> alt.LayerChart:
    """Let a click on a cell of a matrix select it, under the name ``CELL``; twice: none."""
    cell = alt.selection_point(
        name=CELL, fields=["shallow_step", "deep_step"], on="click", clear="dblclick", toggle=False
    )
    clicked = matrix.copy(deep=["layer"])
    clicked.layer[0] = clicked.layer[0].add_params(cell)
    return clicked


def difference_heatmap(
    cells: pl.DataFrame, metric: str, name: str, minus: str = "minus the control"
) -> alt.LayerChart:
    """Matrix of a run's cells minus those of a control, or of another run, around zero.

    ``cells``: those of the run, with ``of_control`` and ``difference`` (null: the control has no
    such cell, and it stays grey). Orange: the run's own shallow part does better.
    """
    colour = alt.Color(
        "difference:Q",
        title=f"difference of {metric}, points",
        scale=alt.Scale(scheme="blueorange", domain=[-1, 1], domainMid=0, clamp=True),
        legend=alt.Legend(
            orient="bottom",
            gradientLength=PANEL - 20,
            gradientThickness=10,
            titleLimit=PANEL,
            values=[-1, -0.5, 0, 0.5, 1],
            labelExpr="format(datum.value * 100, '+.0f')",
        ),
    )
    tooltip: list[alt.Tooltip] = [
        *cell_tooltip()[:4],
        alt.Tooltip(f"{metric}:Q", title=f"{metric} of the run", format=".1%"),
        alt.Tooltip("of_control:Q", title="of the other", format=".1%"),
        alt.Tooltip("difference:Q", title="difference", format="+.1%"),
        alt.Tooltip("n:Q", title="examples", format=","),
    ]
    return (
        matrix(cells, "difference", colour, tooltip)
        .properties(title=title(name, f"{minus}; grey: no such cell"))
        .configure_view(strokeWidth=0, fill=QUIET, fillOpacity=0.35)
    )


def thumbnail_link(cells: pl.DataFrame, metric: str, chance: float, size: int) -> str:
    """Return ``thumbnail`` as a picture that a page holds itself: a ``data:`` link to a PNG.

    One to fetch may be gone when a browser asks: the page has moved on, or another server answers.
    """
    png = io.BytesIO()
    Image.fromarray(thumbnail(cells, metric, chance, size)).save(png, "png")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def thumbnail_links(
    cells: pl.DataFrame, metric: str, chance: float, size: int
) -> dict[tuple[str, str], str]:
    """Return ``thumbnail_link`` of the matrix of each cut and run, by (cut, run_id)."""
    matrices = cells.partition_by("cut", "run_id", as_dict=True, include_key=False)
    return {
        (cut, run_id): thumbnail_link(matrix, metric, chance, size)
        for (cut, run_id), matrix in matrices.items()
    }


def thumbnail(cells: pl.DataFrame, metric: str, chance: float, size: int) -> np.ndarray:
    """Draw the same matrix as ``heatmap`` as pixels: uint8 (about size, about size, 3).

    Null cells are grey. Ten of these draw at once where ten Vega charts would take a second.
    """
    values = (
        cells.sort("deep_step")
        .pivot(on="deep_step", index="shallow_step", values=metric)
        .sort("shallow_step", descending=True)
        .drop("shallow_step")
        .to_numpy()
        .astype(np.float64)
    )
    floor = scale_floor(metric, chance)
    place = np.clip((values - floor) / (1 - floor), 0, 1) * (len(VIRIDIS) - 1)
    grid = np.arange(len(VIRIDIS))
    filled = np.nan_to_num(place)
    pixels = np.stack([np.interp(filled, grid, VIRIDIS[:, band]) for band in range(3)], axis=-1)
    pixels[np.isnan(values)] = 128
    enlarge = max(size // len(values), 1)
    return np.rint(pixels).astype(np.uint8).repeat(enlarge, axis=0).repeat(enlarge, axis=1)
