"""What the Splice lab is asked for: two checkpoints, a cut, examples, and how they are treated."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import charts, controls, live
from app.cached import ask
from app.charts import epoch_label
from app.drawn import drawn
from app.selection import EvaluationSet, evaluation_sets
from app.views.scene import NORMS
from app.views.study_choice import choose_study

WHOLE = {"test": "the whole test split", "train": "the whole training split"}
SAME_NETWORK = ["dataset", "network", "norm_layer"]
SIDES = {"shallow": "shallow part", "deep": "deep part"}


@dataclass(frozen=True)
class Runs:
    """The runs of both sides: identity, name in the study, and the checkpoints of each.

    ``usual``: the step of either side that the page opens at.
    ``cuts``: those that the store has splices at. ``sets``: stored sets of the run.
    """

    study: str
    run: str
    shallow_run: str
    names: dict[str, str]
    checkpoints: dict[str, pl.DataFrame]
    usual: dict[str, int]
    cuts: tuple[str, ...]
    norms: tuple[str, ...]
    sets: tuple[EvaluationSet, ...]

    @property
    def two(self) -> bool:
        """Whether the shallow part is another run's."""
        return self.run != self.shallow_run


@dataclass(frozen=True)
class Choice:
    """One splice: steps, cut, a stored set or a split, corruption, normalisation."""

    runs: Runs
    shallow: int
    deep: int
    cut: str
    evaluation: str
    corruption: str
    severity: int
    norm: str

    @property
    def words(self) -> dict[str, Any]:
        """The choice as the engine takes it."""
        return {
            "run": self.runs.run,
            "shallow_run": self.runs.shallow_run,
            "shallow": self.shallow,
            "deep": self.deep,
            "cut": self.cut,
            "evaluation": self.evaluation,
            "corruption": self.corruption,
            "severity": self.severity,
            "norm": self.norm,
        }

    @property
    def shown(self) -> EvaluationSet | None:
        """The stored set of the choice; None for a whole split."""
        return next((each for each in self.runs.sets if each.key == self.evaluation), None)

    @property
    def stored_set(self) -> str | None:
        """The stored set of these images with this corruption; None where there is none."""
        shown = self.shown
        if shown is None or self.corruption == "none":
            return None if shown is None else shown.key
        return next(
            (
                each.key
                for each in self.runs.sets
                if (each.corruption, each.severity) == (self.corruption, self.severity)
                and (each.split, each.dataset, each.n, each.labels, each.subset)
                == (shown.split, shown.dataset, shown.n, shown.labels, shown.subset)
            ),
            None,
        )

    def epoch(self, side: str) -> str:
        """Epoch of a side's step, as it is written on axes."""
        frame = self.runs.checkpoints[side]
        step = self.shallow if side == SIDES["shallow"] else self.deep
        return epoch_label(frame.filter(pl.col("step") == step)["epoch"].item())


def choose_runs() -> Runs | None:
    """Draw the choice of study and runs; None, with a sentence, where none is trained."""
    here = live.runs_here()
    study, arms = choose_study(here)
    runs = pl.concat([arms, ask("control_runs", study).select(arms.columns)])
    trained = runs.filter(pl.col("status") == "finished")
    if trained.is_empty():
        st.info("No run of this study is trained yet: `featdyn run` trains them.")
        return None
    names = dict(trained.select("run_id", "name").iter_rows())
    usual_run = next((each for each in names if each in here), next(iter(names)))
    run = controls.select("Run", "run", list(names), usual_run, lambda key: names[key])
    alike = trained.join(
        trained.filter(pl.col("run_id") == run).select(SAME_NETWORK),
        on=SAME_NETWORK,
        how="semi",
        maintain_order="left",
    )
    others = alike["run_id"].to_list()
    shallow_run = controls.select(
        "Shallow part from", "shallow_run", others, run, lambda key: names[key]
    )
    # Arms of other labels have the same images under other ids: a link may name either.
    sets = evaluation_sets(ask("evaluation_sets", (run,)))
    choices = ask("splice_choices", (run,))
    checkpoints = {
        SIDES["shallow"]: ask("checkpoints", (shallow_run,)),
        SIDES["deep"]: ask("checkpoints", (run,)),
    }
    return Runs(
        study=study,
        run=run,
        shallow_run=shallow_run,
        names=names,
        checkpoints=checkpoints,
        usual=_usual_steps(checkpoints, {"shallow": shallow_run, "deep": run}, here),
        cuts=tuple(choices.sort("depth")["cut"].unique(maintain_order=True)),
        norms=tuple(norm for norm in NORMS if norm in set(choices["norm"])),
        sets=tuple(sets),
    )


def _usual_steps(
    checkpoints: dict[str, pl.DataFrame], runs: dict[str, str], here: frozenset[str]
) -> dict[str, int]:
    """Return the steps that the page opens at: shallow a third of the way through, deep the last.

    Of a run with weights here only steps that have them count: a bundle may come with a few.
    """
    steps = {}
    for side, run in runs.items():
        known = checkpoints[SIDES[side]]["step"].to_list()
        if run in here:
            known = [step for step in known if live.has_checkpoint(run, step)] or known
        steps[side] = known[-1] if side == "deep" else known[len(known) // 3]
    return steps


def choose(
    runs: Runs, outline: dict[str, Any] | None, places: tuple[DeltaGenerator, DeltaGenerator]
) -> Choice | None:
    """Draw the choice of the splice; ``outline``: what the engine says of the network.

    ``places``: for the row of controls, and for the curve with the checkpoints.

    Without one (nothing can be computed here) it is among what is stored; None, with a sentence,
    where nothing is.
    """
    cuts = tuple(outline["cuts"]) if outline else runs.cuts
    norms = tuple(outline["norms"]) if outline else runs.norms
    sets = {each.key: f"{each.split}: {each.title}" for each in runs.sets}
    if outline:
        sets |= WHOLE
    if not cuts or not sets:
        st.info("No splices of this run are stored, and none can be computed here.")
        return None
    row, curve = places
    with row:
        evaluation = controls.select(
            "Examples", "eval", list(sets), _usual_set(runs, sets), sets.__getitem__
        )
        corruption, severity = _corruption(runs, evaluation, outline)
        norm = controls.segments("BatchNorm", "norm", norms, norms[0])
        cut = controls.slider("Cut after block", "cut", cuts, cuts[len(cuts) // 3])
    with curve:
        steps = _steps(runs)
    return Choice(
        runs=runs,
        shallow=steps["shallow"],
        deep=steps["deep"],
        cut=cut,
        evaluation=evaluation,
        corruption=corruption,
        severity=severity,
        norm=norm,
    )


def _usual_set(runs: Runs, sets: dict[str, str]) -> str:
    """Return the first clean test set, or else the first: unseen images, to be corrupted."""
    clean = (s.key for s in runs.sets if s.split == "test" and s.corruption == "none")
    return next(clean, next(iter(sets)))


def _corruption(runs: Runs, evaluation: str, outline: dict[str, Any] | None) -> tuple[str, int]:
    """Draw the choice of a corruption; that of a set which is corrupted already stays."""
    shown = next((each for each in runs.sets if each.key == evaluation), None)
    split = evaluation if shown is None else shown.split
    if split != "test" or (shown is not None and shown.corruption != "none"):
        return "none", 0
    kinds = outline["corruptions"] if outline else _stored_kinds(runs)
    kind = controls.select(
        "Corruption", "corruption", ["none", *kinds], "none", lambda key: key.replace("_", " ")
    )
    if kind == "none":
        return "none", 0
    return kind, int(controls.slider("Severity", "severity", list("12345"), "3"))


def _stored_kinds(runs: Runs) -> list[str]:
    return sorted({each.corruption for each in runs.sets} - {"none"})


def _steps(runs: Runs) -> dict[str, int]:
    """Draw the training curve with both checkpoints on it, and a slider for either."""
    chosen: dict[str, int] = {}
    curve = st.container()
    with st.container(horizontal=True):
        for key, side in SIDES.items():
            epochs = {
                str(step): epoch_label(epoch)
                for step, epoch in runs.checkpoints[side].select("step", "epoch").rows()
            }
            label = f"{side.capitalize()} from epoch"
            usual = str(runs.usual[key])
            chosen[key] = int(controls.slider(label, key, list(epochs), usual, epochs.__getitem__))
    both = dict.fromkeys((runs.run, runs.shallow_run))
    metrics = ask("metrics", tuple(both)).with_columns(
        pl.col("run_id").replace(runs.names).alias("run")
    )
    picture = partial(
        charts.checkpoint_curve,
        metrics,
        runs.checkpoints,
        {side: chosen[key] for key, side in SIDES.items()},
    )
    curve.vega_lite_chart(
        drawn(picture, st.context.theme.type or "light", named_marks=True).whole,
        alt="accuracy along training, and a dot a checkpoint for either side",
        key="curve",
        on_select=_picked,
        selection_mode=charts.PICKED,
    )
    return chosen


def _picked() -> None:
    """Take the checkpoint that was clicked on the curve."""
    selected = st.session_state["curve"]["selection"].get(charts.PICKED)
    if selected:
        keys = {side: key for key, side in SIDES.items()}
        controls.put(**{keys[selected[-1]["side"]]: selected[-1]["step"]})
