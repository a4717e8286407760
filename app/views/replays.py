"""The section on replay as a way to train: does it do what augmentation does, and SWA?"""

from functools import partial

import polars as pl
import streamlit as st

from app import charts, controls, replays
from app.cached import ask
from app.exports import Provenance
from app.views.figure import figure

EXAMPLE = """swa_from = 0.75

[[arms]]
name = "plain"

[[arms]]
name = "replay"
replay = { cut = "stage1.2", share = 0.5, from_epoch = 8, window = 4 }

[[arms]]
name = "control"
replay = { cut = "stage1.2", share = 0.5, from_epoch = 8, source = "current" }

[[analyses]]
kind = "corruptions\""""
HEADINGS = {
    replays.PLAIN: "Minus the plain run",
    replays.CONTROL: "Older minus current features",
}


ABOUT = {
    replays.PLAIN: (
        "Final test accuracy of each way to train with stored features, or with a mean of weights, "
        "minus that of the plain run of the same seed. An interval right of zero: it helps."
    ),
    replays.CONTROL: (
        "Final test accuracy with features of older checkpoints minus that with current ones, at "
        "the same cost. An interval that holds zero: age alone does nothing that shows."
    ),
}
NULLS = {
    replays.PLAIN: "Null: the plain run of the same seed.",
    replays.CONTROL: "Null: current features replayed at the same cost.",
}


def render(study: str, run_ids: tuple[str, ...]) -> None:
    """Draw the section for a study; ``run_ids``: its runs."""
    st.subheader("Replay as a way to train", anchor=False)
    stored = ask("replay", study)
    paired = replays.named(stored)
    if paired.is_empty():
        st.info(
            "No finished run of this study replays, or keeps a mean of its weights, beside a plain "
            "one of the same seed. A study asks for them so:"
        )
        st.code(EXAMPLE, language=None)
        return
    plain = stored.filter(pl.col("source") == "none").unique("setting", maintain_order=True)
    names = dict(plain.select("setting", "arm").iter_rows())
    settings = [each for each in names if each in set(paired["setting"])]
    setting = settings[0]
    if len(settings) > 1:
        setting = controls.select(
            "Plain run", "replayed", settings, setting, lambda key: names[key]
        )
    stored = stored.filter(pl.col("setting") == setting)
    paired = paired.filter(pl.col("setting") == setting)
    with st.container(horizontal=True, gap="medium"):
        for against, heading in HEADINGS.items():
            shown = paired.filter(pl.col("against") == against)
            if not shown.is_empty():
                figure(
                    partial(charts.replay_forest, shown, heading),
                    shown,
                    about=ABOUT[against],
                    name=f"replay, {heading[0].lower()}{heading[1:]}",
                    provenance=Provenance(study, run_ids, ("replay",), _basis(stored, against)),
                )
    for images in ("clean", "corrupted"):
        for against in HEADINGS:
            sentence = replays.finding(paired, images, against)
            if sentence:
                st.markdown(sentence)
    _caption(stored)
    with st.expander("Numbers of replay"):
        st.dataframe(stored.drop("setting"), hide_index=True)


def _basis(stored: pl.DataFrame, against: str) -> str:
    """Say what the differences rest on."""
    return (
        f"Test set, n = {max(stored['n'].to_list()):,}, last step, BatchNorm: the network's own "
        f"statistics; those of SWA are estimated anew on training images. {NULLS[against]} "
        "Intervals: 95 % over seeds (Student's t), paired by seed, the examples held fixed."
    )


def _caption(stored: pl.DataFrame) -> None:
    corrupted = stored.filter(pl.col("images") == "corrupted")
    what = (
        'Corrupted images: add `kind = "corruptions"`. '
        if corrupted.is_empty()
        else f"Corrupted: mean over {max(corrupted['kinds'].to_list())} kinds of the mean over "
        "their severities. "
    )
    st.caption(
        f"Nothing is frozen where a share below 1 is replayed. {replays.cost(stored)} Test "
        f"accuracy at the last step, n = {max(stored['n'].to_list()):,}; differences are paired by "
        "seed, intervals 95 % by Student's t over seeds, the examples held fixed, not corrected "
        f"for looking at several. {what}BatchNorm: the network's own statistics; those of SWA are "
        "estimated anew on training images."
    )
