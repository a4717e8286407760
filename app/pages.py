"""The pages of the explorer, in their order: one line each."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from app.views import (
    at_work,
    consistency,
    corruptions,
    data,
    divergences,
    freezing,
    lab,
    labels,
    memory,
    methods,
    noise,
    overview,
    probes,
    runs,
    sensitivity,
    trajectories,
)
from app.words import plain
from store.connection import StoreMissingError
from store.home import StoreError

LONGEST_CAUSE = 600


@dataclass(frozen=True)
class Page:
    """A page: its title in the navigation, its path in the URL, what draws it.

    ``section``: the menu that it stands in; one without a name stands in the bar itself.
    """

    title: str
    path: str
    icon: str
    render: Callable[[], None]
    section: str = "Experiments"


# The first page is the one that opens.
PAGES = (
    Page("Overview", "overview", ":material/home:", overview.render, section=""),
    Page(
        "Temporal consistency", "consistency", ":material/grid_on:", consistency.render, section=""
    ),
    Page("Splice lab", "lab", ":material/science:", lab.render, section=""),
    Page("Labels and controls", "labels", ":material/label_off:", labels.render),
    Page("Sensitivity", "sensitivity", ":material/tune:", sensitivity.render),
    Page("Corruption", "corruption", ":material/blur_on:", corruptions.render),
    Page("Freezing", "freezing", ":material/ac_unit:", freezing.render),
    Page("Probes", "probes", ":material/straighten:", probes.render),
    Page(
        "Trajectories", "trajectories", ":material/moving:", trajectories.render, section="Features"
    ),
    Page(
        "Distances",
        "divergences",
        ":material/compare_arrows:",
        divergences.render,
        section="Features",
    ),
    Page("Memory", "memory", ":material/psychology:", memory.render, section="Features"),
    Page("SGD noise", "noise", ":material/grain:", noise.render, section="Features"),
    Page("Runs", "runs", ":material/timeline:", runs.render, section="Data and methods"),
    Page("Data", "data", ":material/table_view:", data.render, section="Data and methods"),
    Page("Methods", "methods", ":material/functions:", methods.render, section="Data and methods"),
)


def sections() -> dict[str, list[Page]]:
    """Return the pages by their section, both in the order of their first page."""
    found: dict[str, list[Page]] = {}
    for page in PAGES:
        found.setdefault(page.section, []).append(page)
    return found


def shown(page: Page) -> Callable[[], None]:
    """Return the page's function, with a readable page where the store can't be read.

    Every page draws its heading before it asks the store: the sentence stands below that.
    """

    def render() -> None:
        try:
            at_work.notice()
            page.render()
        except StoreMissingError:
            st.info("There is nothing to show yet: this store is empty. Fill it with")
            st.code("make demo", language="bash")
            st.caption(
                "trains small networks on digits in a few minutes, without a download; "
                "`featdyn run STUDY.toml` runs a study of your own."
            )
        except StoreError as problem:
            st.error(plain(problem, LONGEST_CAUSE))

    return render
