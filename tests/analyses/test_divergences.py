from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from featdyn_engine.analyses import divergences
from featdyn_engine.analyses.asked import Evaluation
from featdyn_engine.analyses.divergences import (
    TABLE,
    Settings,
    chosen,
    pairs_of,
    units,
)
from featdyn_engine.api import load_network
from featdyn_engine.domain import InputError, Unit
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.two_sample import gaussian_kernel, median_distance, mmd2
from featdyn_engine.science.within_example import paired_examples
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON

RUN = replace(PERCEPTRON, checkpoints=(0, 4, 10))
TRAIN, TEST = (Evaluation(split="train", n=40), Evaluation(split="test", n=60))
SMALL = {"permutations": 19, "classifier_permutations": 19, "projections": 5, "n": 30}
KEY = (
    "run_id",
    "eval_id",
    "other_eval_id",
    "cut",
    "shallow_step",
    "deep_step",
    "norm",
    "measure",
    "q",
    "labelled",
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("divergences")
    train(RUN, folder)
    return folder


def planned(**options: object) -> list[Unit]:
    asked = {"evaluations": (TRAIN,), "other": TEST, "cuts": ("layer1",), **SMALL, **options}
    return units(Settings(**asked), RUN, HERE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(home: Path) -> pa.Table:
    return divergences.compute(planned()[0].spec, home, lambda share: None)


def test_there_is_one_unit_an_evaluation_set_which_needs_the_other_too() -> None:
    (found,) = planned()
    assert found.kind == "divergences"
    assert found.needs == (
        RUN.run_id,
        found.spec.evaluation.eval_id,
        found.spec.other.eval_id,
    )
    assert len(planned(evaluations=(TRAIN, TEST), other=None)) == 2
    assert found.cost > planned(other=None)[0].cost


def test_two_sets_are_compared_with_as_many_examples_each(home: Path) -> None:
    (found,) = planned(other=Evaluation(split="test", n=21))
    assert found.spec.n == 21
    rows = divergences.compute(found.spec, home, lambda share: None)
    assert set(rows["n"].to_pylist()) == set(rows["other_n"].to_pylist()) == {21}


def test_other_work_has_another_id() -> None:
    known = planned()[0].unit_id
    others = (
        {"n": 25},
        {"seed": 1},
        {"permutations": 20},
        {"classifier_permutations": 20},
        {"projections": 6},
        {"steps": (0, 10)},
        {"other": None},
        {"cuts": ("layer2",)},
        {"batch_size": 3},
    )
    assert len({known, *(planned(**each)[0].unit_id for each in others)}) == 1 + len(others)


def test_by_default_eight_checkpoints_are_spread_over_those_stored() -> None:
    assert planned()[0].spec.steps == (0, 4, 10)
    many = replace(RUN, checkpoints=(*range(0, 10), 10))
    (unit, *_) = units(Settings(evaluations=(TEST,)), many, HERE)
    assert len(unit.spec.steps) == 8
    assert (unit.spec.steps[0], unit.spec.steps[-1]) == (0, 10)


def test_pairs_are_neighbours_and_all_against_the_last() -> None:
    assert pairs_of((0, 1, 5, 9)) == [(0, 1), (0, 9), (1, 5), (1, 9), (5, 9)]


def test_wrong_settings_are_refused_while_planning() -> None:
    with pytest.raises(InputError, match=r"cuts: expected names among layer1, .* got 'head'"):
        planned(cuts=("head",))
    with pytest.raises(InputError, match=r"steps: expected checkpoints among 0, 4, 10, got 5"):
        planned(steps=(0, 5))
    with pytest.raises(InputError, match=r"steps: expected two different checkpoints, got 4 alone"):
        planned(steps=(4, 4))
    with pytest.raises(InputError, match=r"other: expected another set .* got the same; name"):
        planned(other=TRAIN)
    small = Evaluation(split="test", n=19)
    with pytest.raises(InputError, match=r"sets of 20 examples or more, got 19; take a larger n"):
        planned(evaluations=(small,))


def test_rows_are_every_pair_and_every_step_against_the_other_set_once(table: pa.Table) -> None:
    assert table.schema.equals(TABLE)
    keys = list(zip(*(table[name].to_pylist() for name in KEY), strict=True))
    assert len(set(keys)) == len(keys) == (3 + 3) * 10
    assert all(value is not None for key in keys for value in key)
    spec = planned()[0].spec
    pairs = {key[2:3] + key[4:6] for key in keys}
    other = spec.other.eval_id
    assert pairs == {
        ("none", 0, 4),
        ("none", 0, 10),
        ("none", 4, 10),
        *((other, step, step) for step in (0, 4, 10)),
    }
    assert table["n"].unique().to_pylist() == [30]
    assert table["norm"].unique().to_pylist() == ["inherit"]
    assert table["features"].unique().to_pylist() == [16]


def test_a_row_is_about_its_own_networks_cut_and_examples(table: pa.Table, home: Path) -> None:
    images, _ = chosen(planned()[0].spec.evaluation, 30, HERE)
    with torch.no_grad():
        x, y = (
            load_network(home, RUN.run_id, step)[:1](images).flatten(1).double().numpy()
            for step in (4, 10)
        )
    pooled, examples = np.vstack([x, y]), paired_examples(30)
    kernel = gaussian_kernel(pooled, median_distance(pooled, examples))
    (row,) = (
        row
        for row in table.to_pylist()
        if row["measure"] == "mmd2" and (row["shallow_step"], row["deep_step"]) == (4, 10)
    )
    expected = mmd2(kernel, examples, (np.arange(60) < 30)[None])[0]
    assert row["value"] == pytest.approx(expected, rel=1e-4)
    assert row["excess"] == pytest.approx(row["value"] - row["null_mean"])
    assert row["p"] >= 1 / 20
    assert row["permutations"] == 19


def test_features_that_did_not_move_have_no_distance_over_their_null(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, networks = divergences.stored_networks(RUN, home)
    same = (steps, [networks[2]] * 3)
    monkeypatch.setattr(divergences, "stored_networks", lambda run, home: same)
    found = divergences.compute(
        planned(other=None, steps=(0, 10))[0].spec, home, lambda share: None
    )
    for row in found.to_pylist():
        assert row["p"] == 1
        assert row["excess"] == pytest.approx(0, abs=1e-9)


def test_features_that_do_not_vary_have_no_value(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, networks = divergences.stored_networks(RUN, home)
    networks[2][0].norm.weight.zero_()
    same = (steps, [networks[2]] * 3)
    monkeypatch.setattr(divergences, "stored_networks", lambda run, home: same)
    found = divergences.compute(
        planned(other=None, steps=(0, 10))[0].spec, home, lambda share: None
    )
    for name in ("value", "null_mean", "null_high", "p", "excess"):
        assert set(found[name].to_pylist()) == {None}


def test_progress_ends_at_one(home: Path) -> None:
    heard: list[float] = []
    divergences.compute(planned(other=None, steps=(0, 10))[0].spec, home, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)
