"""Scores of whole cubes: by depth, and their excess over each control."""

import textwrap

import altair as alt
import polars as pl

from app.charts.style import arm_colour, reference, title

LABEL_CHARACTERS = 30
ROW = 62
# Streamlit fits title, axis and legend into the height of a chart that stretches.
AROUND = 200
MEAN = ", mean over seeds"
# So many names of cuts stand level beside each other on a phone.
LEVEL = 4


def scores_by_depth(
    scores: pl.DataFrame, over_seeds: pl.DataFrame, arms: list[str], measure: str
) -> alt.LayerChart:
    """Score at each cut: a dot a run with its interval, a diamond the mean over an arm's seeds.

    ``scores``: run, arm, cut, depth, score, score_low, score_high (95 % over examples), n.
    ``over_seeds``: arm, cut, depth, score, score_low, score_high (95 %, t over seeds), n_seeds; no
    row where an arm has one seed.
    """
    cuts = scores.sort("depth")["cut"].unique(maintain_order=True).to_list()
    colour = arm_colour(arms, scores["arm"])
    means = over_seeds.with_columns((pl.col("arm") + MEAN).alias("run"))
    runs_of = {
        arm: scores.filter(pl.col("arm") == arm)["run"].unique(maintain_order=True).to_list()
        for arm in arms
    }
    # Side by side, so that no interval hides another: an arm's runs, then their mean.
    places = [place for arm in arms for place in (*runs_of[arm], arm + MEAN)]
    used = {*scores["run"], *means["run"]}
    offset = alt.XOffset("run:N", sort=[place for place in places if place in used])
    angle = 0 if len(cuts) <= LEVEL else -40
    x = alt.X("cut:N", sort=cuts, title="cut after block", axis=alt.Axis(labelAngle=angle))
    # All or nothing in sight, on every page.
    domain = alt.Scale(domain=alt.DomainUnionWith(unionWith=[0, 1]))
    y = alt.Y("score:Q", title=f"TC of {measure}", axis=alt.Axis(format=".2~f"), scale=domain)
    base = alt.Chart(scores).encode(x=x, xOffset=offset, color=colour)
    low = alt.Y("score_low:Q", scale=domain)
    bars = base.mark_rule(strokeWidth=1.5).encode(y=low, y2="score_high:Q")
    dots = base.mark_point(filled=True, size=50, opacity=1).encode(
        y=y,
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("cut:N", title="cut after"),
            alt.Tooltip("score:Q", title="TC", format=".3f"),
            alt.Tooltip("score_low:Q", title="95 % over examples, from", format=".3f"),
            alt.Tooltip("score_high:Q", title="to", format=".3f"),
            alt.Tooltip("n:Q", title="examples", format=","),
        ],
    )
    layers = [bars, dots]
    subtitle = ["dots: one run each, 95 % over examples"]
    if not means.is_empty():
        mean = alt.Chart(means).encode(x=x, xOffset=offset, color=colour)
        layers.append(mean.mark_rule(strokeWidth=5, opacity=0.3).encode(y=low, y2="score_high:Q"))
        layers.append(
            mean.mark_point(shape="diamond", size=110, strokeWidth=1.5).encode(
                y=y,
                tooltip=[
                    alt.Tooltip("arm:N"),
                    alt.Tooltip("n_seeds:Q", title="seeds"),
                    alt.Tooltip("score:Q", title="mean TC", format=".3f"),
                    alt.Tooltip("score_low:Q", title="95 % over seeds, from", format=".3f"),
                    alt.Tooltip("score_high:Q", title="to", format=".3f"),
                ],
            )
        )
        subtitle.append("diamonds, wide bars: mean over seeds, 95 % (t) over seeds")
    return alt.layer(*layers).properties(
        height=250 + AROUND, title=title("Score TC by depth", subtitle)
    )


def row_label(control: str, objection: str) -> str:
    """Name a control and what it answers, in lines short enough for a phone, joined by ``|``."""
    return "|".join([control.replace("_", " "), *textwrap.wrap(objection, LABEL_CHARACTERS)])


def excess_forest(
    excesses: pl.DataFrame, objections: dict[str, str], arms: list[str], cut: str
) -> alt.LayerChart:
    """Score minus that of each control, a row a control, with the objection that it answers.

    ``excesses``: run, arm, control, replicate, score, excess, excess_low, excess_high, n, norm.
    ``objections``: by control, in the order of the rows.
    """
    labels = {name: row_label(name, text) for name, text in objections.items()}
    frame = excesses.with_columns(pl.col("control").replace(labels).alias("label"))
    present = set(excesses["control"])
    rows = [label for name, label in labels.items() if name in present]
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "label:N",
            sort=rows,
            title=None,
            axis=alt.Axis(
                labelExpr="split(datum.label, '|')",
                labelLimit=220,
                labelOverlap=False,
                ticks=False,
                domain=False,
            ),
        ),
        yOffset=alt.YOffset("run:N"),
        color=arm_colour(arms, excesses["arm"]),
    )
    # Zero is always in sight: it is what an excess is held against.
    scale = alt.Scale(domain=alt.DomainUnionWith(unionWith=[0, 0.1]))
    x = alt.X(
        "excess:Q",
        title="TC of the run minus TC of the control",
        axis=alt.Axis(format="+.2~f", tickCount=4),
        scale=scale,
    )
    bars = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("excess_low:Q", scale=scale), x2="excess_high:Q"
    )
    dots = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=x,
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("control:N"),
            alt.Tooltip("replicate:Q", title="draw"),
            alt.Tooltip("excess:Q", format="+.3f"),
            alt.Tooltip("excess_low:Q", title="95 % over examples, from", format="+.3f"),
            alt.Tooltip("excess_high:Q", title="to", format="+.3f"),
            alt.Tooltip("score:Q", title="TC of the control", format=".3f"),
            alt.Tooltip("norm:N", title="normalisation"),
            alt.Tooltip("n:Q", title="examples", format=","),
        ],
    )
    zero = reference(x=0)
    return alt.layer(zero, bars, dots).properties(
        height=ROW * len(rows) + AROUND,
        title=title(
            f"Excess over each control, {cut}", "bars: 95 % over examples, joint bootstrap"
        ),
    )
