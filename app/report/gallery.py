"""A study of a store, as the sections of the findings ask for it."""

import json
from dataclasses import dataclass
from functools import cached_property

import duckdb
import polars as pl

# scipy.stats would take half a second to import.
from scipy.special import stdtr, stdtrit

from app.selection import EvaluationSet, evaluation_sets, matched, unique_cubes, with_stored_limits
from store import queries
from store.queries.over_seeds import half_width


@dataclass(frozen=True)
class Gallery:
    """The rows of one study in an open ``store``: opening it anew costs more than most answers."""

    store: duckdb.DuckDBPyConnection
    study: str

    def ask(self, question: str, *arguments: object) -> pl.DataFrame:
        """Answer a question of ``store.queries`` by its name."""
        frame: pl.DataFrame = getattr(queries, question)(self.store, *arguments)
        return frame

    @cached_property
    def title(self) -> str:
        """How pages call the study."""
        titles = dict(self.ask("studies").select("study", "title").iter_rows())
        return str(titles[self.study])

    @cached_property
    def runs(self) -> pl.DataFrame:
        """The finished runs of the study's arms, in its order."""
        return self.ask("study_runs", self.study).filter(pl.col("status") == "finished")

    @property
    def run_ids(self) -> list[str]:
        """Their identities."""
        return self.runs["run_id"].to_list()

    @property
    def arms(self) -> list[str]:
        """The arms, in the study's order."""
        return self.runs["arm"].unique(maintain_order=True).to_list()

    def of_arm(self, arm: str) -> list[str]:
        """Return the runs of an arm."""
        return self.runs.filter(pl.col("arm") == arm)["run_id"].to_list()

    def named(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Put ``run`` and ``arm`` beside each row's ``run_id``."""
        names = dict(self.runs.select("run_id", "name").iter_rows())
        arms = dict(self.runs.select("run_id", "arm").iter_rows())
        return frame.with_columns(
            pl.col("run_id").replace(names).alias("run"),
            pl.col("run_id").replace(arms).alias("arm"),
        )

    @cached_property
    def cuts(self) -> list[str]:
        """The cuts that were scored, from shallow to deep."""
        choices = self.ask("splice_choices", self.run_ids).filter(pl.col("control") == "none")
        return choices.sort("depth")["cut"].unique(maintain_order=True).to_list()

    @cached_property
    def norm(self) -> str:
        """The networks' own normalisation: ``inherit``, or ``none`` where they have none."""
        choices = self.ask("splice_choices", self.run_ids).filter(pl.col("control") == "none")
        return "inherit" if "inherit" in set(choices["norm"]) else "none"

    @cached_property
    def clean_sets(self) -> dict[str, EvaluationSet]:
        """The clean set of each split that splices of most runs were scored on, else the first."""
        found = evaluation_sets(self.ask("evaluation_sets", self.run_ids))
        clean = [each for each in found if each.corruption == "none"]
        fewest_first = sorted(reversed(clean), key=self.scored_on)
        return {each.split: each for each in fewest_first}

    def scored_on(self, shown: EvaluationSet) -> int:
        """Count the runs whose splices were scored on a set: another study may share some."""
        return sum(bool(sets.intersection(shown.eval_ids)) for sets in self._sets_of_runs.values())

    @cached_property
    def _sets_of_runs(self) -> dict[str, set[str]]:
        return {
            run_id: set(self.ask("splice_choices", [run_id])["eval_id"].unique())
            for run_id in self.run_ids
        }

    def clean_set(self, split: str) -> EvaluationSet:
        """Return the clean set of a split. Raises KeyError where no splice was scored on one."""
        return self.clean_sets[split]

    def last_decay(self, run_id: str) -> int | None:
        """Return the step of the last decay of a run's learning rate; None without one."""
        [config] = self.runs.filter(pl.col("run_id") == run_id)["config"].to_list()
        recipe = json.loads(config)["recipe"]
        if recipe.get("schedule") != "step" or not recipe["milestones"]:
            return None
        return int(max(recipe["milestones"]) * recipe["steps"])

    def scores(self, split: str, cut: str, measure: str = "accuracy") -> pl.DataFrame:
        """Mean TC of each arm over its seeds at a cut, on the clean set of a split."""
        eval_ids = list(self.clean_set(split).eval_ids)
        asked = [eval_ids, cut, self.norm, "all", "learning_rate", measure]
        found = self.ask("scores_over_seeds", self.study, *asked)
        shown = self.clean_set(split)
        return found.filter(
            pl.col("n") == shown.n, pl.col("dataset") == shown.dataset, pl.col("dtype") == "float32"
        )

    def cells(self, split: str, cut: str) -> pl.DataFrame:
        """Every cell of the runs' own cubes at a cut, on the clean set of a split."""
        cells = self.ask("splice_cells", self.run_ids, split, self.norm)
        at_cut = cells.filter(pl.col("cut") == cut).with_columns(pl.lit(self.norm).alias("norm"))
        return unique_cubes(at_cut, self.clean_set(split).eval_ids)

    def points(self, split: str, cut: str) -> pl.DataFrame:
        """Earlier shallow parts under the final deep part, as ``findings.matched_arms`` asks."""
        rows = self.ask("matched_points", self.run_ids, split, cut, self.norm).with_columns(
            pl.lit(self.norm).alias("norm"), pl.lit(split).alias("split")
        )
        points = unique_cubes(rows, self.clean_set(split).eval_ids)
        stored = self.ask("retentions", self.run_ids, split, cut)
        own = stored.filter(pl.col("control") == "none")
        return self.named(with_stored_limits(matched(points, self.cells(split, cut)), own))


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its 95 % limits by Student's t; without limits for one seed."""

    value: float
    low: float | None
    high: float | None
    seeds: int

    def __str__(self) -> str:
        """Put the mean, its interval and the number of seeds in words."""
        if self.low is None or self.high is None:
            return f"{self.value:.3f} (one seed, so no interval over seeds)"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, 95 % over {self.seeds} seeds)"

    @property
    def points(self) -> str:
        """The same as a difference in points."""
        told = f"{100 * self.value:+.1f} points"
        if self.low is None or self.high is None:
            return f"{told} (one seed, so no interval over seeds)"
        limits = f"{100 * self.low:+.1f} to {100 * self.high:+.1f}"
        return f"{told} ({limits}, 95 % over {self.seeds} seeds)"

    def __neg__(self) -> "Mean":
        """Return the mean of the negative values: a cost where there was a gain."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Mean(-self.value, low, high, self.seeds)

    def p_not_above(self, bar: float) -> float:
        """One-sided p of a true mean at ``bar`` or below, by Student's t over seeds; 1 for one."""
        if self.low is None or self.high is None:
            return 1.0
        freedom = self.seeds - 1
        error = (self.high - self.low) / (2 * stdtrit(freedom, 0.975))
        if error == 0:
            return 0.0 if self.value > bar else 1.0
        return float(stdtr(freedom, (bar - self.value) / error))


def means_of(rows: pl.DataFrame, name: str = "value", seeds: str = "n_seeds") -> list[Mean]:
    """Return the means of rows that have ``name``, its limits and its number of seeds.

    Limits of a single seed, which are over examples where there are any, are left out.
    """
    ends = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return [
        Mean(value, low if count > 1 else None, high if count > 1 else None, count)
        for value, low, high, count in rows.select(name, *ends, seeds).iter_rows()
    ]


def over_seeds(values: pl.Series) -> Mean:
    """Return the mean of one value a seed, other data held fixed."""
    mean = float(values.to_numpy().mean())
    if len(values) < 2:
        return Mean(mean, None, None, len(values))
    deviation = pl.Series([values.std()], dtype=pl.Float64)
    half = float(half_width(deviation, pl.Series([len(values)], dtype=pl.Int64)).item())
    return Mean(mean, mean - half, mean + half, len(values))
