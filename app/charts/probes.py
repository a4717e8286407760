"""Linear probes: accuracy along depth, depth against time, and beside the splice."""

import altair as alt
import polars as pl

from app.charts.style import PANEL, PLOT_SIZE, QUIET, WIDE, epoch_labels, title

NETWORK = "network"
PERCENT = alt.Axis(format=".0%", tickCount=5)


def _time(frame: pl.DataFrame, step: str, epoch: str) -> alt.Color:
    """Colour checkpoints by their order, dark to bright along viridis."""
    return alt.Color(
        f"{step}:O",
        title="epoch",
        scale=alt.Scale(scheme="viridis"),
        legend=alt.Legend(
            orient="bottom",
            columns=8,
            labelExpr=epoch_labels(frame, step, epoch),
            symbolOpacity=1,
        ),
    )


def _with_network(probes: pl.DataFrame) -> pl.DataFrame:
    """Put the accuracy of each whole network behind its last cut."""
    whole = probes.unique("step", keep="first", maintain_order=True).with_columns(
        pl.lit(NETWORK).alias("cut"),
        (probes["depth"].max() + pl.lit(1, probes.schema["depth"])).alias("depth"),
        pl.col("network_accuracy").alias("accuracy"),
        pl.lit(None, pl.Float64).alias("accuracy_low"),
        pl.lit(None, pl.Float64).alias("accuracy_high"),
        pl.lit(None, pl.Float64).alias("chance"),
    )
    return pl.concat([probes, whole])


def _cuts(probes: pl.DataFrame) -> list[str]:
    names = probes.sort("depth")["cut"].unique(maintain_order=True).to_list()
    return [*names, NETWORK]


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("cut:N", title="features behind"),
        alt.Tooltip("epoch:Q", format=".4~g"),
        alt.Tooltip("step:Q", format=","),
        alt.Tooltip("accuracy:Q", format=".1%"),
        alt.Tooltip("accuracy_low:Q", title="95 % over examples, from", format=".1%"),
        alt.Tooltip("accuracy_high:Q", title="to", format=".1%"),
        alt.Tooltip("chance:Q", title="chance of its predictions", format=".1%"),
        alt.Tooltip("n:Q", title="examples", format=","),
    ]


def probes_by_depth(probes: pl.DataFrame) -> alt.LayerChart:
    """Accuracy of the probe along depth, one line a checkpoint, the band of the last one.

    ``probes``: of one run and set: cut, depth, step, epoch, accuracy, accuracy_low, accuracy_high,
    chance, network_accuracy, n. Hollow, at the right: the whole network. Dotted: mean chance.
    """
    shown = _with_network(probes)
    x = alt.X("cut:N", sort=_cuts(probes), title="features behind", axis=alt.Axis(labelAngle=-40))
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("accuracy:Q", title="accuracy of the probe", axis=PERCENT, scale=scale)
    base = alt.Chart(shown).encode(x=x)
    coloured = base.encode(y=y, color=_time(probes, "step", "epoch"))
    of_cuts = coloured.transform_filter(f"datum.cut != '{NETWORK}'")
    latest = max(probes["step"].to_list())
    last = base.transform_filter(f"datum.step == {latest}")
    band = last.transform_filter("isValid(datum.accuracy_low)").mark_area(color=QUIET, opacity=0.25)
    level = alt.Chart(probes).mark_rule(strokeDash=[1, 3], color=QUIET)
    return alt.layer(
        band.encode(y=alt.Y("accuracy_low:Q", scale=scale), y2="accuracy_high:Q"),
        level.encode(y=alt.Y("mean(chance):Q", scale=scale)),
        of_cuts.mark_line(strokeWidth=1.5),
        of_cuts.mark_point(filled=True, size=35, opacity=1).encode(tooltip=_tooltip()),
        coloured.transform_filter(f"datum.cut == '{NETWORK}'")
        .mark_point(filled=False, size=50)
        .encode(tooltip=_tooltip()),
    ).properties(
        autosize=PLOT_SIZE,
        width=WIDE,
        height=PANEL,
        title=title(
            "Accuracy of a linear probe along depth",
            ["band: 95 % over examples, last checkpoint", "hollow: whole network; dotted: chance"],
        ),
    )


def probe_heatmap(probes: pl.DataFrame) -> alt.Chart:
    """Accuracy of the probe, depth upwards and time to the right; columns as ``probes_by_depth``.

    The uppermost row is the whole network. Colours run from chance to 100 %.
    """
    shown = _with_network(probes)
    chance = float(probes["chance"].to_numpy().mean())
    steps = sorted(probes["step"].unique())
    cuts = _cuts(probes)
    return (
        alt.Chart(shown)
        .mark_rect()
        .encode(
            x=alt.X(
                "step:O",
                title="epoch",
                axis=alt.Axis(
                    labelExpr=epoch_labels(probes),
                    labelOverlap=True,
                    labelAngle=0,
                    ticks=False,
                    domain=False,
                ),
                scale=alt.Scale(padding=0),
            ),
            y=alt.Y(
                "cut:N",
                title=None,
                sort=cuts[::-1],
                axis=alt.Axis(ticks=False, domain=False),
                scale=alt.Scale(padding=0),
            ),
            color=alt.Color(
                "accuracy:Q",
                title="accuracy",
                scale=alt.Scale(scheme="viridis", domain=[chance, 1], clamp=True),
                legend=alt.Legend(
                    orient="bottom",
                    gradientLength=PANEL - 20,
                    gradientThickness=10,
                    values=[chance, (1 + chance) / 2, 1],
                    labelExpr=(
                        f"datum.value <= {chance + 1e-6} ? 'chance {100 * chance:.0f} %' : "
                        "format(datum.value * 100, '.0f') + ' %'"
                    ),
                ),
            ),
            tooltip=_tooltip(),
        )
        .properties(
            autosize=PLOT_SIZE,
            width=max(PANEL // len(steps), 8) * len(steps),
            height=max(PANEL // len(cuts), 8) * len(cuts),
            title=title("Depth against time", "top row: the whole network"),
        )
    )


def probe_against_splice(points: pl.DataFrame) -> alt.FacetChart:
    """A(s, t) under the final t against the probe's accuracy at s, one panel a cut.

    ``points``: cut, depth, shallow_step, shallow_epoch, deep_step, probe_accuracy,
    splice_accuracy, residual, n. Where the points lie on a rising line, the splice only restates
    the probe.
    """
    cuts = points.sort("depth")["cut"].unique(maintain_order=True).to_list()
    # Two abreast fit a page 390 pixels wide.
    size = PANEL * 0.5
    scale = alt.Scale(domain=[0, 1])
    marks = (
        alt.Chart(points)
        .mark_point(filled=True, size=45, opacity=1)
        .encode(
            x=alt.X("probe_accuracy:Q", title="probe at s", axis=PERCENT, scale=scale),
            y=alt.Y("splice_accuracy:Q", title="splice A(s, t)", axis=PERCENT, scale=scale),
            color=_time(points, "shallow_step", "shallow_epoch"),
            tooltip=[
                alt.Tooltip("cut:N"),
                alt.Tooltip("shallow_epoch:Q", title="shallow part, epoch", format=".4~g"),
                alt.Tooltip("shallow_step:Q", title="step", format=","),
                alt.Tooltip("probe_accuracy:Q", title="probe", format=".1%"),
                alt.Tooltip("splice_accuracy:Q", title="splice", format=".1%"),
                alt.Tooltip("residual:Q", title="above the line", format="+.1%"),
                alt.Tooltip("n:Q", title="examples", format=","),
            ],
        )
        .properties(width=size, height=size)
    )
    return marks.facet(facet=alt.Facet("cut:N", sort=cuts, title=None), columns=4).properties(
        autosize=PLOT_SIZE,
        title=title("Does the splice only restate the probe?", "a point: one earlier checkpoint s"),
    )
