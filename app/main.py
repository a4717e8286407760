"""Entry point: ``streamlit run app/main.py``. Navigation only."""

import sys
from pathlib import Path

import streamlit as st

# `streamlit run` puts this file's folder on the path, not the one that holds the packages.
sys.path.insert(0, str(Path(__file__).parents[1]))

from app import links, live
from app.pages import PAGES, shown

live.warm()
st.set_page_config(
    page_title="featdyn", page_icon=str(Path(__file__).with_name("icon.png")), layout="wide"
)
pages = {
    page.path: st.Page(
        shown(page), title=page.title, icon=page.icon, url_path=page.path, default=default
    )
    for page, default in zip(PAGES, [True] + [False] * len(PAGES), strict=False)
}
links.know(pages)
st.navigation(list(pages.values()), position="top").run()
