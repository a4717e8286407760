"""Interventions: what is held still stays to the bit, what is replayed is what was stored."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from featdyn_engine import checkpoints
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import Branch, Freeze, NetworkConfig, Replay, RunConfig, RunFailedError
from featdyn_engine.models.registry import build
from featdyn_engine.randomness import generator
from featdyn_engine.recipes.interventions import average, deep_counterpart
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.training import train
from tests.cases import DIGITS, HERE
from tests.recipes.runs import (
    BLOCKS,
    PERCEPTRON,
    KilledError,
    block,
    equal,
    hashes,
    kill_after,
    state,
    with_recipe,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the undisturbed run, from which others branch and draw."""
    folder = tmp_path_factory.mktemp("parent")
    train(PERCEPTRON, folder)
    return folder


def still(home: Path, run: RunConfig, name: str, first: int, last: int = 10) -> bool:
    """Whether a block, running statistics included, is the same in all steps first .. last."""
    start = block(home, run, first, name)
    return all(equal(block(home, run, step, name), start) for step in range(first, last + 1))


def moves(home: Path, run: RunConfig, name: str, first: int, last: int = 10) -> bool:
    """Whether every tensor of a block changes at each of the steps."""
    return all(
        not torch.equal(tensor, block(home, run, step + 1, name)[key])
        for step in range(first, last)
        for key, tensor in block(home, run, step, name).items()
    )


FROZEN = replace(PERCEPTRON, freeze=Freeze(depth=2, from_step=4))


def test_frozen_blocks_stand_still_and_the_others_move(home: Path) -> None:
    train(FROZEN, home)
    assert equal(state(home, FROZEN, 4), state(home, PERCEPTRON, 4))
    for name in BLOCKS[:2]:
        assert moves(home, FROZEN, name, 0, 4)
        assert still(home, FROZEN, name, 4)
        assert {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"} <= {
            key.removeprefix(f"{name}.") for key in block(home, FROZEN, 4, name)
        }
    for name in BLOCKS[2:]:
        assert moves(home, FROZEN, name, 0)


@pytest.mark.parametrize("options", [{"optimizer": "adamw", "lr": 0.01}, {"optimizer": "muon"}])
def test_neither_momenta_nor_weight_decay_move_a_frozen_block(
    options: dict[str, Any], tmp_path: Path
) -> None:
    run = with_recipe(FROZEN, weight_decay=0.5, **options)
    train(run, tmp_path)
    assert still(tmp_path, run, "layer1", 4)
    assert still(tmp_path, run, "layer2", 4)
    assert moves(tmp_path, run, "head", 0)


@pytest.mark.parametrize("step", [3, 4, 7])
def test_a_frozen_run_resumes_on_the_same_bits(step: int, home: Path, tmp_path: Path) -> None:
    train(FROZEN, home)
    with pytest.raises(KilledError):
        train(FROZEN, tmp_path, kill_after(step))
    train(FROZEN, tmp_path)
    assert hashes(tmp_path, FROZEN) == hashes(home, FROZEN)


def test_the_deep_control_freezes_one_block_behind_the_cut_and_no_other(tmp_path: Path) -> None:
    # layer1 has 1,024 weights more than each of the others; only layer2 and layer3 can be chosen.
    run = replace(PERCEPTRON, freeze=Freeze(depth=1, from_step=4, part="deep"))
    train(run, tmp_path)
    assert still(tmp_path, run, "layer2", 4)
    for name in ("layer1", "layer3", "head"):
        assert moves(tmp_path, run, name, 0)


@pytest.mark.parametrize(
    ("sizes", "depth", "chosen"),
    [
        ((10, 4, 9, 30, 10), 1, 2),
        ((10, 20, 9, 30, 10), 2, 3),
        ((3, 3, 6, 5, 6), 2, 2),
        ((5, 5, 5), 1, 1),
    ],
)
def test_the_deep_counterpart_comes_nearest_in_size(
    sizes: tuple[int, ...], depth: int, chosen: int
) -> None:
    network = nn.Sequential(*(nn.Linear(size, 1, bias=False) for size in sizes))
    assert deep_counterpart(network, depth) == chosen


def test_there_is_no_deep_counterpart_but_the_classifier() -> None:
    with pytest.raises(ValueError, match="no block behind the cut but the last"):
        deep_counterpart(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), 1)


def test_a_run_can_begin_with_the_final_shallow_part_of_its_parent(home: Path) -> None:
    run = replace(PERCEPTRON, freeze=Freeze(depth=2, weights_of=10))
    train(run, home)
    for name in BLOCKS[:2]:
        assert equal(block(home, run, 0, name), block(home, PERCEPTRON, 10, name))
        assert still(home, run, name, 0)
    for name in BLOCKS[2:]:
        assert equal(block(home, run, 0, name), block(home, PERCEPTRON, 0, name))
        assert moves(home, run, name, 0)


def test_a_step_that_the_parent_never_reached_fails_in_one_line(tmp_path: Path) -> None:
    parent = with_recipe(steps=20, stop_at=0.01)
    parent = replace(parent, checkpoints=(0, 20))
    train(parent, tmp_path)
    assert set(hashes(tmp_path, parent)) == {0, 5}
    with pytest.raises(RunFailedError, match="expected the checkpoint of step 20 of its parent"):
        train(replace(parent, freeze=Freeze(depth=1, weights_of=20)), tmp_path)


REPLAYED = replace(PERCEPTRON, replay=Replay(depth=2, steps=(6, 8, 10), from_step=3))


def test_with_a_full_share_the_own_shallow_part_stands_still(home: Path) -> None:
    train(REPLAYED, home)
    assert equal(state(home, REPLAYED, 3), state(home, PERCEPTRON, 3))
    for name in BLOCKS[:2]:
        # Its running statistics too: nothing of a mini-batch passes through it. No gradient, so
        # neither momentum nor weight decay.
        assert still(home, REPLAYED, name, 3)
    for name in BLOCKS[2:]:
        assert moves(home, REPLAYED, name, 0)


def test_replayed_features_are_those_of_stored_checkpoints(home: Path) -> None:
    """One update by hand, from plain state dicts, gives the same weights to the bit."""
    run = with_recipe(REPLAYED, momentum=0.0, weight_decay=0.0)
    parent = run.parent
    assert parent is not None
    train(parent, home)
    train(run, home)
    stream = generator("replay", run.seeds.order, 4)
    drawn = (6, 8, 10)[int(torch.randint(3, (1,), generator=stream))]
    shallow, own = build(run.network, DIGITS), build(run.network, DIGITS)
    shallow.load_state_dict(state(home, parent, drawn))
    own.load_state_dict(state(home, run, 4))
    data = data_registry.load(run.data, HERE)
    order = torch.randperm(44, generator=generator("order", run.seeds.order, 0))[32:40]
    with torch.no_grad():
        features = shallow.eval()[:2](data.normalise(data.train_images[order]))
    logits = own.train()[2:](features)
    F.cross_entropy(logits, data.train_labels[order]).backward()
    torch.optim.SGD(own[2:].parameters(), lr=0.05).step()
    assert equal(own.state_dict(), state(home, run, 5))


def test_the_drawing_is_reproducible_and_survives_a_resume(home: Path, tmp_path: Path) -> None:
    train(REPLAYED, home)
    train(PERCEPTRON, tmp_path)
    for step in (2, 5, 8):
        with pytest.raises(KilledError):
            train(REPLAYED, tmp_path, kill_after(step))
    train(REPLAYED, tmp_path)
    assert hashes(tmp_path, REPLAYED) == hashes(home, REPLAYED)


def test_every_step_of_the_window_is_drawn() -> None:
    drawn = {
        int(torch.randint(3, (1,), generator=generator("replay", 0, step))) for step in range(50)
    }
    assert drawn == {0, 1, 2}


OWN = replace(PERCEPTRON, replay=Replay(depth=1, share=0.5, from_step=2))


def test_half_a_share_lets_the_own_shallow_part_learn(tmp_path: Path) -> None:
    train(OWN, tmp_path)
    for name in BLOCKS:
        assert moves(tmp_path, OWN, name, 0)


def test_a_run_replays_its_own_checkpoints_and_resumes(tmp_path: Path) -> None:
    assert OWN.parent is None
    train(OWN, tmp_path / "whole")
    for step in (3, 7):
        with pytest.raises(KilledError):
            train(OWN, tmp_path / "broken", kill_after(step))
    train(OWN, tmp_path / "broken")
    assert hashes(tmp_path / "broken", OWN) == hashes(tmp_path / "whole", OWN)
    plain = tmp_path / "plain"
    train(PERCEPTRON, plain)
    assert equal(state(plain, PERCEPTRON, 2), state(tmp_path / "whole", OWN, 2))
    assert not equal(state(plain, PERCEPTRON, 3), state(tmp_path / "whole", OWN, 3))


WINDOW = replace(OWN, replay=Replay(depth=1, share=0.5, from_step=2, window=2))
CURRENT = replace(OWN, replay=Replay(depth=1, share=0.5, from_step=2, source="current"))


def one_update(run: RunConfig, home: Path, shallow: nn.Sequential, step: int) -> nn.Sequential:
    """By hand: the first half of the mini-batch through ``shallow``, the rest through its own."""
    own = build(run.network, DIGITS)
    own.load_state_dict(state(home, run, step))
    data = data_registry.load(run.data, HERE)
    epoch, position = divmod(step, 5)
    order = torch.randperm(44, generator=generator("order", run.seeds.order, epoch))
    chosen = order[8 * position : 8 * position + 8]
    images = data.normalise(data.train_images[chosen])
    with torch.no_grad():
        replayed = shallow.eval()[:1](images[:4])
    own.train()
    logits = own[1:](torch.cat([replayed, own[:1](images[4:])]))
    F.cross_entropy(logits, data.train_labels[chosen]).backward()
    torch.optim.SGD(own.parameters(), lr=0.05).step()
    return own


def test_a_window_draws_on_its_latest_checkpoints_alone(tmp_path: Path) -> None:
    run = with_recipe(WINDOW, momentum=0.0, weight_decay=0.0)
    train(run, tmp_path)
    for step in (6, 7, 8):
        stream = generator("replay", run.seeds.order, step)
        drawn = (step - 1, step)[int(torch.randint(2, (1,), generator=stream))]
        shallow = build(run.network, DIGITS)
        shallow.load_state_dict(state(tmp_path, run, drawn))
        expected = one_update(run, tmp_path, shallow, step).state_dict()
        assert equal(expected, state(tmp_path, run, step + 1))


def test_the_control_of_replay_takes_its_own_features_as_they_are(tmp_path: Path) -> None:
    run = with_recipe(CURRENT, momentum=0.0, weight_decay=0.0)
    train(run, tmp_path)
    shallow = build(run.network, DIGITS)
    shallow.load_state_dict(state(tmp_path, run, 6))
    assert equal(one_update(run, tmp_path, shallow, 6).state_dict(), state(tmp_path, run, 7))
    for name in BLOCKS:
        assert moves(tmp_path, run, name, 0)


def test_fields_that_are_not_used_leave_the_identity_alone() -> None:
    assert Replay(depth=1) == Replay(depth=1, window=None, source="stored")
    assert len({OWN.run_id, WINDOW.run_id, CURRENT.run_id}) == 3


BRANCHED = replace(PERCEPTRON, branch=Branch(step=6, order=7))


def test_a_branch_is_its_parent_up_to_its_step_and_another_run_after_it(home: Path) -> None:
    table = train(BRANCHED, home)
    one, other = hashes(home, PERCEPTRON), hashes(home, BRANCHED)
    assert set(other) == {6, 7, 8, 9, 10}
    assert other[6] == one[6]
    assert all(other[step] != one[step] for step in (7, 8, 9, 10))
    assert min(table["step"].to_pylist()) == 6


def test_a_branch_sees_the_order_of_its_own_seed(home: Path) -> None:
    """From the branch on it is what a run of that order does from these weights and momenta."""
    train(BRANCHED, home)
    data = data_registry.load(PERCEPTRON.data, HERE)
    network = build(PERCEPTRON.network, DIGITS, 0).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    for step in range(10):
        order = torch.randperm(44, generator=generator("order", 0 if step < 6 else 7, step // 5))
        chosen = order[step % 5 * 8 : step % 5 * 8 + 8]
        optimizer.zero_grad()
        logits = network(data.normalise(data.train_images[chosen]))
        F.cross_entropy(logits, data.train_labels[chosen]).backward()
        optimizer.step()
    assert equal(network.state_dict(), state(home, BRANCHED, 10))


@pytest.mark.parametrize("step", [4, 6, 8])
def test_a_branch_resumes_on_the_same_bits(step: int, home: Path, tmp_path: Path) -> None:
    train(BRANCHED, home)
    train(PERCEPTRON, tmp_path)
    with pytest.raises(KilledError):
        train(BRANCHED, tmp_path, kill_after(step))
    train(BRANCHED, tmp_path)
    assert hashes(tmp_path, BRANCHED) == hashes(home, BRANCHED)


def test_a_branch_that_replays_without_a_window_draws_on_itself(home: Path) -> None:
    run = replace(BRANCHED, replay=Replay(depth=1, from_step=8))
    train(run, home)
    # The checkpoints of its own from step 6 on; the parent's of these steps are other weights.
    stream = generator("replay", 0, 9)
    drawn = (6, 7, 8, 9)[int(torch.randint(4, (1,), generator=stream))]
    assert drawn > 6
    assert equal(state(home, run, 8), state(home, BRANCHED, 8))
    assert still(home, run, "layer1", 8)


SWA = replace(PERCEPTRON, swa_from=0.7)


def test_swa_is_the_mean_of_the_late_checkpoints_with_batchnorm_estimated_anew(
    tmp_path: Path,
) -> None:
    table = train(SWA, tmp_path)
    folder = checkpoints.run_folder(tmp_path, SWA.run_id)
    found = load_file(folder / "derived" / "swa.safetensors")
    late = [state(tmp_path, SWA, step) for step in (7, 8, 9, 10)]
    network = build(SWA.network, DIGITS)
    for name, _ in network.named_parameters():
        mean = torch.stack([each[name].double() for each in late]).mean(dim=0)
        torch.testing.assert_close(found[name], mean.float(), rtol=1e-6, atol=1e-8)
    # All 44 training images are one batch: statistics of the first layer in closed form.
    data = data_registry.load(SWA.data, HERE)
    before = data.normalise(data.train_images).flatten(1) @ found["layer1.linear.weight"].T
    mean, variance = before.mean(dim=0), before.var(dim=0)
    torch.testing.assert_close(found["layer1.norm.running_mean"], mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["layer1.norm.running_var"], variance, rtol=1e-4, atol=1e-5)
    rows = [row for row in table.to_pylist() if row["mode"] == "swa"]
    assert [(row["split"], row["step"], row["n"]) for row in rows] == [
        ("train", 10, 44),
        ("test", 10, 360),
    ]


def test_swa_leaves_the_checkpoints_as_they_are(tmp_path: Path, home: Path) -> None:
    train(SWA, tmp_path)
    assert hashes(tmp_path, SWA) == hashes(home, PERCEPTRON)


def test_swa_of_a_run_that_ended_early_averages_what_it_reached(tmp_path: Path) -> None:
    run = with_recipe(SWA, stop_at=0.01)
    train(run, tmp_path)
    folder = checkpoints.run_folder(tmp_path, run.run_id)
    assert json.loads((folder / "derived" / "swa.json").read_text())["steps"] == [4, 5]


def test_an_average_of_one_is_itself_and_counters_are_the_last() -> None:
    one = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}
    other = {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(9)}
    assert equal(average([one]), one)
    assert equal(average([one, other]), {"w": torch.tensor([2.0, 4.0]), "n": torch.tensor(9)})


@pytest.mark.parametrize(
    ("compute", "optimizer"),
    [
        ({"precision": "bfloat16"}, "sgd"),
        ({"channels_last": True}, "sgd"),
        ({"precision": "bfloat16", "channels_last": True}, "sgd"),
        ({"channels_last": True}, "muon"),
    ],
)
def test_other_arithmetic_trains_and_resumes(
    compute: dict[str, Any], optimizer: str, tmp_path: Path
) -> None:
    run = with_recipe(PERCEPTRON, steps=2, optimizer=optimizer, monitor=8)
    resnet = NetworkConfig(name="resnet20")
    run = replace(run, network=resnet, checkpoints=(0, 1, 2), **compute)
    train(run, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(run, tmp_path / "broken", kill_after(1, run))
    train(run, tmp_path / "broken")
    found = hashes(tmp_path / "broken", run)
    assert found == hashes(tmp_path / "whole", run)
    assert len(set(found.values())) == 3
    plain = replace(run, precision="float32", channels_last=False)
    train(plain, tmp_path)
    # The same training, but for rounding. Weights are stored in one order, whatever the format.
    near = 0.1 if run.precision == "bfloat16" or optimizer == "muon" else 1e-3
    for key, tensor in state(tmp_path, plain, 1).items():
        torch.testing.assert_close(
            state(tmp_path / "whole", run, 1)[key], tensor, rtol=near, atol=near
        )
    assert found[1] != hashes(tmp_path, plain)[1]


def test_a_training_ends_at_the_first_epoch_that_is_good_enough(home: Path, tmp_path: Path) -> None:
    running = {
        row["step"]: row["accuracy"]
        for row in train(with_recipe(steps=10), tmp_path / "whole").to_pylist()
        if row["mode"] == "running"
    }
    assert running[5] < running[10]
    run = with_recipe(steps=30, stop_at=running[10])
    run = replace(run, checkpoints=(0, 7, 12, 30))
    table = train(run, tmp_path)
    assert list(hashes(tmp_path, run)) == [0, 7, 10]
    assert hashes(tmp_path, run)[10] == hashes(home, PERCEPTRON)[10]
    assert max(table["step"].to_pylist()) == 10
    with pytest.raises(KilledError):
        train(run, tmp_path / "broken", kill_after(8, run))
    assert train(run, tmp_path / "broken").equals(table)


@pytest.mark.minutes
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.slow
def test_compiling_is_an_option(tmp_path: Path) -> None:
    run = replace(with_recipe(steps=2), checkpoints=(0, 2), compile=True)
    try:
        train(run, tmp_path)
    except Exception as problem:
        if "compiler" not in str(problem).lower() and "Python.h" not in str(problem):
            raise
        pytest.skip("torch.compile found no C++ compiler with Python's headers here")
    plain = replace(run, compile=False)
    train(plain, tmp_path)
    for key, tensor in state(tmp_path, plain, 2).items():
        torch.testing.assert_close(state(tmp_path, run, 2)[key], tensor, rtol=1e-3, atol=1e-4)
