"""The first control of every page: which study it shows."""

from collections.abc import Collection

import polars as pl

from app import controls
from app.cached import ask
from store.connection import StoreMissingError


def choose_study(wanted: Collection[str] = ()) -> tuple[str, pl.DataFrame]:
    """Draw the choice; return the study's key and its runs, in its order.

    It opens at the study of the most kinds of work, of those with a run among ``wanted`` where
    there is one. Raises StoreMissingError where the store has no study yet.
    """
    studies = ask("studies")
    if studies.is_empty():
        raise StoreMissingError("no study yet")
    titles = dict(studies.select("study", "title").iter_rows())
    richest = studies.sort("kinds", descending=True, maintain_order=True)["study"].to_list()
    wanting = (key for key in richest if wanted and _has_any(key, wanted))
    default = next(wanting, richest[0])
    study = controls.select("Study", "study", list(titles), default, lambda key: titles[key])
    return study, ask("study_runs", study)


def _has_any(study: str, wanted: Collection[str]) -> bool:
    return any(run_id in wanted for run_id in ask("study_runs", study)["run_id"])
