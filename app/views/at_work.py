"""An engine at work on the store: the page says so, and draws itself anew when rows arrive."""

import streamlit as st

from app.cached import engine, store_revision

EVERY = 4.0


def notice() -> None:
    """Say whether an engine fills the store, and watch it; nothing where none does."""
    holder = engine()
    if holder is not None:
        _watch(store_revision(), f"`{holder['command']}`, since {holder['since']}")


@st.fragment(run_every=EVERY)
def _watch(drawn: int, words: str) -> None:
    if store_revision() != drawn or engine() is None:
        st.rerun()
    st.caption(
        f":material/progress_activity: At work: {words}. This page shows what is finished, and "
        "draws itself anew when more is."
    )
