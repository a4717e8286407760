"""What the page on memory is looking at, as its controls say."""

from dataclasses import dataclass

import polars as pl
import streamlit as st

from app import controls
from app.cached import ask
from app.charts import epoch_label
from app.memory_arms import SETS, of_arms
from app.selection import EvaluationSet, evaluation_sets, unique_cubes
from app.views.scene import NORMS
from app.views.study_choice import choose_study
from app.words import plain

READING = ["gamma", "eps", "loss_eps", "high"]
EXAMPLE = """[[analyses]]
kind = "splices"
evaluations = [{ split = "train", n = 500 }, { split = "test" }]

[[analyses]]
kind = "memory\""""


@dataclass(frozen=True)
class MemoryScene:
    """One set, cut, normalisation, reading and deep part of a study.

    ``arms``: in the order of their colours. ``cells``: those of every run and set at the cut;
    ``rows``: the same by arm (``memory_arms.of_arms``); ``deep``: the step of the deep part.
    """

    study: str
    arms: list[str]
    shown: EvaluationSet
    cut: str
    norms: tuple[str, ...]
    reading: dict[str, float]
    cells: pl.DataFrame
    rows: pl.DataFrame
    deep: int

    @property
    def of_set(self) -> pl.DataFrame:
        """The rows of the set that is shown."""
        return self.rows.filter(*(pl.col(name) == getattr(self.shown, name) for name in SETS))

    @property
    def own_cells(self) -> pl.DataFrame:
        """Cells of the single runs on the set that is shown."""
        return self.cells.filter(pl.col("eval_id").is_in(self.shown.eval_ids))

    @property
    def about(self) -> str:
        """Set, n, normalisation and margin in a few words."""
        gamma = self.reading["gamma"]
        margin = "right" if gamma == 0 else f"right by a margin of {gamma:g}"
        return (
            f"{self.shown.split.capitalize()} set ({plain(self.shown.title, 160)}), BatchNorm "
            f"{' and '.join(f'`{norm}`' for norm in self.norms)}; in memory: {margin}."
        )

    def present(self, rows: pl.DataFrame) -> list[str]:
        """Name the arms that have rows, in the order of their colours."""
        return [arm for arm in self.arms if arm in set(rows["arm"])]


def choose() -> MemoryScene | None:
    """Draw the row of controls; None, with what to write into the study, where there is nothing."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        return _chosen()


def _chosen() -> MemoryScene | None:
    study, runs = choose_study()
    arms = dict(runs.select("run_id", "arm").iter_rows())
    choices = ask("memory_choices", tuple(arms))
    if choices.is_empty():
        st.info("Not in the store yet. Put this into the study, and `featdyn run` it again:")
        st.code(EXAMPLE, language=None)
        return None
    stored = ask("evaluation_sets", tuple(arms)).join(
        choices.select("run_id", "eval_id").unique(), on=["run_id", "eval_id"], how="semi"
    )
    shown = _set(evaluation_sets(stored.sort(pl.col("split") != "train", maintain_order=True)))
    norms = [norm for norm in NORMS if norm in set(choices["norm"])]
    with_statistics = [norm for norm in norms if norm != "none"] or norms
    norm = controls.segments("BatchNorm", "norm", with_statistics, with_statistics[0])
    used = tuple(dict.fromkeys([norm, *(each for each in norms if each == "none")]))
    cuts = choices.sort("depth")["cut"].unique(maintain_order=True).to_list()
    cut = controls.slider("Cut after block", "cut", cuts, cuts[len(cuts) // 3])
    here = choices.filter(pl.col("norm").is_in(used), pl.col("cut") == cut)
    if here.is_empty():
        st.info(
            f"None at {plain(cut)} with this normalisation: choose another cut, or another one."
        )
        return None
    reading = _reading(here)
    same = [pl.col(name) == value for name, value in reading.items()]
    cells = ask("memory_cells", tuple(arms), cut).filter(pl.col("norm").is_in(used), *same)
    # Of each set one cube a run, as on every page.
    whole = [unique_cubes(cells, (key,)) for key in cells["eval_id"].unique(maintain_order=True)]
    cells = pl.concat(whole).with_columns(pl.col("run_id").replace(arms).alias("arm"))
    over_seeds = ask("memory_over_seeds", study, cut).filter(
        pl.col("norm").is_in(used), pl.col("dtype").is_in(set(cells["dtype"])), *same
    )
    rows = of_arms(cells, over_seeds)
    names = list(dict.fromkeys(arms.values()))
    return MemoryScene(study, names, shown, cut, used, reading, cells, rows, _deep_step(cells))


def _set(sets: list[EvaluationSet]) -> EvaluationSet:
    """Draw the choice of split and set."""
    splits = list(dict.fromkeys(each.split for each in sets))
    split = controls.segments("Examples", "split", splits, splits[0])
    of_split = {each.key: each for each in sets if each.split == split}
    key = next(iter(of_split))
    if len(of_split) > 1:
        key = controls.select(
            "Set", f"{split}_set", list(of_split), key, lambda one: of_split[one].title
        )
    return of_split[key]


def _reading(choices: pl.DataFrame) -> dict[str, float]:
    """Draw the choice of margin and tolerances, where a study asks for several."""
    rows = choices.select(READING).unique().sort(READING).to_dicts()
    titles = {
        "-".join(f"{value:g}" for value in row.values()): (
            f"margin {row['gamma']:g}; eps {row['eps']:g}, {row['loss_eps']:g} nats"
        )
        for row in rows
    }
    key = next(iter(titles))
    if len(rows) > 1:
        key = controls.select("In memory at", "reading", list(titles), key, titles.__getitem__)
    return dict(rows[list(titles).index(key)])


def _deep_step(cells: pl.DataFrame) -> int:
    """Draw the choice of the deep part; the last one before it is moved."""
    epochs = dict(cells.select("deep_step", "deep_epoch").unique().sort("deep_step").iter_rows())
    labels = {str(step): epoch_label(epoch) for step, epoch in epochs.items() if step}
    steps = list(labels)
    chosen = controls.slider("Deep part from epoch", "deep", steps, steps[-1], labels.__getitem__)
    return int(chosen)
