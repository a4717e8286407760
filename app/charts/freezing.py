"""Freezing: final accuracy against the step from which blocks are held still."""

import altair as alt
import polars as pl

from app.charts.style import ARM_COLOURS, PANEL, PLOT_SIZE, QUIET, WIDE, title

FROZEN = "shallow part frozen"
DEEP = "deep block frozen (control)"
FINAL = "final shallow part, frozen"
REPLAY = "replay"
CURRENT = "replay of current features (control)"
# Dashes and marks say what was done; colour says the depth.
DASHES = {FROZEN: [1, 0], DEEP: [5, 4], FINAL: [1, 0], REPLAY: [1, 3], CURRENT: [1, 3]}
MARKS = {
    FROZEN: "circles",
    DEEP: "dashed, squares",
    FINAL: "diamonds",
    REPLAY: "hollow",
    CURRENT: "hollow squares",
}
# Of the axis: what conditions of one epoch take side by side.
CROWD = 0.1
SHAPES = {FROZEN: "circle", DEEP: "square", FINAL: "diamond", REPLAY: "circle", CURRENT: "square"}


def kinds(conditions: pl.DataFrame) -> pl.DataFrame:
    """Name what was done to each condition in a column ``kind``; null for the unfrozen ones."""
    kind = (
        pl.when(pl.col("source") == "current")
        .then(pl.lit(CURRENT))
        .when("replay")
        .then(pl.lit(REPLAY))
        .when(pl.col("part") == "shallow")
        .then(pl.lit(FROZEN))
        .when(pl.col("part") == "deep")
        .then(pl.lit(DEEP))
        .when(pl.col("part") == "final")
        .then(pl.lit(FINAL))
    )
    return conditions.with_columns(kind.alias("kind"))


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("kind:N", title="what"),
        alt.Tooltip("frozen_depth:Q", title="depth, blocks"),
        alt.Tooltip("frozen_from_epoch:Q", title="from epoch", format=".4~g"),
        alt.Tooltip("frozen_from:Q", title="from step", format=","),
        alt.Tooltip("accuracy:Q", title="test accuracy", format=".1%"),
        alt.Tooltip("accuracy_low:Q", title="95 % over seeds, from", format=".1%"),
        alt.Tooltip("accuracy_high:Q", title="to", format=".1%"),
        alt.Tooltip("difference:Q", title="minus unfrozen", format="+.1%"),
        alt.Tooltip("difference_low:Q", title="95 % over seeds, from", format="+.1%"),
        alt.Tooltip("difference_high:Q", title="to", format="+.1%"),
        alt.Tooltip("n_seeds:Q", title="seeds"),
    ]


def side_by_side(disturbed: pl.DataFrame) -> pl.DataFrame:
    """Put a column ``place`` beside: the epoch, moved a little where conditions share one.

    Bars of equal place would hide each other. The whole of a crowd takes a tenth of the axis.
    """
    widest = disturbed["frozen_from_epoch"].to_numpy().max()
    at_epoch = pl.col("frozen_depth").len().over("frozen_from_epoch")
    order = pl.struct("frozen_depth", "kind").rank("ordinal").over("frozen_from_epoch")
    share = (order - (at_epoch + 1) / 2) / at_epoch
    # One epoch alone has no axis yet: a crowd there is one epoch wide.
    several = disturbed["frozen_from_epoch"].n_unique() > 1
    room = CROWD * widest if several else 1.0
    return disturbed.with_columns((pl.col("frozen_from_epoch") + share * room).alias("place"))


def freezing(conditions: pl.DataFrame, axis: str = "final test accuracy") -> alt.LayerChart:
    """Draw final accuracy against the freezing step, one line a depth, of one setting.

    ``conditions``: rows of ``queries.freezing`` of one setting; ``axis`` names the accuracy. Grey
    rule with its band: the run that neither freezes nor replays. Dashed: the deep control;
    diamonds: the final shallow part under a retrained deep part; hollow: replay. Bars and band:
    95 % over seeds.
    """
    named = kinds(conditions)
    disturbed = side_by_side(named.filter(pl.col("kind").is_not_null()))
    reference = named.filter(pl.col("kind").is_null())
    used = [kind for kind in DASHES if kind in set(disturbed["kind"])]
    # Nothing lies on the edge: the unfrozen run is often the highest of all.
    scale = alt.Scale(zero=False, padding=10)
    y = alt.Y(
        "accuracy:Q",
        title=axis,
        scale=scale,
        axis=alt.Axis(format=".1%", tickCount=5),
    )
    depths = sorted(disturbed["frozen_depth"].unique())
    base = alt.Chart(disturbed).encode(
        x=alt.X(
            "place:Q",
            title="held still from epoch",
            # A nice axis would begin at an epoch below 0; points stand a little beside their tick.
            scale=alt.Scale(padding=10, nice=False),
            axis=alt.Axis(
                format=".4~g",
                values=sorted(disturbed["frozen_from_epoch"].unique()),
                labelOverlap=True,
            ),
        ),
        color=alt.Color(
            "frozen_depth:O",
            title="depth, blocks",
            scale=alt.Scale(
                domain=depths,
                range=[ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(depths))],
            ),
            legend=alt.Legend(orient="bottom", symbolOpacity=1),
        ),
        detail=["kind:N", "share:N", "weights_of:N"],
    )
    layers = []
    # Vega warns of a scale without extent where no row of a layer has an interval.
    if reference["accuracy_low"].count():
        layers.append(
            alt.Chart(reference)
            .transform_filter("isValid(datum.accuracy_low)")
            .mark_rect(color=QUIET, opacity=0.2)
            .encode(y=alt.Y("accuracy_low:Q", scale=scale), y2="accuracy_high:Q")
        )
    if not reference.is_empty():
        plain = alt.Chart(reference)
        layers.append(plain.mark_rule(color=QUIET, strokeWidth=1.5).encode(y=y, tooltip=_tooltip()))
    if disturbed["accuracy_low"].count():
        layers.append(
            base.transform_filter("isValid(datum.accuracy_low)")
            .mark_rule(strokeWidth=1, opacity=0.6)
            .encode(y=alt.Y("accuracy_low:Q", scale=scale), y2="accuracy_high:Q")
        )
    layers.append(
        base.mark_line(strokeWidth=1.5).encode(
            y=y,
            strokeDash=alt.StrokeDash(
                "kind:N",
                legend=None,
                scale=alt.Scale(domain=used, range=[DASHES[kind] for kind in used]),
            ),
        )
    )
    for kind in used:
        marks = base.transform_filter(alt.datum.kind == kind)
        layers.append(
            marks.mark_point(filled=kind not in (REPLAY, CURRENT), size=70, opacity=1).encode(
                y=y,
                shape=alt.Shape(
                    "kind:N",
                    scale=alt.Scale(domain=used, range=[SHAPES[each] for each in used]),
                    legend=None,
                ),
                tooltip=_tooltip(),
            )
        )
    return alt.layer(*layers).properties(
        autosize=PLOT_SIZE,
        width=WIDE,
        height=PANEL,
        title=title(
            "Final accuracy against the freezing step",
            [
                # A line each: together they are wider than a phone.
                *(f"{MARKS[kind]}: {kind}" for kind in used),
                f"grey rule: the run that is not frozen; {_interval(named)}",
            ],
        ),
    )


def _interval(conditions: pl.DataFrame) -> str:
    """Say what the bars show, or that there is one seed."""
    counts = conditions["n_seeds"].to_list()
    if max(counts) == 1:
        return "a single seed: no interval"
    told = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(max(counts))
    return f"bars, band: 95 % over {told} seeds"


def accuracy_by_setting(conditions: pl.DataFrame) -> alt.LayerChart:
    """Draw the final accuracy of each setting that is neither frozen nor replayed.

    ``conditions``: rows of ``queries.freezing`` with ``part`` none and without replay.
    """
    base = alt.Chart(conditions).encode(
        y=alt.Y(
            "arm:N",
            sort=conditions["arm"].to_list(),
            title=None,
            axis=alt.Axis(labelLimit=PANEL // 2),
        )
    )
    scale = alt.Scale(zero=False)
    bars = base.mark_rule(strokeWidth=1.5, color=ARM_COLOURS[0]).encode(
        x=alt.X("accuracy_low:Q", scale=scale), x2="accuracy_high:Q"
    )
    dots = base.mark_point(filled=True, size=60, opacity=1, color=ARM_COLOURS[0]).encode(
        x=alt.X(
            "accuracy:Q", title="final test accuracy", scale=scale, axis=alt.Axis(format=".0%")
        ),
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("optimizer:N"),
            alt.Tooltip("lr:Q", title="learning rate", format="~g"),
            alt.Tooltip("batch_size:Q", title="batch size", format=","),
            alt.Tooltip("accuracy:Q", title="test accuracy", format=".1%"),
            alt.Tooltip("accuracy_low:Q", title="95 % over seeds, from", format=".1%"),
            alt.Tooltip("accuracy_high:Q", title="to", format=".1%"),
            alt.Tooltip("n_seeds:Q", title="seeds"),
        ],
    )
    # As above: no layer of intervals where there is none.
    layers = [bars, dots] if conditions["accuracy_low"].count() else [dots]
    return alt.layer(*layers).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=alt.Step(28),
        title=title("Sensitivity to the recipe", _interval(conditions)),
    )
