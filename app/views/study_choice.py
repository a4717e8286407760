"""The first control of every page: which study it shows."""

import polars as pl

from app import controls
from app.cached import ask
from store.connection import StoreMissingError


def choose_study() -> tuple[str, pl.DataFrame]:
    """Draw the choice; return the study's key and its runs, in its order.

    Raises StoreMissingError where the store has no study yet.
    """
    studies = ask("studies")
    if studies.is_empty():
        raise StoreMissingError("no study yet")
    titles = dict(studies.select("study", "title").iter_rows())
    study = controls.select(
        "Study", "study", list(titles), next(iter(titles)), lambda key: titles[key]
    )
    return study, ask("study_runs", study)
