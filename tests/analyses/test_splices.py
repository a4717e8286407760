from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from featdyn_engine import study
from featdyn_engine.analyses import splices
from featdyn_engine.analyses.splices import TABLE, Evaluation, Settings, evaluation_sets, units
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.domain import (
    DataConfig,
    InputError,
    NetworkConfig,
    Recipe,
    RunConfig,
    Seeds,
    Unit,
)
from featdyn_engine.parts import part_path
from featdyn_engine.training import cpu_threads
from tests.cases import HERE, TINY_STUDY
from tests.oracles import naive_chance, naive_retention

RUN = RunConfig(
    data=DataConfig(name="digits", train_size=96),
    network=NetworkConfig(name="resnet20"),
    recipe=Recipe(steps=20, batch_size=32),
    checkpoints=(0, 5, 20),
    label_noise=0.4,
    seeds=Seeds(labels=3),
)
BOTH = (Evaluation(split="train", n=40), Evaluation(split="test", n=40))
KEY = (
    "run_id",
    "shallow_run_id",
    "control",
    "replicate",
    "eval_id",
    "cut",
    "shallow_step",
    "deep_step",
    "norm",
    "dtype",
    "batch_size",
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the engine's workers: sums in one order, and no fight for cores."""
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def tiny_units() -> list[Unit]:
    return study.parse(TINY_STUDY, "tiny.toml", HERE).units(HERE)


def stored(home: Path, unit: Unit) -> pa.Table:
    return pq.read_table(part_path(home, "splices", unit.unit_id))


def silent(share: float) -> None: ...


def matrix(table: pa.Table, column: str, size: int) -> list[list[float]]:
    values = table[column].to_pylist()
    return [values[row * size : (row + 1) * size] for row in range(size)]


def test_there_is_one_unit_a_cut_and_evaluation_set() -> None:
    planned = units(Settings(evaluations=BOTH), RUN, HERE)
    assert len(planned) == 10 * 2
    places = {(unit.spec.cut.name, unit.spec.evaluation.split) for unit in planned}
    assert len(places) == 20


def test_there_is_one_unit_a_norm_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = units(Settings(cuts=("stem",), norm=("inherit", "other")), RUN, HERE)  # type: ignore[arg-type]
    assert [unit.spec.norm for unit in planned] == ["inherit", "other"]
    assert len({unit.unit_id for unit in planned}) == 2


def test_every_unit_has_its_own_id(tiny_units: Sequence[Unit]) -> None:
    assert len({unit.unit_id for unit in tiny_units}) == len(tiny_units) == 2 * 2 * 10


def test_the_same_work_has_the_same_id() -> None:
    one, other = (units(Settings(evaluations=BOTH), RUN, HERE) for _ in range(2))
    assert [unit.unit_id for unit in one] == [unit.unit_id for unit in other]


@pytest.mark.parametrize(
    ("settings", "run"),
    [
        (Settings(batch_size=100), RUN),
        (Settings(evaluations=(Evaluation(split="test", n=50),)), RUN),
        (Settings(evaluations=(Evaluation(split="test", subset_seed=1),)), RUN),
        (Settings(), replace(RUN, checkpoints=(0, 20))),
        (Settings(), replace(RUN, seeds=Seeds(init=1, labels=3))),
    ],
)
def test_other_work_has_another_id(settings: Settings, run: RunConfig) -> None:
    known = {unit.unit_id for unit in units(Settings(), RUN, HERE)}
    assert not known & {unit.unit_id for unit in units(settings, run, HERE)}


def test_a_unit_waits_for_its_run_and_its_evaluation_set() -> None:
    for unit in units(Settings(evaluations=BOTH), RUN, HERE):
        assert set(unit.needs) == {RUN.run_id, unit.spec.evaluation.eval_id}
        assert unit.run_id == RUN.run_id
        assert unit.kind == "splices"


def test_shallow_cuts_cost_more_than_deep_ones() -> None:
    costs = [unit.cost for unit in units(Settings(), RUN, HERE)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] > 0


def test_chosen_cuts_come_shallowest_first() -> None:
    planned = units(Settings(cuts=("stage3.0", "stem")), RUN, HERE)
    assert [(unit.spec.cut.name, unit.spec.cut.depth) for unit in planned] == [
        ("stem", 1),
        ("stage3.0", 8),
    ]


def test_an_unknown_cut_is_refused_with_the_known_ones() -> None:
    pattern = r"cuts: expected names among stem, .*stage3\.2 .*resnet20.*got 'stage9\.0'"
    with pytest.raises(InputError, match=pattern):
        units(Settings(cuts=("stem", "stage9.0")), RUN, HERE)


def test_the_training_set_is_scored_with_the_labels_trained_on_the_test_set_with_true_ones() -> (
    None
):
    train, test = evaluation_sets(Settings(evaluations=BOTH), RUN, HERE)
    assert (train.split, train.labels, train.label_noise, train.seed_labels) == (
        "train",
        "trained_on",
        0.4,
        3,
    )
    assert (test.split, test.labels, test.label_noise, test.seed_labels) == ("test", "true", 0.0, 0)


def test_runs_with_other_labels_share_their_test_set() -> None:
    other = replace(RUN, label_noise=0.0, seeds=Seeds(labels=8))
    settings = Settings(evaluations=BOTH[1:])
    assert evaluation_sets(settings, RUN, HERE) == evaluation_sets(settings, other, HERE)


@pytest.mark.parametrize("index", [0, 19, 35])
def test_computing_again_gives_the_stored_rows(
    index: int, tiny_units: Sequence[Unit], tiny_home: Path
) -> None:
    unit = tiny_units[index]
    with cpu_threads(1):
        table = splices.compute(unit.spec, tiny_home, silent)
    assert table.equals(stored(tiny_home, unit).drop_columns("unit_id"))


def test_rows_are_every_pair_of_checkpoints_once(
    tiny_units: Sequence[Unit], tiny_home: Path
) -> None:
    for unit in tiny_units:
        table = stored(tiny_home, unit)
        steps = unit.spec.run.checkpoints
        pairs = list(zip(*(table[name].to_pylist() for name in KEY[6:8]), strict=True))
        assert pairs == [(s, t) for s in steps for t in steps]
        assert table.drop_columns("unit_id").schema.equals(TABLE)


def test_rows_say_what_they_are_of(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    for unit in tiny_units:
        spec = unit.spec
        expected = {
            "run_id": spec.run.run_id,
            "shallow_run_id": spec.run.run_id,
            "control": "none",
            "replicate": 0,
            "eval_id": spec.evaluation.eval_id,
            "split": spec.evaluation.split,
            "corruption": "none",
            "severity": 0,
            "cut": spec.cut.name,
            "depth": spec.cut.depth,
            "norm": "inherit",
            "dtype": "float32",
            "batch_size": 250,
            "n": 40,
            "half_width": 0.0,
        }
        table = stored(tiny_home, unit)
        assert {name: table[name].unique().to_pylist() for name in expected} == {
            name: [value] for name, value in expected.items()
        }


def test_a_key_is_never_null_and_never_twice(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    table = pa.concat_tables([stored(tiny_home, unit) for unit in tiny_units])
    keys = list(zip(*(table[name].to_pylist() for name in KEY), strict=True))
    assert len(set(keys)) == len(keys) == 4000
    assert all(value is not None for key in keys for value in key)


def test_only_retention_may_be_null(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    table = pa.concat_tables([stored(tiny_home, unit) for unit in tiny_units])
    assert {name for name in table.column_names if table[name].null_count} <= {"retention"}
    # SQL would count a NaN as a number.
    assert not any(value != value for value in table["retention"].to_pylist())


def test_accuracy_is_the_share_that_is_correct(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    for row in pa.concat_tables([stored(tiny_home, unit) for unit in tiny_units]).to_pylist():
        assert row["accuracy"] == row["correct"] / row["n"]
        assert 0 <= row["agreement"] <= 1
        assert 0 <= row["chance"] <= 1
        assert row["loss"] >= 0


def test_a_network_agrees_with_itself(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    for unit in tiny_units:
        agreement = matrix(stored(tiny_home, unit), "agreement", 10)
        assert [agreement[i][i] for i in range(10)] == [1.0] * 10


def test_the_chance_of_a_cell_is_that_of_its_own_predictions(
    tiny_units: Sequence[Unit], tiny_home: Path
) -> None:
    unit = tiny_units[14]
    examples = evaluation.load(unit.spec.evaluation, HERE)
    depth, run_id = unit.spec.cut.depth, unit.spec.run.run_id
    shallow, deep = (load_network(tiny_home, run_id, step) for step in (8, 20))
    with torch.inference_mode():
        guesses = deep[depth:](shallow[:depth](examples.images)).argmax(dim=1).tolist()
    row = stored(tiny_home, unit).to_pylist()[5 * 10 + 9]
    assert (row["shallow_step"], row["deep_step"]) == (8, 20)
    assert row["chance"] == pytest.approx(naive_chance(examples.labels.tolist(), guesses))


def test_retention_is_null_exactly_where_the_network_is_within_nine_standard_errors(
    tiny_units: Sequence[Unit], tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twenty updates fit nothing: labels that the last network gives right make one column kept.
    spec = tiny_units[4].spec
    examples = evaluation.load(spec.evaluation, HERE)
    with torch.inference_mode(), cpu_threads(1):
        guesses = load_network(tiny_home, spec.run.run_id, 20)(examples.images).argmax(dim=1)
    fitted = replace(examples, labels=guesses)
    monkeypatch.setattr(evaluation, "load", lambda config: fitted)
    with cpu_threads(1):
        table = splices.compute(spec, tiny_home, silent)
    expected = naive_retention(matrix(table, "correct", 10), 40, matrix(table, "chance", 10))
    found = matrix(table, "retention", 10)
    assert found[9][9] == 1.0
    assert found[0][0] is None
    for found_row, expected_row in zip(found, expected, strict=True):
        assert found_row == pytest.approx(expected_row)


def test_progress_ends_at_one(tiny_units: Sequence[Unit], tiny_home: Path) -> None:
    heard: list[float] = []
    splices.compute(tiny_units[9].spec, tiny_home, heard.append)
    assert heard[-1] == pytest.approx(1)
