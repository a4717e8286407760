from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from featdyn_engine.analyses import displacement
from featdyn_engine.analyses.asked import Evaluation, evaluation_sets
from featdyn_engine.analyses.displacement import TABLE, Settings, chosen, units
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.domain import InputError, NetworkConfig, RunConfig, Unit
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON

RUN = replace(PERCEPTRON, checkpoints=(0, 4, 10))
BOTH = (Evaluation(split="train", n=40), Evaluation(split="test", n=60))
KEY = ("run_id", "eval_id", "cut", "shallow_step", "deep_step", "norm")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("displacement")
    train(RUN, folder)
    return folder


def planned(run: RunConfig = RUN, **options: object) -> list[Unit]:
    return units(Settings(evaluations=BOTH, **options), run, HERE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(home: Path) -> pa.Table:
    return displacement.compute(planned()[1].spec, home, lambda share: None)


def test_there_is_one_unit_an_evaluation_set() -> None:
    found = planned()
    assert [unit.spec.evaluation for unit in found] == evaluation_sets(
        Settings(evaluations=BOTH), RUN, HERE
    )
    assert len({unit.unit_id for unit in found}) == 2
    for unit in found:
        assert unit.kind == "displacement"
        assert unit.needs == (RUN.run_id, unit.spec.evaluation.eval_id)
        assert [cut.name for cut in unit.spec.cuts] == ["layer1", "layer2", "layer3"]
    assert [unit.cost for unit in found] == [3 * 40 * 3, 3 * 60 * 3]
    assert [unit.cost for unit in planned(n=50)] == [3 * 40 * 3, 3 * 50 * 3]


def test_other_work_has_another_id_but_memory_is_no_other_work() -> None:
    known = [unit.unit_id for unit in planned()]
    assert [unit.unit_id for unit in planned(memory=64)] == known
    for other in (planned(n=7), planned(cuts=("layer1",)), planned(batch_size=3)):
        assert not set(known) & {unit.unit_id for unit in other}


def test_an_unknown_cut_is_refused() -> None:
    with pytest.raises(InputError, match=r"cuts: expected names among layer1, .* got 'head'"):
        planned(cuts=("head",))


def test_rows_are_every_pair_at_every_cut_once(table: pa.Table) -> None:
    assert table.schema.equals(TABLE)
    keys = list(zip(*(table[name].to_pylist() for name in KEY), strict=True))
    assert len(set(keys)) == len(keys) == 3 * 3 * 3
    assert all(value is not None for key in keys for value in key)
    pairs = {key[3:5] for key in keys}
    assert pairs == {(s, t) for s in (0, 4, 10) for t in (0, 4, 10)}
    assert table["n"].unique().to_pylist() == [60]
    assert table["split"].unique().to_pylist() == ["test"]
    assert table["norm"].unique().to_pylist() == ["inherit"]


def test_a_row_is_about_its_own_networks_and_cut(table: pa.Table, home: Path) -> None:
    images = evaluation.load(planned()[1].spec.evaluation, HERE).images
    for row in table.to_pylist():
        with torch.no_grad():
            one, other = (
                load_network(home, RUN.run_id, row[name])[: row["depth"]](images).double()
                for name in ("shallow_step", "deep_step")
            )
        spread = (other - other.mean(dim=0)).square().sum()
        assert row["displacement"] == pytest.approx(
            float((one - other).square().sum() / spread), rel=1e-4, abs=1e-9
        )
        assert (row["one_minus_cka"] == 0) == (row["shallow_step"] == row["deep_step"])


def test_networks_without_batch_norm_say_so(tmp_path: Path) -> None:
    run = replace(
        RUN, network=NetworkConfig(name="mlp", norm_layer="none", options={"width": 8, "depth": 2})
    )
    train(run, tmp_path)
    found = displacement.compute(planned(run)[0].spec, tmp_path, lambda share: None)
    assert found["norm"].unique().to_pylist() == ["none"]


def test_features_that_do_not_vary_have_no_measure(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, networks = displacement.stored_networks(RUN, home)
    networks[2][0].norm.weight.zero_()
    monkeypatch.setattr(displacement, "stored_networks", lambda run, home: (steps, networks))
    found = displacement.compute(planned()[0].spec, home, lambda share: None).to_pylist()
    for row in found:
        if row["cut"] == "layer1":
            assert (row["displacement"] is None) == (row["deep_step"] == 10)
            assert (row["one_minus_cka"] is None) == (10 in (row["deep_step"], row["shallow_step"]))


def test_a_large_set_is_reduced_to_examples_that_are_always_the_same(home: Path) -> None:
    images = torch.arange(30.0)
    assert chosen(images, 30) is images
    drawn = chosen(images, 8).tolist()
    assert drawn == sorted(set(drawn))
    assert drawn != list(range(8))
    assert chosen(images, 8).tolist() == drawn
    found = displacement.compute(planned(n=20)[1].spec, home, lambda share: None)
    assert found["n"].unique().to_pylist() == [20]


def test_progress_ends_at_one(home: Path) -> None:
    heard: list[float] = []
    displacement.compute(planned()[0].spec, home, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)
