"""The pages of the explorer, in their order: one line each."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from app.views import (
    consistency,
    corruptions,
    divergences,
    freezing,
    labels,
    noise,
    probes,
    runs,
    sensitivity,
    trajectories,
)
from store.connection import StoreMissingError
from store.home import StoreError


@dataclass(frozen=True)
class Page:
    """A page: its title in the navigation, its path in the URL, what draws it."""

    title: str
    path: str
    icon: str
    render: Callable[[], None]


PAGES = (
    Page("Temporal consistency", "consistency", ":material/grid_on:", consistency.render),
    Page("Labels and controls", "labels", ":material/label_off:", labels.render),
    Page("Sensitivity", "sensitivity", ":material/tune:", sensitivity.render),
    Page("Corruption", "corruption", ":material/blur_on:", corruptions.render),
    Page("Freezing", "freezing", ":material/ac_unit:", freezing.render),
    Page("Probes", "probes", ":material/straighten:", probes.render),
    Page("Trajectories", "trajectories", ":material/moving:", trajectories.render),
    Page("Distances", "divergences", ":material/compare_arrows:", divergences.render),
    Page("SGD noise", "noise", ":material/grain:", noise.render),
    Page("Runs", "runs", ":material/timeline:", runs.render),
)


def shown(page: Page) -> Callable[[], None]:
    """Return the page's function, with a readable page where the store can't be read."""

    def render() -> None:
        try:
            page.render()
        except StoreMissingError:
            st.header(page.title, anchor=False)
            st.info("There is nothing to show yet: this store is empty. Fill it with")
            st.code("make demo", language="bash")
            st.caption(
                "trains two small networks on digits in about two minutes, without a download; "
                "`featdyn run STUDY.toml` runs a study of your own."
            )
        except StoreError as problem:
            st.header(page.title, anchor=False)
            st.error(str(problem))

    return render
