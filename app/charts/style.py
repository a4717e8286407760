"""What all charts share: sizes, colours, names of metrics, labels of epochs."""

import json
from collections.abc import Iterable, Sequence

import altair as alt
import polars as pl

from app.words import shortened

# Two matrices and the two matched pictures stand in one row of a page 1,440 pixels wide.
PANEL = 240
LONGEST_TITLE = 60
# Two names of so many characters stand beside each other below a panel.
NARROW = 16
# A plot that stands alone: with its axis it still fits a page 390 pixels wide.
WIDE = 280
# Streamlit's default fits axes and legends into the size; here the size is that of the plot,
# so that cells stay square.
PLOT_SIZE = alt.AutoSizeParams(type="pad")
# Readable on white and on near-black.
QUIET = "#7d8894"
# Okabe & Ito 2008, without black and yellow, which vanish on one of the two backgrounds.
ARM_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
# The same six, then four found by search: any two of the ten stay apart in normal sight, protanopia
# and deuteranopia (a test holds them to it). A class has the colour of its number on every page.
CLASS_COLOURS = [*ARM_COLOURS, "#884444", "#AA7744", "#88CCAA", "#CCBB66"]
ONE_ROW = pl.DataFrame({"row": [0]})
METRIC_NAMES = {
    "accuracy": "accuracy",
    "agreement": "agreement with the later network",
    "retention": "retention of accuracy above chance",
}


def epoch_label(epoch: float) -> str:
    """``12`` for whole epochs, ``0.25`` for others."""
    return f"{epoch:.0f}" if float(epoch).is_integer() else f"{epoch:.2g}"


def epoch_labels(frame: pl.DataFrame, step: str = "step", epoch: str = "epoch") -> str:
    """Return the Vega expression that labels a value of an axis or legend of steps by its epoch."""
    known = frame.select(step, epoch).unique().sort(step)
    labels = {str(at): epoch_label(each) for at, each in known.rows()}
    return f"({json.dumps(labels)})[datum.value]"


def scale_floor(metric: str, chance: float) -> float:
    """Where a metric's colour scale begins: chance, or 0 for retention (already above chance)."""
    return 0.0 if metric == "retention" else chance


def title(text: str, subtitle: str | list[str] = "") -> alt.TitleParams:
    """Put a title, and a smaller line or lines below it, over a chart's left edge.

    Its colour is for whoever draws the chart to say: it knows what it is drawn on.
    """
    # A run's name may be of any length; the picture keeps its size.
    text = shortened(text, LONGEST_TITLE)
    return alt.TitleParams(text, subtitle=subtitle, anchor="start")


def reference(
    *, x: float | None = None, y: float | None = None, dash: Sequence[int] = (3, 3)
) -> alt.Chart:
    """Return a quiet line across the plot at ``x`` or ``y``: where nothing differs, or a bar.

    It has a row of its own: the one that Altair gives charts without data would not be among the
    frames that a browser gets (``app.drawn``).
    """
    at = {"x": alt.XDatum(x)} if x is not None else {"y": alt.YDatum(y)}
    return alt.Chart(ONE_ROW).mark_rule(aria=False, color=QUIET, strokeDash=list(dash)).encode(**at)


def stroke_legend(
    orient: str = "bottom", columns: int = 1, colour: str | None = QUIET
) -> alt.Legend:
    """Name dashes of lines by samples long enough to tell one dash from another.

    ``colour`` None: the samples have that of the lines. ``orient``: not where names of arms or runs
    stand: legends of one side lie beside each other, wider than a phone where names are long.
    """
    return alt.Legend(
        orient=orient,
        columns=columns,
        labelLimit=PANEL,
        symbolType="stroke",
        symbolSize=600,
        symbolStrokeWidth=2,
        symbolFillColor="transparent",
        symbolStrokeColor=alt.Undefined if colour is None else colour,
    )


def arm_colour(arms: list[str], shown: Iterable[str]) -> alt.Color:
    """Give each arm the colour of its place among ``arms``, on every chart of a study.

    The legend names those that are ``shown``.
    """
    present = set(shown)
    narrow = all(len(arm) <= NARROW for arm in present)
    return alt.Color(
        "arm:N",
        title=None,
        scale=alt.Scale(domain=arms, range=ARM_COLOURS),
        legend=alt.Legend(
            orient="bottom",
            columns=2 if narrow else 1,
            labelLimit=PANEL,
            symbolOpacity=1,
            values=[arm for arm in arms if arm in present],
        ),
    )
