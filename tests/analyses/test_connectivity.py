from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from featdyn_engine.analyses import connectivity
from featdyn_engine.analyses.asked import Evaluation
from featdyn_engine.analyses.connectivity import TABLE, Settings, units
from featdyn_engine.analyses.networks import training_batches
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.domain import InputError, NetworkConfig, RunConfig, Unit
from featdyn_engine.science.comparators import score
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.recalibration import recalibrate
from featdyn_engine.science.splice import compose
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON, with_recipe

RUN = replace(PERCEPTRON, checkpoints=(0, 4, 7, 10))
EVALUATIONS = (Evaluation(split="test", n=60),)
KEY = ("run_id", "eval_id", "path", "cut", "shallow_step", "deep_step", "alpha")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("connectivity")
    train(RUN, folder)
    return folder


def planned(run: RunConfig = RUN, **options: object) -> Unit:
    (unit,) = units(Settings(evaluations=EVALUATIONS, **options), run, HERE)  # type: ignore[arg-type]
    return unit


@pytest.fixture(scope="module")
def table(home: Path) -> pa.Table:
    return connectivity.compute(planned().spec, home, lambda share: None)


def test_a_unit_is_one_run_on_one_evaluation_set() -> None:
    unit = planned()
    assert unit.kind == "connectivity"
    assert unit.needs == (RUN.run_id, unit.spec.evaluation.eval_id)
    others = [
        planned(alphas=(0.0, 1.0)),
        planned(cuts=("layer1",)),
        planned(deep_steps=(7,)),
        planned(shallow_steps=(0, 4)),
    ]
    assert len({unit.unit_id, *(other.unit_id for other in others)}) == 5
    # Fewer points, cuts or steps are less work.
    assert all(other.cost < unit.cost for other in (others[0], others[1], others[3]))
    assert planned(alphas=(1.0, 0.5, 0.0, 0.5)).spec.alphas == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"alphas": (0.0, 0.5)}, "alphas: expected 0 and 1 among them.* got 0, 0.5"),
        ({"deep_steps": (5,)}, "deep_steps: expected checkpoints among 0, 4, 7, 10, got 5"),
        ({"shallow_steps": (0, 11)}, "shallow_steps: expected checkpoints among .*, got 11"),
        ({"cuts": ("head",)}, "cuts: expected names among layer1, .* got 'head'"),
    ],
)
def test_paths_that_are_not_there_are_refused(options: dict[str, object], pattern: str) -> None:
    with pytest.raises(InputError, match=pattern):
        planned(**options)


def test_rows_are_every_point_of_every_path_once(table: pa.Table) -> None:
    assert table.schema.equals(TABLE)
    keys = list(zip(*(table[name].to_pylist() for name in KEY), strict=True))
    assert len(set(keys)) == len(keys) == 3 * 5 * 4
    assert all(value is not None for key in keys for value in key)
    assert {(key[2], key[3]) for key in keys} == {
        ("parameters", "none"),
        ("shallow_parameters", "layer1"),
        ("shallow_parameters", "layer2"),
        ("shallow_parameters", "layer3"),
    }
    assert {key[4:6] for key in keys} == {(0, 10), (4, 10), (7, 10)}
    assert {key[6] for key in keys} == {0.0, 0.25, 0.5, 0.75, 1.0}
    for row in table.to_pylist():
        assert (row["depth"] == 0) == (row["path"] == "parameters")
        assert row["norm"] == "recalibrate"
        assert row["accuracy"] == row["correct"] / row["n"]


def test_ends_are_the_networks_and_their_splice_recalibrated(table: pa.Table, home: Path) -> None:
    examples = evaluation.load(planned().spec.evaluation, HERE)
    for row in table.to_pylist():
        if row["alpha"] not in (0, 1):
            continue
        towards, origin = (
            load_network(home, RUN.run_id, row[name]) for name in ("shallow_step", "deep_step")
        )
        depth = row["depth"] if row["path"] == "shallow_parameters" else len(origin)
        network = compose(towards, origin, depth) if row["alpha"] else origin
        recalibrate(network, training_batches(RUN, HERE))
        with torch.no_grad():
            expected = score(network(examples.images), examples.labels)
        assert (row["n"], row["correct"]) == (expected.n, expected.correct)
        assert row["loss"] == pytest.approx(expected.loss, rel=1e-5)


def test_chosen_steps_have_paths_in_both_directions(home: Path) -> None:
    unit = planned(deep_steps=(4, 7), shallow_steps=(7, 10), alphas=(0.0, 1.0), cuts=("layer2",))
    found = connectivity.compute(unit.spec, home, lambda share: None).to_pylist()
    pairs = {(row["shallow_step"], row["deep_step"]) for row in found}
    assert pairs == {(7, 4), (10, 4), (10, 7)}
    assert len(found) == 3 * 2 * 2
    starts = {(row["deep_step"], row["loss"]) for row in found if row["alpha"] == 0}
    assert len(starts) == 2


def test_a_run_that_ended_early_has_paths_between_what_it_reached(tmp_path: Path) -> None:
    run = with_recipe(RUN, stop_at=0.01)
    train(run, tmp_path)
    unit = planned(run, alphas=(0.0, 1.0), cuts=("layer1",))
    found = connectivity.compute(unit.spec, tmp_path, lambda share: None).to_pylist()
    assert {(row["shallow_step"], row["deep_step"]) for row in found} == {(0, 5), (4, 5)}
    unit = planned(run, alphas=(0.0, 1.0), cuts=("layer1",), deep_steps=(10,))
    assert connectivity.compute(unit.spec, tmp_path, lambda share: None).num_rows == 0


def test_without_batch_norm_nothing_is_estimated(tmp_path: Path) -> None:
    run = replace(
        RUN, network=NetworkConfig(name="mlp", norm_layer="none", options={"width": 8, "depth": 2})
    )
    train(run, tmp_path)
    unit = planned(run, alphas=(0.0, 1.0), shallow_steps=(4,))
    found = connectivity.compute(unit.spec, tmp_path, lambda share: None)
    assert found["norm"].unique().to_pylist() == ["none"]
    examples = evaluation.load(unit.spec.evaluation, HERE)
    with torch.no_grad():
        logits = load_network(tmp_path, run.run_id, 10)(examples.images)
    expected = score(logits, examples.labels).loss
    for row in found.to_pylist():
        if row["alpha"] == 0:
            assert row["loss"] == pytest.approx(expected, rel=1e-6)


def test_progress_ends_at_one(home: Path) -> None:
    heard: list[float] = []
    connectivity.compute(planned(alphas=(0.0, 1.0)).spec, home, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1
