"""Memory: which examples a deep part keeps under other shallow parts, and what that costs.

The definitions are ours (docs/notation.md, "Memory"). At gamma = 0 no network runs here: the unit
reads the predictions and losses that ``splices`` units have stored. A margin above 0 is not
stored, so that the networks are evaluated anew for it, as those units did.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from featdyn_engine.analyses import memory_rows
from featdyn_engine.analyses.asked import called
from featdyn_engine.analyses.memory_rows import Cells, Rule, cell_rows, example_row
from featdyn_engine.analyses.networks import stored_networks
from featdyn_engine.analyses.predicted import by_cut, one_a_cut, read_losses, read_whole
from featdyn_engine.data import evaluation
from featdyn_engine.data.evaluation import EvalSet
from featdyn_engine.domain import STRICT, Cut, EvalConfig, InputError, Norm, RunConfig, Unit
from featdyn_engine.identity import identity
from featdyn_engine.learning_rates import learning_rates
from featdyn_engine.science import memory
from featdyn_engine.science.execution import SAMPLE, placed, prepared
from featdyn_engine.science.memory import Estimates

TABLE = memory_rows.TABLE
# Whose margins can be evaluated here: every block with its own statistics, in full precision.
EVALUATED = ("inherit", "none")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a study asks for: the margin that is memory, and what counts as lost.

    ``gamma``: an example is in memory at this margin. ``eps``: accuracy that may be lost;
    ``loss_eps``: mean loss, in nats, that may be gained; they are different units. ``high``: the
    share of the later network's accuracy above chance from which on an earlier one was good.
    """

    __pydantic_config__: ClassVar = STRICT
    gamma: Annotated[float, Ge(0)] = 0.0
    eps: Annotated[float, Gt(0), Lt(1)] = 0.01
    loss_eps: Annotated[float, Gt(0)] = 0.1
    high: Annotated[float, Gt(0), Le(1)] = 0.9


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: every cut of a run on one evaluation set in one norm mode and dtype.

    ``main``: the ``splices`` units whose parts are read. ``train``, ``train_main``: those of the
    training set, where this is another law; None without one.
    """

    run: RunConfig
    evaluation: EvalConfig
    norm: Norm
    dtype: str
    main: tuple[str, ...]
    train: EvalConfig | None
    train_main: tuple[str, ...]
    gamma: float
    eps: float
    loss_eps: float
    high: float
    batch_size: int


def units(settings: Settings, planned: Sequence[Unit]) -> list[Unit]:
    """Plan one unit an evaluation set, norm mode and dtype of the run's own ``splices`` units.

    A training set is P for the others; of several the largest. Of cubes that differ in the batch
    size alone one is read (``one_a_cut``). Raises InputError where no cube keeps its predictions,
    or none has margins that can be evaluated.
    """
    cubes: dict[tuple[str, str], dict[str, list[Unit]]] = {}
    for unit in planned:
        if unit.kind == "splices" and unit.companions:
            of_kind = cubes.setdefault((unit.spec.norm, unit.spec.dtype), {})
            of_kind.setdefault(unit.spec.evaluation.eval_id, []).append(unit)
    if not cubes:
        raise InputError(
            "memory: expected an analysis of kind 'splices' beside it that keeps predictions and "
            "evaluates every example (no half_width, 256 classes at most), got none; add it"
        )
    if settings.gamma:
        kinds = list(cubes)
        cubes = {key: sets for key, sets in cubes.items() if _evaluable(*key)}
        if not cubes:
            came = " and ".join(f"{norm} in {dtype}" for norm, dtype in kinds)
            raise InputError(
                f"memory.gamma: expected 0, or splices with norm = ['inherit'] in float32, whose "
                f"margins are evaluated, got gamma = {settings.gamma:g} beside {came}; add them, "
                "or leave gamma out"
            )
    chosen = [
        {eval_id: one_a_cut(group) for eval_id, group in sets.items()} for sets in cubes.values()
    ]
    return [
        _unit(settings, group, _training_set(sets)) for sets in chosen for group in sets.values()
    ]


def _evaluable(norm: str, dtype: str) -> bool:
    return norm in EVALUATED and dtype == "float32"


def _is_training_set(examples: EvalConfig) -> bool:
    """Whether these are training examples with the labels that the run saw."""
    return examples.labels == "trained_on"


def _training_set(sets: dict[str, list[Unit]]) -> list[Unit]:
    """Return the units of the largest training set, the first of equals; none without one."""
    found = [group for group in sets.values() if _is_training_set(group[0].spec.evaluation)]

    def size(group: list[Unit]) -> float:
        n = group[0].spec.evaluation.n
        return float("inf") if n is None else n

    return max(found, key=size, default=[])


def _unit(settings: Settings, group: Sequence[Unit], training: Sequence[Unit]) -> Unit:
    first = group[0].spec
    if _is_training_set(first.evaluation):
        training = ()
    spec = Spec(
        run=first.run,
        evaluation=first.evaluation,
        norm=first.norm,
        dtype=first.dtype,
        main=tuple(unit.unit_id for unit in group),
        train=training[0].spec.evaluation if training else None,
        train_main=tuple(unit.unit_id for unit in training),
        gamma=settings.gamma,
        eps=settings.eps,
        loss_eps=settings.loss_eps,
        high=settings.high,
        batch_size=first.batch_size,
    )
    needs = [spec.run.run_id, spec.evaluation.eval_id, *spec.main, *spec.train_main]
    margin = f", margin {spec.gamma:g}" if spec.gamma else ""
    return Unit(
        kind="memory",
        unit_id=identity(("memory", spec)),
        label=f"memory {called(spec.evaluation)}, {spec.norm}{margin}",
        spec=spec,
        run_id=spec.run.run_id,
        needs=(*needs, *([spec.train.eval_id] if spec.train else [])),
        # Without a margin nothing is evaluated.
        cost=sum(unit.cost for unit in group) if spec.gamma else 1.0,
        companions=("memory_examples",),
    )


def compute(spec: Spec, home: Path, progress: Callable[[float], None]) -> dict[str, pa.Table]:
    """Compare every cell with the network of its deep part, at every cut.

    Rows of TABLE as ``memory``, and of ``memory_rows.EXAMPLES`` as ``memory_examples``. Raises
    InputError for parts that are missing, lack a cell, or hold a loss that is no number.
    """
    examples = evaluation.load(spec.evaluation, home)
    main, training = by_cut(spec.main, home), by_cut(spec.train_main, home)
    truth = evaluation.load(spec.train, home).labels if spec.train else None
    that_have = _evaluator(spec, examples, home) if spec.gamma else None
    rule = Rule(gamma=spec.gamma, eps=spec.eps, loss_eps=spec.loss_eps, high=spec.high)
    rows, of_examples = [], []
    for done, (cut, parts) in enumerate(main.items()):
        steps, predicted = read_whole(parts, cut, len(examples.labels))
        train = None
        if truth is not None and cut in training:
            train = _train_drop(training[cut], cut, truth, steps)
        cells = Cells(
            steps=steps,
            classes=len(examples.class_names),
            predicted=predicted,
            targets=examples.labels,
            has=that_have(cut, steps) if that_have else predicted == examples.labels,
            loss=read_losses(parts, cut, steps, home),
            train=train,
        )
        shared = _shared(spec, cut)
        rates = learning_rates(spec.run, home, steps[-1])
        p_set = spec.train.eval_id if spec.train and train is not None else "none"
        rows.append(cell_rows({**shared, "train_eval_id": p_set}, cells, rule))
        of_examples.append(example_row(shared, cells, rates))
        progress((done + 1) / len(main))
    return {
        "memory": pa.concat_tables(rows),
        "memory_examples": pa.Table.from_pylist(of_examples, memory_rows.EXAMPLES),
    }


def _shared(spec: Spec, cut: Cut) -> dict[str, Any]:
    return {
        "run_id": spec.run.run_id,
        "eval_id": spec.evaluation.eval_id,
        "split": spec.evaluation.split,
        "cut": cut.name,
        "depth": cut.depth,
        "norm": spec.norm,
        "dtype": spec.dtype,
        "gamma": spec.gamma,
    }


def _train_drop(
    parts: Sequence[Path], cut: Cut, targets: Tensor, steps: Sequence[int]
) -> Estimates:
    """Return the drop of accuracy on the training set, at the same steps."""
    its_steps, predicted = read_whole(parts, cut, len(targets))
    if its_steps != steps:
        raise InputError(
            f"predictions of the training set at {cut.name}: expected steps "
            f"{', '.join(map(str, steps))}, got {', '.join(map(str, its_steps))}; delete "
            f"{parts[0]} and run the study again"
        )
    return memory.accuracy_drop(memory.flips(predicted == targets))


def _evaluator(spec: Spec, examples: EvalSet, home: Path) -> Callable[[Cut, list[int]], Tensor]:
    """Load the networks; return what says which cells at a cut have which examples.

    They are executed as ``splices`` units do it. The steps must be those of the networks.
    """
    device = torch.device(spec.run.device)
    images, labels = placed(examples.images, device), examples.labels.to(device)
    stored, networks = stored_networks(spec.run, home)
    fast = [prepared(network, images[:SAMPLE]) for network in networks]

    def that_have(cut: Cut, steps: list[int]) -> Tensor:
        if steps != stored:
            raise InputError(
                f"checkpoints of the run: expected steps {', '.join(map(str, steps))}, as the "
                f"cells at {cut.name} have them, got {', '.join(map(str, stored))}; run the study "
                "again"
            )
        return memory.cells_that_have(fast, cut.depth, images, labels, spec.gamma, spec.batch_size)

    return that_have
