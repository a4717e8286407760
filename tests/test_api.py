import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from torch import nn

from featdyn_engine.api import load_eval, load_network, load_run
from featdyn_engine.domain import InputError
from featdyn_engine.science.execution import cpu_threads


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the engine's workers: sums in one order, and no fight for cores."""
    with cpu_threads(1):
        yield


def part_rows(home: Path, kind: str) -> list[dict[str, Any]]:
    parts = sorted((home / "parts" / kind).glob("*.parquet"))
    assert parts
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def run_ids(home: Path) -> list[str]:
    return sorted(folder.name for folder in (home / "runs").iterdir())


def test_a_run_is_told_by_its_configuration(tiny_home: Path) -> None:
    for run_id in run_ids(tiny_home):
        assert load_run(tiny_home, run_id).run_id == run_id


def test_a_network_is_a_sequence_of_named_blocks_in_evaluation_mode(tiny_home: Path) -> None:
    network = load_network(tiny_home, run_ids(tiny_home)[0], 4)
    assert isinstance(network, nn.Sequential)
    assert not any(module.training for module in network.modules())
    assert network.block_names[0] == "stem"
    assert network.block_names[-1] == "head"
    assert len(network) == len(network.block_names) == 11


@pytest.mark.parametrize("step", [0, 4, 20])
def test_the_state_of_a_network_is_that_of_its_file(step: int, tiny_home: Path) -> None:
    for run_id in run_ids(tiny_home):
        path = tiny_home / "runs" / run_id / "checkpoints" / f"step-{step:08d}.safetensors"
        stored = safetensors.torch.load_file(path)
        state = load_network(tiny_home, run_id, step).state_dict()
        assert set(state) == set(stored)
        assert all(torch.equal(state[name], tensor) for name, tensor in stored.items())


def test_a_home_may_be_named_by_a_string(tiny_home: Path) -> None:
    assert len(load_network(str(tiny_home), run_ids(tiny_home)[0], 0)) == 11


def test_evaluation_sets_have_the_size_that_is_recorded(tiny_home: Path) -> None:
    recorded = part_rows(tiny_home, "evaluations")
    assert len(recorded) == 3  # training set of either arm, test set of both
    for row in recorded:
        images, labels = load_eval(tiny_home, row["eval_id"])
        assert images.shape == (row["n"], 1, 8, 8)
        assert images.dtype == torch.float32
        assert labels.shape == (40,)
        assert labels.dtype == torch.int64
        assert int(labels.max()) < row["classes"] == 10


def test_the_arms_share_the_training_images_but_not_the_labels(tiny_home: Path) -> None:
    rows = [row for row in part_rows(tiny_home, "evaluations") if row["split"] == "train"]
    one, other = (load_eval(tiny_home, row["eval_id"]) for row in rows)
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize(
    ("cut", "shallow_step", "deep_step"),
    [("stem", 12, 20), ("stage2.0", 20, 8), ("stage3.2", 6, 20)],
)
def test_stored_cells_can_be_made_again_with_plain_torch(
    cut: str, shallow_step: int, deep_step: int, tiny_home: Path
) -> None:
    place = (cut, shallow_step, deep_step)
    cells = [
        row
        for row in part_rows(tiny_home, "splices")
        if (row["cut"], row["shallow_step"], row["deep_step"]) == place
    ]
    assert len(cells) == 4  # two arms, two splits
    for row in cells:
        shallow = load_network(tiny_home, row["shallow_run_id"], row["shallow_step"])
        deep = load_network(tiny_home, row["run_id"], row["deep_step"])
        images, labels = load_eval(tiny_home, row["eval_id"])
        assert shallow.block_names[row["depth"] - 1] == cut
        with torch.inference_mode():
            logits = deep[row["depth"] :](shallow[: row["depth"]](images))
        assert row["n"] == len(labels)
        assert row["correct"] == int((logits.argmax(dim=1) == labels).sum())
        loss = nn.functional.cross_entropy(logits.double(), labels)
        assert row["loss"] == pytest.approx(float(loss), rel=1e-4)


def test_the_test_set_is_scored_with_true_labels_and_the_training_set_as_trained(
    tiny_home: Path,
) -> None:
    for row in part_rows(tiny_home, "evaluations"):
        config = json.loads(row["config"])
        assert row["labels"] == ("true" if row["split"] == "test" else "trained_on")
        assert config["split"] == row["split"]


def test_an_unknown_run_is_refused_with_those_there_are(tiny_home: Path) -> None:
    with pytest.raises(InputError, match=r"expected a run of .*got '0123456789ab'") as caught:
        load_network(tiny_home, "0123456789ab", 0)
    assert all(run_id in str(caught.value) for run_id in run_ids(tiny_home))


def test_a_run_of_an_empty_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it has none.*got '0123456789ab'"):
        load_run(tmp_path, "0123456789ab")


def test_an_unknown_step_is_refused_with_those_there_are(tiny_home: Path) -> None:
    with pytest.raises(InputError, match=r"expected a checkpoint step.*0, 1, 2, 4.*20.*got 3"):
        load_network(tiny_home, run_ids(tiny_home)[0], 3)


def test_an_unknown_evaluation_set_is_refused(tiny_home: Path) -> None:
    with pytest.raises(InputError, match=r"expected an evaluation set of .*got '0123456789ab'"):
        load_eval(tiny_home, "0123456789ab")
