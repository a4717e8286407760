"""Going from one page to another with a choice in hand."""

from urllib.parse import urlencode

import streamlit as st
from streamlit.navigation.page import StreamlitPage

KEY = "pages"


def know(pages: dict[str, StreamlitPage]) -> None:
    """Remember the pages of the navigation by their paths."""
    st.session_state[KEY] = pages


def go(path: str, title: str, **parameters: object) -> None:
    """Open a page with these parameters in its URL; where there is no navigation, link to it."""
    words = {name: str(value) for name, value in parameters.items()}
    pages = st.session_state.get(KEY)
    if pages is None:
        st.markdown(f"[{title}]({path}?{urlencode(words)})")
    else:
        st.switch_page(pages[path], query_params=words)
