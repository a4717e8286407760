"""How the Splice lab shows what a splice does."""

from functools import partial
from typing import Any

import polars as pl
import streamlit as st

from app import charts
from app.exports import Provenance
from app.outcome import KINDS, Outcome
from app.views.figure import figure
from app.words import plain

PICTURE = 72


def numbers(outcome: Outcome) -> None:
    """Draw the accuracy as a big number with its interval, and what it is to be held against."""
    st.metric("Accuracy of the splice", f"{outcome.accuracy:.1%}")
    low, high = outcome.accuracy_low, outcome.accuracy_high
    st.markdown(f"**{low:.1%} to {high:.1%}**, 95 % over examples")
    own, chance = outcome.own_accuracy, outcome.chance
    whole = "" if own is None else f"The deep network itself: {own:.1%}. "
    st.markdown(f"{whole}Agreement of both: {outcome.agreement:.1%}.")
    null = "" if chance is None else f" Null: a guess is right on {chance:.1%}."
    st.caption(
        f"{outcome.correct:,} of n = {outcome.n:,} right (interval: Wilson, for these two "
        f"networks; other seeds are another variance).{null} Loss {outcome.loss:.3g} nats, "
        f"margin {outcome.margin:.3g}."
    )


def classes(outcome: Outcome, provenance: Provenance) -> None:
    """Draw accuracy class by class, and the predictions against the deep network's own."""
    if outcome.per_class.is_empty():
        st.caption("What it predicts for each example was not kept: no classes, no flips.")
        return
    with st.container(horizontal=True, gap="large"):
        figure(
            partial(charts.by_class, outcome.per_class),
            outcome.per_class,
            about=(
                "Accuracy of this splice class by class, beside that of the deep network itself. "
                "Classes that fall far behind are those whose features have moved on."
            ),
            name="accuracy class by class",
            provenance=provenance,
        )
        if not outcome.confusion.is_empty():
            figure(
                partial(charts.confusion, outcome.confusion, outcome.classes),
                outcome.confusion,
                about=(
                    "How many examples the splice calls one class (column) of those that the deep "
                    "network itself calls another (row). What lies off the diagonal are the "
                    "predictions that the earlier features change."
                ),
                name="what the splice says of what the deep network says",
                provenance=provenance,
            )


def flips(outcome: Outcome) -> None:
    """Draw images that the splice sees otherwise than the deep network, with both predictions."""
    counts = [f"**{outcome.changes[kind]:,}** {kind}" for kind in KINDS]
    st.subheader("Flipped images", anchor=False)
    st.markdown(f"From the deep network to the splice: {', '.join(counts[:-1])} and {counts[-1]}.")
    for kind in KINDS[:2]:
        of_kind = [each for each in outcome.flips if each["kind"] == kind]
        if of_kind:
            st.caption(
                f"{kind.capitalize()}, the first {len(of_kind)} of {outcome.changes[kind]:,}"
            )
            with st.container(horizontal=True, gap="small"):
                for flip in of_kind:
                    _flip(flip)


def _flip(flip: dict[str, Any]) -> None:
    with st.container(width=PICTURE + 24, gap="small"):
        st.image(flip["png"], width=PICTURE)
        st.caption(
            f"{plain(flip['own'])} → **{plain(flip['predicted'])}**  \n"
            f"{flip['own_share']:.0%} → {flip['predicted_share']:.0%}  \nno. {flip['example']:,}"
        )


def one_image(answer: dict[str, Any], provenance: Provenance) -> None:
    """Draw one image as the network gets it, and what both make of it."""
    with st.container(horizontal=True, gap="large", vertical_alignment="center"):
        with st.container(width=180, gap="small"):
            st.image(answer["png"], width=144)
            label = f"  \nlabel: **{plain(answer['target'])}**" if "target" in answer else ""
            st.caption(
                f"splice: **{plain(answer['predicted'])}** ({answer['predicted_share']:.1%})  "
                f"\ndeep network: **{plain(answer['own'])}** ({answer['own_share']:.1%}){label}"
            )
        shares = pl.DataFrame(answer["shares"])
        figure(
            partial(charts.class_shares, shares),
            shares,
            about=(
                "Probability of each class for one image, of the splice and of the deep network "
                "itself. It is one example, so it says nothing of others."
            ),
            name="probabilities of splice and deep network",
            provenance=provenance,
        )
