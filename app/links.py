"""Links from one page to another, with the view that it shall open."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import streamlit as st

OFFERED = "pages_offered"


def offer(pages: Mapping[str, Any]) -> None:
    """Make pages known by their paths; the entry point does so once a run."""
    st.session_state[OFFERED] = dict(pages)


def known(path: str) -> bool:
    """Tell whether this app has the page."""
    return path in st.session_state.get(OFFERED, {})


def to(path: str, label: str, icon: str | None = None, **parameters: str) -> None:
    """Draw a link to a page, with parameters of its URL."""
    if known(path):
        page = st.session_state[OFFERED][path]
        st.page_link(page, label=label, icon=icon, query_params=parameters)
    else:
        # A page that is drawn alone, in a test or a notebook, has no navigation.
        st.markdown(f"[{label}](/{path}?{urlencode(parameters)})")
