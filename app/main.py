"""Entry point: ``streamlit run app/main.py``. Navigation only."""

import gc
import sys
from pathlib import Path

import streamlit as st
from altair.utils import schemapi

# `streamlit run` puts this file's folder on the path, not the one that holds the packages.
sys.path.insert(0, str(Path(__file__).parents[1]))

from app import links, live
from app.pages import PAGES, Page, sections, shown


def _page(page: Page) -> st.Page:
    return st.Page(
        shown(page),
        title=page.title,
        icon=page.icon,
        url_path=page.path,
        default=page is PAGES[0],
    )


@st.cache_resource(show_spinner=False)
def _settle() -> None:
    """Take what the start has made, once, out of the sight of the garbage collector.

    Objects of libraries stay, and all visitors wait while it looks at them.
    """
    gc.collect()
    gc.freeze()


# Altair proves each part of a chart against its schema as it is built: on a page that takes time
# and tells nobody anything; the tests of pages and charts, which don't come by here, keep it.
schemapi.DEBUG_MODE = False
live.warm()
st.set_page_config(
    page_title="featdyn", page_icon=str(Path(__file__).with_name("icon.png")), layout="wide"
)
pages = {page.path: _page(page) for page in PAGES}
links.offer(pages)
st.navigation(
    {section: [pages[page.path] for page in each] for section, each in sections().items()},
    position="top",
).run()
_settle()
