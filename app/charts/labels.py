"""Retention by share of random labels, with nulls as grey bands behind; scores by that share."""

import altair as alt
import polars as pl

from app.charts.matched import MATCHED
from app.charts.style import PANEL, PLOT_SIZE, QUIET, stroke_legend, title

# From true labels to random ones: blue to orange over violet, readable on white and near-black,
# and in order for eyes that miss red or green.
NOISE = ["#0072B2", "#6A6CC0", "#A866B8", "#CC5F9A", "#D9606B", "#D55E00"]
PERMUTED = "#009E73"
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 4], [4, 1]]


def _supervision(arms: list[str], noise: dict[str, float], permuted: set[str]) -> alt.Scale:
    """Colour of each arm: by its share of random labels, or that of permuted pixels."""
    colours = [
        PERMUTED if arm in permuted else NOISE[round((len(NOISE) - 1) * noise[arm])] for arm in arms
    ]
    return alt.Scale(domain=arms, range=colours)


def retention_by_noise(
    points: pl.DataFrame,
    bands: pl.DataFrame,
    matched_by: str,
    noise: dict[str, float],
    permuted: set[str],
) -> alt.LayerChart:
    """Retention under the final deep part against ``own_accuracy`` or ``displacement``.

    ``points``: run, arm, shallow_epoch, shallow_step, own_accuracy, displacement, retention,
    retention_low, retention_high, n; a line a run, bars 95 % over examples. ``bands``: control,
    ``matched_by``, low, high, middle; grey, behind. ``noise``: share of random labels of each arm,
    in order; ``permuted``: the arms of permuted pixels, drawn as squares.
    """
    name, axis_title, axis_format = MATCHED[matched_by]
    domain = {"domain": [0, 1]} if matched_by == "own_accuracy" else {"zero": True}
    x = alt.X(
        f"{matched_by}:Q",
        title=axis_title,
        axis=alt.Axis(format=axis_format, tickCount=5),
        scale=alt.Scale(**domain),
    )
    # Above 1 too: an earlier shallow part may do better than the last one.
    y_scale = alt.Scale(domain=alt.DomainUnionWith(unionWith=[0, 1]))
    heading = "retention under the final deep part"
    arms = list(noise)
    layers: list[alt.Chart] = []
    if not bands.is_empty():
        controls = bands["control"].unique(maintain_order=True).to_list()
        named = bands.with_columns(pl.col("control").str.replace_all("_", " ").alias("null"))
        band = alt.Chart(named).encode(x=x, detail="null:N")
        layers.append(
            band.mark_area(color=QUIET, opacity=0.22).encode(
                y=alt.Y("low:Q", scale=y_scale, title=heading), y2="high:Q"
            )
        )
        layers.append(
            band.mark_line(color=QUIET, strokeWidth=1.5).encode(
                y=alt.Y("middle:Q", scale=y_scale),
                strokeDash=alt.StrokeDash(
                    "null:N",
                    title="null (grey)",
                    scale=alt.Scale(
                        domain=[each.replace("_", " ") for each in controls],
                        range=[DASHES[i % len(DASHES)] for i in range(len(controls))],
                    ),
                    legend=stroke_legend("top", columns=2),
                ),
                tooltip=[
                    alt.Tooltip("null:N"),
                    alt.Tooltip("middle:Q", title="retention, mean of runs", format=".1%"),
                    alt.Tooltip("low:Q", title="lowest limit", format=".1%"),
                    alt.Tooltip("high:Q", title="highest limit", format=".1%"),
                ],
            )
        )
    base = alt.Chart(points.filter(pl.col(matched_by).is_not_null())).encode(
        x=x,
        color=alt.Color(
            "arm:N",
            title=None,
            scale=_supervision(arms, noise, permuted),
            legend=alt.Legend(orient="bottom", columns=2, labelLimit=PANEL // 2, symbolOpacity=1),
        ),
        detail="run:N",
    )
    y = alt.Y("retention:Q", title=heading, axis=alt.Axis(format="%"), scale=y_scale)
    layers.append(base.mark_line(strokeWidth=1.2, opacity=0.75).encode(y=y, order="shallow_step:Q"))
    layers.append(
        base.mark_rule(strokeWidth=1, opacity=0.5).encode(
            y=alt.Y("retention_low:Q", scale=y_scale), y2="retention_high:Q"
        )
    )
    layers.append(
        base.mark_point(filled=True, size=35, opacity=0.95).encode(
            y=y,
            shape=alt.Shape(
                "arm:N",
                title=None,
                scale=alt.Scale(
                    domain=arms,
                    range=["square" if arm in permuted else "circle" for arm in arms],
                ),
            ),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("shallow_epoch:Q", title="shallow part, epoch", format=".4~g"),
                alt.Tooltip("shallow_step:Q", title="step", format=","),
                alt.Tooltip("own_accuracy:Q", title="A(s,s)", format=".1%"),
                alt.Tooltip("displacement:Q", format=".3~g"),
                alt.Tooltip("retention:Q", format=".1%"),
                alt.Tooltip("retention_low:Q", title="95 % over examples, from", format=".1%"),
                alt.Tooltip("retention_high:Q", title="to", format=".1%"),
                alt.Tooltip("n:Q", title="examples", format=","),
            ],
        )
    )
    return alt.layer(*layers).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL,
        title=title(name, "a point a shallow checkpoint; bars: 95 % over examples"),
    )


def score_by_noise(rows: pl.DataFrame, measure: str) -> alt.LayerChart:
    """TC of each arm against its share of random labels; squares: permuted pixels.

    ``rows``: arm, label_noise, pixels (``in place`` or ``permuted``), value, low, high, over,
    n_seeds, n.
    """
    pixels = [each for each in ("in place", "permuted") if each in set(rows["pixels"])]
    base = alt.Chart(rows).encode(
        x=alt.X(
            "label_noise:Q",
            title="share of random labels",
            axis=alt.Axis(format="%", tickCount=5),
            scale=alt.Scale(domain=[-0.05, 1.05], nice=False),
        ),
        color=alt.Color(
            "pixels:N",
            title="pixels",
            scale=alt.Scale(domain=pixels, range=[NOISE[0], PERMUTED][: len(pixels)]),
            legend=alt.Legend(orient="bottom", symbolOpacity=1),
        ),
    )
    # Whole intervals, and all or nothing in sight.
    scale = alt.Scale(domain=[min(0, *rows["low"]), max(1, *rows["high"])])
    bars = base.mark_rule(strokeWidth=1.5).encode(
        y=alt.Y("low:Q", title=f"TC of {measure}", scale=scale), y2="high:Q"
    )
    line = base.mark_line(strokeWidth=1, opacity=0.5).encode(y=alt.Y("value:Q", scale=scale))
    marks = base.mark_point(filled=True, size=50, opacity=1).encode(
        y=alt.Y("value:Q", title=f"TC of {measure}", scale=scale),
        shape=alt.Shape(
            "pixels:N",
            title="pixels",
            scale=alt.Scale(domain=pixels, range=["circle", "square"][: len(pixels)]),
        ),
        tooltip=[
            alt.Tooltip("arm:N"),
            alt.Tooltip("value:Q", title="TC", format=".3f"),
            alt.Tooltip("low:Q", title="95 %, from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
            alt.Tooltip("over:N", title="interval over"),
            alt.Tooltip("n_seeds:Q", title="seeds"),
            alt.Tooltip("n:Q", title="examples", format=","),
        ],
    )
    over = {"seeds": "95 % over seeds (t)", "examples": "one seed: 95 % over examples"}
    told = "; ".join(text for key, text in over.items() if key in set(rows["over"]))
    return alt.layer(line, bars, marks).properties(
        autosize=PLOT_SIZE,
        width=PANEL,
        height=PANEL,
        title=title("Score by share of random labels", f"bars: {told}"),
    )
