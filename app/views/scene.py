"""What the page on temporal consistency is looking at, as its controls say."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import streamlit as st

from app import controls
from app.cached import ask
from app.exports import Provenance
from app.selection import (
    EvaluationSet,
    evaluation_sets,
    matched,
    unique_cubes,
    usual_cut,
    with_stored_limits,
)
from app.views.study_choice import choose_study
from app.words import plain

SEEDS = ["single runs", "means over seeds"]
# More single runs than this open as means over the seeds of each arm.
MOST_MATRICES = 6
METRICS = ["accuracy", "agreement", "retention"]
NORMS = {
    "inherit": "every block keeps its own running statistics",
    "recalibrate": "all statistics of the composite estimated anew on training images",
    "recalibrate_deep": "statistics behind the cut estimated anew on training images",
    "none": "no BatchNorm in these networks",
}


@dataclass(frozen=True)
class Scene:
    """One evaluation set, metric, normalisation and cut of a study.

    ``names`` and ``arms``: by run_id, in the order of the study. ``norms``: the chosen one, and
    ``none`` where some arm has no BatchNorm. ``over_seeds``: matrices are means over seeds.
    """

    study: str
    names: dict[str, str]
    arms: dict[str, str]
    shown: EvaluationSet
    metric: str
    norms: tuple[str, ...]
    cut: str
    cuts: tuple[str, ...]
    over_seeds: bool = False

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs, in the order of the study."""
        return tuple(self.names)

    @property
    def arm_names(self) -> list[str]:
        """The arms, in the order of their colours."""
        return list(dict.fromkeys(self.arms.values()))

    @property
    def measure(self) -> str:
        """What the score sums: retention is accuracy above chance, too."""
        return "agreement" if self.metric == "agreement" else "accuracy"

    @property
    def about(self) -> str:
        """Set and normalisation in a few words."""
        return (
            f"{self.shown.split.capitalize()} set ({plain(self.shown.title, 160)}), "
            f"{' and '.join(self.norms)}"
        )

    def provenance(self, *queries: str, n: int, rest: str) -> Provenance:
        """Say where a figure's data come from; ``rest``: its null, and which variance it shows."""
        basis = f"{self.about}, n = {n:,}. {rest}"
        return Provenance(self.study, self.run_ids, queries, basis)

    def named(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Put the name and the arm of each row's run beside it."""
        return frame.with_columns(
            pl.col("run_id").replace(self.names).alias("run"),
            pl.col("run_id").replace(self.arms).alias("arm"),
        )

    def cells(self, control: str = "none") -> pl.DataFrame:
        """Every cell of the set, one row each, all cuts; of the runs' own cubes or a control's."""
        rows = [
            ask(
                "splice_cells",
                self.run_ids,
                self.shown.split,
                norm,
                control,
                self.shown.corruption,
                self.shown.severity,
            ).with_columns(pl.lit(norm).alias("norm"))
            for norm in self.norms
        ]
        return unique_cubes(pl.concat(rows), self.shown.eval_ids)

    def points(self, at_cut: pl.DataFrame) -> pl.DataFrame:
        """Retention of each earlier shallow part under the last deep part, named, with limits.

        ``at_cut``: the runs' cells at the cut. Limits are Fieller's where ``consistency`` has
        stored them, else those of ``selection.matched``.
        """
        rows = [
            ask(
                "matched_points",
                self.run_ids,
                self.shown.split,
                self.cut,
                norm,
                self.shown.corruption,
                self.shown.severity,
            ).with_columns(pl.lit(norm).alias("norm"), pl.lit(self.shown.split).alias("split"))
            for norm in self.norms
        ]
        points = matched(unique_cubes(pl.concat(rows), self.shown.eval_ids), at_cut)
        own = self.retentions().filter(pl.col("control") == "none")
        return self.named(with_stored_limits(points, own))

    def retentions(self) -> pl.DataFrame:
        """Return what runs and their controls retain at the cut, with limits, as stored."""
        return ask(
            "retentions",
            self.run_ids,
            self.shown.split,
            self.cut,
            self.shown.corruption,
            self.shown.severity,
        )


def headline(study: str, runs: pl.DataFrame) -> Scene | None:
    """Return what a study is shown by where nothing is chosen; None without splices."""
    names = dict(runs.select("run_id", "name").iter_rows())
    sets = evaluation_sets(ask("evaluation_sets", tuple(names)))
    if not sets:
        return None
    choices = ask("splice_choices", tuple(names)).filter(pl.col("control") == "none")
    norms = [norm for norm in NORMS if norm in set(choices["norm"])]
    cuts = choices.sort("depth")["cut"].unique(maintain_order=True).to_list()
    norm = usual_norms(norms)[0]
    return Scene(
        study=study,
        names=names,
        arms=dict(runs.select("run_id", "arm").iter_rows()),
        shown=sets[0],
        metric=METRICS[0],
        norms=with_none(norm, norms),
        cut=usual_cut(cuts),
        cuts=tuple(cuts),
    )


def usual_norms(norms: list[str]) -> list[str]:
    """Return the normalisations to choose from: ``none`` is shown beside any other."""
    return [norm for norm in norms if norm != "none"] or norms


def with_none(norm: str, norms: list[str]) -> tuple[str, ...]:
    """Return the chosen one, and ``none`` where some arm has no BatchNorm."""
    return tuple(dict.fromkeys([norm, *(each for each in norms if each == "none")]))


def choose(metrics: Sequence[str] = METRICS) -> Scene | None:
    """Draw the row of controls; None, with a sentence, where the study has no splices yet."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study, runs = choose_study()
        names = dict(runs.select("run_id", "name").iter_rows())
        sets = evaluation_sets(ask("evaluation_sets", tuple(names)))
        if not sets:
            st.info("No splices of this study yet. They are computed by")
            st.code("featdyn run STUDY.toml", language="bash")
            return None
        choices = ask("splice_choices", tuple(names)).filter(pl.col("control") == "none")
        splits = list(dict.fromkeys(each.split for each in sets))
        split = controls.segments("Examples", "split", splits, splits[0])
        of_split = {each.key: each for each in sets if each.split == split}
        key = next(iter(of_split))
        if len(of_split) > 1:
            # A parameter for each split: the choice outlives a look at the other one.
            key = controls.select(
                "Set", f"{split}_set", list(of_split), key, lambda one: of_split[one].title
            )
        metric = metrics[0]
        if len(metrics) > 1:
            metric = controls.segments("Metric", "metric", metrics, metric)
        norms = [norm for norm in NORMS if norm in set(choices["norm"])]
        usual = usual_norms(norms)
        norm = controls.segments("BatchNorm", "norm", usual, usual[0])
        cuts = choices.sort("depth")["cut"].unique(maintain_order=True).to_list()
        cut = controls.slider("Cut after block", "cut", cuts, usual_cut(cuts))
        several = runs["arm"].n_unique() < len(runs)
        usual_seeds = SEEDS[len(runs) > MOST_MATRICES]
        seeds = controls.segments("Matrices of", "seeds", SEEDS, usual_seeds) if several else ""
    return Scene(
        study=study,
        names=names,
        arms=dict(runs.select("run_id", "arm").iter_rows()),
        shown=of_split[key],
        metric=metric,
        norms=with_none(norm, norms),
        cut=cut,
        cuts=tuple(cuts),
        over_seeds=seeds == SEEDS[1],
    )
