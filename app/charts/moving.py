"""Examples moving through the plane: a slider and a play button that are the chart's own.

An example is one row with its places at all checkpoints side by side, so that a frame of the
animation computes N places, not T N. Between two checkpoints points are drawn on the straight
line from one place to the next: an aid for the eye, not a measurement.
"""

import base64
from typing import Any

import altair as alt
import polars as pl

from app.charts.style import CLASS_COLOURS, QUIET, epoch_label, title

# On a wide page; a narrow one shrinks its width alone.
SIDE = 520
# Moves that leave a line behind a point.
TRAIL = 3
METHODS = {
    "aligned_umap": "AlignedUMAP",
    "pooled_umap": "UMAP of all checkpoints",
    "pca": "first two principal components",
}
COLOURINGS = {"class": "class", "answer": "right or wrong"}
# Parts that are older than the prediction have none.
ANSWERS = {"right": "#0072B2", "wrong": "#D55E00", "not stored": QUIET}
ANSWER = (
    "isValid(datum['g' + at]) ? datum['g' + at] == datum.class ? 'right' : 'wrong' : 'not stored'"
)
# Milliseconds of a frame, and from one checkpoint to the next however long frames take.
FRAME_MS, STEP_MS = 33, 800


def trajectory(
    points: pl.DataFrame,
    contours: pl.DataFrame,
    images: pl.DataFrame,
    classes: list[str],
    method: str,
    colouring: str,
) -> alt.LayerChart:
    """Draw every example at the checkpoint of a slider, its trail, and where each class lies.

    ``points``: frame, step, epoch, example, class, predicted, x, y, displacement, turning.
    ``contours``: step, class, path, corner, x, y. ``images``: example, png (bytes), for the hover.
    ``colouring``: of COLOURINGS: a class has the colour of its place among ``classes``; or whether
    the network of the checkpoint is right about the example. ``with_clock`` lets it play.
    """
    epochs = points.select("frame", "step", "epoch").unique().sort("frame")
    last = len(epochs) - 1
    at = alt.param(
        name="at",
        value=last,
        bind=alt.binding_range(min=0, max=last, step=1, name="checkpoint "),
    )
    playing = alt.param(name="playing", value=False, bind=alt.binding_checkbox(name="play "))
    part, tick = alt.param(name="part", value=0), alt.param(name="tick", value=0)
    # An outline reaches beyond the points that it is drawn around.
    scales = {name: _whole(points[name], contours[name]) for name in ("x", "y")}
    wide = _wide(points, images, last)
    colour = _colour(colouring, classes)
    layers = [
        _trails(wide, scales).encode(color=colour),
        _heads(wide, last, scales).encode(color=colour),
        _touched(wide, scales),
        _when(epochs),
    ]
    if not contours.is_empty():
        layers.insert(0, _contours(contours, epochs, scales, classes, colouring))
    return (
        alt.layer(*layers)
        .add_params(at, playing, part, tick)
        .properties(
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            width="container",
            height=SIDE,
            title=title(METHODS[method], _told(contours)),
            # Thousands of SVG elements don't move 30 times a second.
            usermeta={"embedOptions": {"renderer": "canvas"}},
        )
    )


def _told(contours: pl.DataFrame) -> str:
    told = f"lines: the last {TRAIL} moves"
    if contours.is_empty():
        return told
    return f"{told}; outlines: {contours['mass'].item(0):.0%} of a class (KDE)"


def with_clock(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a specification of ``trajectory`` with the timer that plays it; ``spec`` is changed.

    Vega-Lite knows timers for selections alone, but hands what else it finds in a parameter on to
    the signal that it becomes: the events ``on`` which it changes. Altair would refuse them.
    """
    signals = {parameter["name"]: parameter for parameter in spec["params"]}
    last = signals["at"]["bind"]["max"]
    passed = f"part + (now() - tick) / {STEP_MS}"
    signals["part"]["on"] = [
        {
            "events": {"type": "timer", "throttle": FRAME_MS},
            "update": f"!playing || part >= 1 ? 0 : min(1, {passed})",
        }
    ]
    signals["tick"]["on"] = [
        {"events": [{"signal": "part"}, {"signal": "playing"}], "update": "now()"}
    ]
    signals["at"]["on"] = [
        {
            "events": {"signal": "part"},
            "update": f"playing && part == 0 ? (at < {last} ? at + 1 : 0) : at",
        },
        {"events": {"signal": "playing"}, "update": f"playing && at == {last} ? 0 : at"},
    ]
    return spec


def _wide(points: pl.DataFrame, images: pl.DataFrame, last: int) -> pl.DataFrame:
    """One row an example: its class, its image as a link, and columns of each frame.

    ``x0`` .. and ``y0`` ..: places; ``g0`` ..: class predicted; ``d0`` ..: displacement; ``t0``
    ..: turning cosine.
    """
    names = {"x": "x", "y": "y", "predicted": "g", "displacement": "d", "turning": "t"}
    wide = points.select("example", "class").unique("example", maintain_order=True)
    for frame in range(last + 1):
        columns = [pl.col(name).alias(f"{short}{frame}") for name, short in names.items()]
        at = points.filter(pl.col("frame") == frame).select("example", *columns)
        wide = wide.join(at, on="example", how="left", maintain_order="left")
    links = ["data:image/png;base64," + base64.b64encode(png).decode() for png in images["png"]]
    pictures = pl.DataFrame(
        {"example": images["example"], "image": pl.Series(links, dtype=pl.String)}
    )
    return wide.join(pictures, on="example", how="left", maintain_order="left")


def _colour(colouring: str, classes: list[str]) -> alt.Color:
    """Colour by class, or by whether the network of the checkpoint is right."""
    if colouring == "class":
        colours = [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(classes))]
        field, scale = "class:N", alt.Scale(domain=classes, range=colours)
    else:
        field = "answer:N"
        scale = alt.Scale(domain=list(ANSWERS), range=list(ANSWERS.values()))
    legend = alt.Legend(orient="bottom", columns=5, symbolOpacity=1, labelLimit=80)
    return alt.Color(field, title=None, scale=scale, legend=legend)


def _place(axis: str, frame: str) -> str:
    """Expression of a coordinate at a frame."""
    return f"datum['{axis}' + ({frame})]"


def _heads(wide: pl.DataFrame, last: int, scales: dict[str, alt.Scale]) -> alt.Chart:
    """Draw each point where it is, ``part`` of the way to its next place.

    What changes with ``at`` alone is calculated before what changes with every frame.
    """
    following = f"min(at + 1, {last})"
    at_step = {name: _place(name, "at") for name in ("x", "y")}
    to_go = {f"d{name}": f"{_place(name, following)} - datum.{name}" for name in ("x", "y")}
    now = {f"p{name}": f"datum.{name} + part * datum.d{name}" for name in ("x", "y")}
    return (
        alt.Chart(wide)
        .transform_calculate(answer=ANSWER, **at_step)
        .transform_calculate(**to_go)
        .transform_calculate(**now)
        .mark_circle(size=28, opacity=0.9, aria=False)
        .encode(
            x=alt.X("px:Q", axis=None, scale=scales["x"]),
            y=alt.Y("py:Q", axis=None, scale=scales["y"]),
        )
    )


def _touched(wide: pl.DataFrame, scales: dict[str, alt.Scale]) -> alt.Chart:
    """Lay what is told on hover over the points, unseen: in motion it would be told every frame."""
    return (
        alt.Chart(wide)
        .transform_calculate(
            x=_place("x", "at"),
            y=_place("y", "at"),
            predicted="datum['g' + at]",
            displacement="datum['d' + at]",
            turning="datum['t' + at]",
        )
        .mark_circle(size=60, opacity=0, aria=False)
        .encode(
            x=alt.X("x:Q", axis=None, scale=scales["x"]),
            y=alt.Y("y:Q", axis=None, scale=scales["y"]),
            tooltip=[
                alt.Tooltip("class:N"),
                alt.Tooltip("predicted:N", title="predicted here"),
                alt.Tooltip("example:Q", format=","),
                alt.Tooltip("displacement:Q", title="displacement, spreads", format=".3~g"),
                alt.Tooltip("turning:Q", title="turning cosine", format=".2f"),
                # vega-tooltip shows the picture of a field of this name.
                alt.Tooltip("image:N", title="image"),
            ],
        )
    )


def _trails(wide: pl.DataFrame, scales: dict[str, alt.Scale]) -> alt.Chart:
    """Draw the last moves of each point as lines from place to place."""
    corners = {
        "x1": _place("x", "at - datum.back"),
        "y1": _place("y", "at - datum.back"),
        "x2": _place("x", "at - datum.back + 1"),
        "y2": _place("y", "at - datum.back + 1"),
    }
    return (
        alt.Chart(wide)
        .transform_calculate(back=f"[{', '.join(map(str, range(1, TRAIL + 1)))}]")
        .transform_flatten(["back"])
        .transform_filter("at >= datum.back")
        .transform_calculate(answer=ANSWER, **corners)
        .mark_rule(strokeWidth=0.8, opacity=0.3, aria=False)
        .encode(
            x=alt.X("x1:Q", axis=None, scale=scales["x"]),
            y=alt.Y("y1:Q", axis=None, scale=scales["y"]),
            x2="x2:Q",
            y2="y2:Q",
        )
    )


def _contours(
    contours: pl.DataFrame,
    epochs: pl.DataFrame,
    scales: dict[str, alt.Scale],
    classes: list[str],
    colouring: str,
) -> alt.Chart:
    """Draw closed lines around each class at the slider's checkpoint."""
    placed = contours.join(epochs.select("step", "frame"), on="step", maintain_order="left").select(
        "frame", "class", "path", "corner", pl.col("x", "y").round(3)
    )
    lines = (
        alt.Chart(placed)
        .transform_filter("datum.frame == at")
        .mark_line(strokeWidth=1.3, opacity=0.75, aria=False)
        .encode(
            x=alt.X("x:Q", axis=None, scale=scales["x"]),
            y=alt.Y("y:Q", axis=None, scale=scales["y"]),
            order="corner:Q",
            detail=["class:N", "path:N"],
        )
    )
    if colouring == "class":
        return lines.encode(color=_colour(colouring, classes))
    return lines.encode(color=alt.value(QUIET))


def _when(epochs: pl.DataFrame) -> alt.Chart:
    """Name the slider's checkpoint in the corner of the picture."""
    names = [
        f"epoch {epoch_label(epoch)}, step {step:,}"
        for step, epoch in epochs.select("step", "epoch").iter_rows()
    ]
    return (
        alt.Chart(epochs.with_columns(pl.Series("when", names, dtype=pl.String)))
        .transform_filter("datum.frame == at")
        .mark_text(align="left", baseline="top", fontSize=13, color=QUIET)
        .encode(x=alt.value(4), y=alt.value(4), text="when:N")
    )


def _whole(*places: pl.Series) -> alt.Scale:
    """Span all checkpoints: a scale of those shown alone would move with the slider."""
    known = [each.to_numpy() for each in places if len(each)]
    low, high = min(each.min() for each in known), max(each.max() for each in known)
    return alt.Scale(domain=[float(low), float(high)], nice=False, padding=8)
