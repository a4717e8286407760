from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from featdyn_engine.analyses import probes
from featdyn_engine.analyses.asked import Evaluation, evaluation_sets
from featdyn_engine.analyses.probes import TABLE, Settings, fitted_on, units
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.data.registry import load
from featdyn_engine.domain import InputError, NetworkConfig, RunConfig, Unit
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON

RUN = replace(PERCEPTRON, checkpoints=(0, 4, 10))
SETS = (Evaluation(split="test", n=60), Evaluation(split="test", n=30))
KEY = ("run_id", "eval_id", "cut", "step", "norm", "fit_labels", "pool")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probes")
    train(RUN, folder)
    return folder


def planned(run: RunConfig = RUN, **options: object) -> list[Unit]:
    return units(Settings(**{"evaluations": SETS, **options}), run, HERE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(home: Path) -> pa.Table:
    return probes.compute(planned()[0].spec, home, lambda share: None)


def test_there_is_one_unit_an_evaluation_set() -> None:
    found = planned()
    assert [unit.spec.evaluation for unit in found] == evaluation_sets(
        Settings(evaluations=SETS), RUN, HERE
    )
    assert len({unit.unit_id for unit in found}) == 2
    for unit in found:
        assert unit.kind == "probes"
        assert unit.needs == (RUN.run_id, unit.spec.evaluation.eval_id)
        assert [cut.name for cut in unit.spec.cuts] == ["layer1", "layer2", "layer3"]
    assert [unit.cost for unit in found] == [3 * (44 + n + 3 * probes.FIT_COST) for n in (60, 30)]


def test_other_work_has_another_id() -> None:
    known = {unit.unit_id for unit in planned()}
    for options in ({"fit_on": 7}, {"fit_labels": "trained_on"}, {"pool": 2}, {"batch_size": 3}):
        assert not known & {unit.unit_id for unit in planned(**options)}


def test_an_unknown_cut_is_refused() -> None:
    with pytest.raises(InputError, match=r"cuts: expected names among layer1, .* got 'head'"):
        planned(cuts=("head",))


def test_to_score_on_the_training_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"not fitted on, got the train split; take the test"):
        planned(evaluations=(Evaluation(split="train"),))


def test_examples_of_one_class_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        probes, "fitted_on", lambda *_: (torch.zeros(2, 1, 8, 8), torch.tensor([3, 3]))
    )
    with pytest.raises(InputError, match=r"two classes or more, got one class among 2; raise"):
        planned(fit_on=2)


def test_rows_are_every_checkpoint_at_every_cut_once(table: pa.Table) -> None:
    assert table.schema.equals(TABLE)
    keys = list(zip(*(table[name].to_pylist() for name in KEY), strict=True))
    assert len(set(keys)) == len(keys) == 3 * 3
    assert {key[3] for key in keys} == {0, 4, 10}
    for name in TABLE.names:
        assert table[name].null_count == 0
    assert table["n"].unique().to_pylist() == [60]
    assert table["fit_n"].unique().to_pylist() == [44]
    assert table["norm"].unique().to_pylist() == ["inherit"]


def test_a_row_is_about_its_own_network_and_cut(table: pa.Table, home: Path) -> None:
    """Slowly: plain forward pass, the strength that was stored, counts by hand."""
    test_set = evaluation.load(planned()[0].spec.evaluation, HERE)
    dataset = load(RUN.data, HERE)
    images, labels = dataset.normalise(dataset.train_images), dataset.train_labels.numpy()
    true = test_set.labels.numpy()
    for row in table.to_pylist():
        network = load_network(home, RUN.run_id, row["step"])
        with torch.no_grad():
            shallow = network[: row["depth"]]
            fit, scored = (shallow(x).double().numpy() for x in (images, test_set.images))
            own = network(test_set.images).argmax(dim=1).numpy()
        scale = StandardScaler().fit(fit)
        model = RidgeClassifier(alpha=row["strength"]).fit(scale.transform(fit), labels)
        predicted = model.predict(scale.transform(scored))
        assert row["correct"] == (predicted == true).sum()
        assert row["accuracy"] == row["correct"] / 60
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        assert row["network_accuracy"] == pytest.approx((own == true).mean())
        assert row["fit_accuracy"] == model.score(scale.transform(fit), labels)
        expected = sum((true == k).mean() * (predicted == k).mean() for k in range(10))
        assert row["chance"] == pytest.approx(expected)


def test_examples_to_fit_on_are_training_examples_and_always_the_same() -> None:
    images, labels = fitted_on(RUN, 20, "true", HERE)
    again, _ = fitted_on(replace(RUN, seeds=replace(RUN.seeds, init=5)), 20, "true", HERE)
    assert torch.equal(images, again)
    dataset = load(RUN.data, HERE)
    known = dataset.normalise(dataset.train_images)
    places = [int((known == image).flatten(1).all(dim=1).nonzero()[0, 0]) for image in images]
    assert places == sorted(set(places))
    assert len(places) == 20
    assert torch.equal(labels, dataset.train_labels[places])
    assert len(fitted_on(RUN, 1000, "true", HERE)[1]) == 44


def test_labels_are_the_true_ones_or_those_trained_on() -> None:
    noisy = replace(RUN, label_noise=1.0)
    true = load(RUN.data, HERE).train_labels
    assert torch.equal(fitted_on(noisy, 1000, "true", HERE)[1], true)
    drawn = noisy_labels(true, 1.0, 10, 0)
    assert torch.equal(fitted_on(noisy, 1000, "trained_on", HERE)[1], drawn)
    assert not np.array_equal(drawn, true)


def test_networks_without_batch_norm_say_so(tmp_path: Path) -> None:
    network = NetworkConfig(name="mlp", norm_layer="none", options={"width": 8, "depth": 2})
    run = replace(RUN, network=network)
    train(run, tmp_path)
    found = probes.compute(planned(run)[0].spec, tmp_path, lambda share: None)
    assert found["norm"].unique().to_pylist() == ["none"]


def test_progress_ends_at_one(home: Path) -> None:
    heard: list[float] = []
    probes.compute(planned()[1].spec, home, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)
