from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from featdyn_engine.analyses import comparators
from featdyn_engine.analyses.asked import Evaluation
from featdyn_engine.analyses.comparators import TABLE, Settings, averaged, units
from featdyn_engine.analyses.networks import stored_networks, training_batches
from featdyn_engine.api import load_network
from featdyn_engine.checkpoints import run_folder
from featdyn_engine.data import evaluation
from featdyn_engine.domain import DataConfig, NetworkConfig, RunConfig, Unit
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON

# More than one mini-batch for statistics, and examples left over.
RUN = replace(
    PERCEPTRON,
    data=DataConfig(name="digits", train_size=600),
    checkpoints=(0, 2, 5, 8, 10),
    swa_from=0.5,
)
EVALUATIONS = (Evaluation(split="test"), Evaluation(split="train", n=50))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("comparators")
    return folder, train(RUN, folder).to_pylist()


@pytest.fixture(scope="module")
def home(trained: tuple[Path, list[dict[str, object]]]) -> Path:
    return trained[0]


def planned(run: RunConfig = RUN, **options: object) -> list[Unit]:
    return units(Settings(evaluations=EVALUATIONS, **options), run, HERE)  # type: ignore[arg-type]


def rows(home: Path, unit: Unit) -> dict[str, dict[str, object]]:
    table = comparators.compute(unit.spec, home, lambda share: None)
    assert isinstance(table, pa.Table)
    assert table.schema.equals(TABLE)
    found = table.to_pylist()
    assert [row["comparator"] for row in found] == ["last", "swa", "ensemble"]
    return {row["comparator"]: row for row in found}


def test_there_is_one_unit_an_evaluation_set() -> None:
    found = planned()
    assert len({unit.unit_id for unit in found}) == 2
    for unit in found:
        assert unit.kind == "comparators"
        assert unit.needs == (RUN.run_id, unit.spec.evaluation.eval_id)
        assert unit.cost > 0
    other = planned(from_share=0.6)
    assert not {unit.unit_id for unit in found} & {unit.unit_id for unit in other}


def test_rows_say_what_was_averaged(home: Path) -> None:
    found = rows(home, planned()[1])
    used = {
        name: tuple(row[key] for key in ("first_step", "last_step", "checkpoints", "norm"))
        for name, row in found.items()
    }
    assert used == {
        "last": (10, 10, 1, "inherit"),
        "swa": (5, 10, 3, "recalibrate"),
        "ensemble": (5, 10, 3, "inherit"),
    }
    for row in found.values():
        assert (row["run_id"], row["split"], row["n"]) == (RUN.run_id, "train", 50)
        assert row["accuracy"] == row["correct"] / row["n"]  # type: ignore[operator]


def test_the_last_and_the_averaged_network_score_as_in_training(
    trained: tuple[Path, list[dict[str, object]]],
) -> None:
    home, metrics = trained
    found = rows(home, planned()[0])
    for name, mode in (("last", "eval"), ("swa", "swa")):
        (expected,) = (
            row for row in metrics if (row["step"], row["split"], row["mode"]) == (10, "test", mode)
        )
        assert found[name]["n"] == expected["n"]
        assert found[name]["correct"] == expected["correct"]
        assert found[name]["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert found["swa"]["loss"] != pytest.approx(found["last"]["loss"], rel=1e-3)


def test_the_averaged_network_is_the_derived_checkpoint_of_the_training(home: Path) -> None:
    _, networks = stored_networks(RUN, home)
    found = averaged(networks[2:], training_batches(RUN, home)).state_dict()
    path = run_folder(home, RUN.run_id) / "derived" / "swa.safetensors"
    expected = safetensors.torch.load_file(path)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)


def test_the_ensemble_means_the_probabilities_of_the_late_checkpoints(home: Path) -> None:
    unit = planned()[0]
    examples = evaluation.load(unit.spec.evaluation, HERE)
    with torch.no_grad():
        late = [load_network(home, RUN.run_id, step)(examples.images) for step in (5, 8, 10)]
    mean = sum(F.softmax(logits.double(), dim=1) for logits in late) / 3
    own = mean[torch.arange(len(examples.labels)), examples.labels]
    found = rows(home, unit)["ensemble"]
    assert found["correct"] == int((mean.argmax(dim=1) == examples.labels).sum())
    assert found["loss"] == pytest.approx(float(-own.log().mean()), rel=1e-6)


def test_from_the_last_checkpoint_alone_an_ensemble_is_the_last_network(home: Path) -> None:
    found = rows(home, planned(from_share=1.0)[0])
    assert found["ensemble"]["checkpoints"] == found["swa"]["checkpoints"] == 1
    assert found["ensemble"]["correct"] == found["last"]["correct"]
    assert found["ensemble"]["loss"] == found["last"]["loss"]


def test_without_batch_norm_nothing_is_estimated(tmp_path: Path) -> None:
    run = replace(
        RUN,
        network=NetworkConfig(name="mlp", norm_layer="none", options={"width": 8, "depth": 2}),
        swa_from=None,
    )
    train(run, tmp_path)
    found = rows(tmp_path, planned(run, from_share=1.0)[1])
    assert {row["norm"] for row in found.values()} == {"none"}
    # The mean of one network's weights is that network.
    assert found["swa"]["loss"] == found["last"]["loss"]


def test_progress_ends_at_one(home: Path) -> None:
    heard: list[float] = []
    comparators.compute(planned()[1].spec, home, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1
