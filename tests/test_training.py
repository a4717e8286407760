import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F

from featdyn_engine import checkpoints, files
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe, RunConfig, Seeds
from featdyn_engine.metrics import METRICS
from featdyn_engine.models.registry import build
from featdyn_engine.randomness import generator
from featdyn_engine.recipes.schedules import learning_rate, steps_per_epoch
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.training import train
from tests.cases import DIGITS, HERE

# 44 examples in batches of 8: five updates an epoch, four examples left over; the checkpoints lie
# at the start, in the middle and at the end of an epoch, and the run ends within its third.
RUN = RunConfig(
    data=DataConfig(name="digits", train_size=44),
    network=NetworkConfig(name="resnet20"),
    recipe=Recipe(steps=12, batch_size=8, lr=0.05, milestones=(0.75,)),
    checkpoints=(0, 3, 5, 8, 12),
    label_noise=0.3,
)
SHORT = replace(RUN, recipe=replace(RUN.recipe, steps=4), checkpoints=(0, 2, 4))
# One record of the configuration; three files a checkpoint (tensors, record, resume).
REPLACEMENTS = 1 + 3 * len(SHORT.checkpoints)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the engine's workers: sums in one order, and no fight for cores."""
    with cpu_threads(1):
        yield


def after(step: int, steps: int = RUN.recipe.steps) -> Callable[[float], None]:
    def progress(share: float) -> None:
        if round(share * steps) == step:
            raise KilledError

    return progress


def folder(home: Path, run: RunConfig) -> Path:
    return checkpoints.run_folder(home, run.run_id)


def hashes(home: Path, run: RunConfig) -> dict[int, str]:
    path = folder(home, run)
    found = {each.step: each.sha256 for each in checkpoints.listing(path)}
    for step, sha256 in found.items():
        file = path / "checkpoints" / f"step-{step:08d}.safetensors"
        assert files.sha256_of(file) == sha256
    return found


def rows(table: pa.Table, **wanted: str) -> list[dict[str, Any]]:
    return [
        row
        for row in table.to_pylist()
        if all(row[name] == value for name, value in wanted.items())
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    home = tmp_path_factory.mktemp("undisturbed")
    return home, train(RUN, home)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    home = tmp_path_factory.mktemp("short")
    return home, train(SHORT, home)


def recipe(schedule: str, **options: Any) -> Recipe:
    return Recipe(steps=100, lr=0.5, schedule=schedule, **options)


@pytest.mark.parametrize("step", [0, 50, 99])
def test_a_constant_learning_rate_stays(step: int) -> None:
    assert learning_rate(recipe("constant"), step) == 0.5


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.5), (49, 0.5), (50, 0.05), (74, 0.05), (75, 0.005), (99, 0.005)]
)
def test_a_step_schedule_decays_at_its_milestones(step: int, expected: float) -> None:
    assert learning_rate(recipe("step"), step) == pytest.approx(expected)


def test_a_step_schedule_takes_its_own_milestones_and_factor() -> None:
    wanted = recipe("step", milestones=(0.1, 0.7), gamma=0.5)
    rates = [learning_rate(wanted, step) for step in (9, 10, 69, 70)]
    assert rates == pytest.approx([0.5, 0.25, 0.25, 0.125])


@pytest.mark.parametrize("steps", [7, 10, 30, 660, 64_000])
@pytest.mark.parametrize("tenths", [1, 3, 6, 7, 8, 9])
def test_a_milestone_is_met_at_its_very_step(steps: int, tenths: int) -> None:
    wanted = Recipe(steps=steps, lr=1.0, schedule="step", milestones=(tenths / 10,))
    decayed = [step for step in range(steps + 1) if learning_rate(wanted, step) < 1]
    assert decayed[0] == -(-steps * tenths // 10)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.02), (15, 0.26), (30, 0.5), (65, 0.25), (99, 0.5 * math.sin(math.pi / 140) ** 2)],
)
def test_one_cycle_climbs_for_thirty_percent_and_falls_along_a_cosine(
    step: int, expected: float
) -> None:
    assert learning_rate(recipe("one_cycle"), step) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("train_size", "batch_size", "expected"), [(96, 32, 3), (44, 8, 5), (8, 8, 1), (5, 8, 1)]
)
def test_an_epoch_counts_full_batches_and_at_least_one(
    train_size: int, batch_size: int, expected: int
) -> None:
    assert steps_per_epoch(train_size, batch_size) == expected


def test_cpu_threads_are_given_back_even_after_a_failure() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with cpu_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise KilledError

    with pytest.raises(KilledError):
        fail()
    assert torch.get_num_threads() == before


def test_a_plain_loop_gives_the_same_weights(undisturbed: tuple[Path, pa.Table]) -> None:
    from featdyn_engine.data.labels import noisy_labels

    dataset = data_registry.load(RUN.data, HERE)
    images = dataset.normalise(dataset.train_images)
    labels = noisy_labels(dataset.train_labels, 0.3, 10, 0)
    network = build(RUN.network, DIGITS, 0).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    with cpu_threads(1):
        for step in range(12):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 if step < 9 else 0.05 * 0.1
            order = torch.randperm(44, generator=generator("order", 0, step // 5))
            batch = order[8 * (step % 5) :][:8]
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    stored = checkpoints.load(folder(undisturbed[0], RUN), 12)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(stored[name], tensor, rtol=1e-4, atol=1e-5)


def test_checkpoints_lie_at_the_steps_asked_for(undisturbed: tuple[Path, pa.Table]) -> None:
    found = checkpoints.listing(folder(undisturbed[0], RUN))
    assert [(each.step, each.epoch) for each in found] == [
        (0, 0.0),
        (3, 0.6),
        (5, 1.0),
        (8, 1.6),
        (12, 2.4),
    ]
    assert len({each.sha256 for each in found}) == 5


def test_the_first_checkpoint_is_the_untrained_network(undisturbed: tuple[Path, pa.Table]) -> None:
    stored = checkpoints.load(folder(undisturbed[0], RUN), 0)
    untrained = build(RUN.network, DIGITS, RUN.seeds.init).state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in untrained.items())


def test_a_finished_run_keeps_its_configuration_and_nothing_to_resume(
    undisturbed: tuple[Path, pa.Table],
) -> None:
    names = {path.name for path in folder(undisturbed[0], RUN).iterdir()}
    assert names == {"config.json", "checkpoints"}


def test_every_checkpoint_is_scored_on_both_splits(undisturbed: tuple[Path, pa.Table]) -> None:
    table = undisturbed[1]
    assert table.schema.equals(METRICS)
    for split, n, labels in (("train", 44, "trained_on"), ("test", 360, "true")):
        found = rows(table, split=split, mode="eval")
        assert [row["step"] for row in found] == [0, 3, 5, 8, 12]
        assert {(row["n"], row["labels"]) for row in found} == {(n, labels)}


def test_scores_are_those_of_the_stored_checkpoint(undisturbed: tuple[Path, pa.Table]) -> None:
    home, table = undisturbed
    dataset = data_registry.load(RUN.data, HERE)
    images, labels = dataset.normalise(dataset.test_images), dataset.test_labels
    for row in rows(table, split="test", mode="eval"):
        network = build(RUN.network, DIGITS)
        network.load_state_dict(checkpoints.load(folder(home, RUN), row["step"]))
        with torch.inference_mode():
            logits = network.eval()(images)
        assert row["correct"] == int((logits.argmax(dim=1) == labels).sum())
        assert row["accuracy"] == row["correct"] / 360
        assert row["loss"] == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)


def test_running_metrics_count_one_epoch_each(undisturbed: tuple[Path, pa.Table]) -> None:
    found = rows(undisturbed[1], mode="running")
    assert [(row["step"], row["epoch"], row["n"]) for row in found] == [(5, 1.0, 40), (10, 2.0, 40)]
    for row in found:
        assert row["split"] == "train"
        assert 0 <= row["correct"] <= 40
        assert row["accuracy"] == row["correct"] / 40
    assert found[1]["correct"] > found[0]["correct"]
    assert found[1]["loss"] < found[0]["loss"]


def test_metrics_tell_the_learning_rate_of_the_update_before(
    undisturbed: tuple[Path, pa.Table],
) -> None:
    rates = {row["step"]: row["lr"] for row in undisturbed[1].to_pylist()}
    assert rates == pytest.approx({0: 0.05, 3: 0.05, 5: 0.05, 8: 0.05, 10: 0.005, 12: 0.005})


def test_metrics_have_one_row_a_step_split_and_mode(undisturbed: tuple[Path, pa.Table]) -> None:
    keys = [(row["step"], row["split"], row["mode"]) for row in undisturbed[1].to_pylist()]
    assert len(keys) == len(set(keys)) == 12


def test_progress_ends_at_one(tmp_path: Path) -> None:
    heard: list[float] = []
    train(SHORT, tmp_path, heard.append)
    assert heard == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("step", range(1, 13))
def test_an_interrupted_training_ends_on_the_same_bits(
    step: int, tmp_path: Path, undisturbed: tuple[Path, pa.Table]
) -> None:
    with pytest.raises(KilledError):
        train(RUN, tmp_path, after(step))
    table = train(RUN, tmp_path)
    assert hashes(tmp_path, RUN) == hashes(undisturbed[0], RUN)
    assert table.to_pylist() == undisturbed[1].to_pylist()


def test_a_training_interrupted_many_times_ends_on_the_same_bits(
    tmp_path: Path, undisturbed: tuple[Path, pa.Table]
) -> None:
    for step in (4, 7, 7, 11):
        with pytest.raises(KilledError):
            train(RUN, tmp_path, after(step))
    table = train(RUN, tmp_path)
    assert hashes(tmp_path, RUN) == hashes(undisturbed[0], RUN)
    assert table.to_pylist() == undisturbed[1].to_pylist()


@pytest.mark.parametrize("which", range(1, REPLACEMENTS + 1))
def test_a_training_killed_before_any_of_its_files_is_in_place_ends_on_the_same_bits(
    which: int, tmp_path: Path, short: tuple[Path, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    put, count = os.replace, 0

    def replace_or_die(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == which:
            raise KilledError
        put(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_or_die)
        with pytest.raises(KilledError):
            train(SHORT, tmp_path)
    table = train(SHORT, tmp_path)
    assert hashes(tmp_path, SHORT) == hashes(short[0], SHORT)
    assert table.to_pylist() == short[1].to_pylist()


def test_a_resumed_training_does_not_start_again(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(RUN, tmp_path, after(9))
    heard: list[float] = []
    train(RUN, tmp_path, heard.append)
    assert [round(share * 12) for share in heard] == [9, 10, 11, 12]


@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"schedule": "one_cycle"}])
def test_other_recipes_resume_too(options: dict[str, Any], tmp_path: Path) -> None:
    run = replace(SHORT, recipe=replace(SHORT.recipe, **options))
    expected = train(run, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(run, tmp_path / "broken", after(3, steps=4))
    assert train(run, tmp_path / "broken").equals(expected)
    assert hashes(tmp_path / "broken", run) == hashes(tmp_path / "whole", run)


def test_the_same_configuration_repeats_to_the_bit(
    tmp_path: Path, short: tuple[Path, pa.Table]
) -> None:
    torch.manual_seed(99)
    table = train(SHORT, tmp_path)
    assert hashes(tmp_path, SHORT) == hashes(short[0], SHORT)
    assert table.equals(short[1])


def test_another_order_starts_from_the_same_network_and_ends_elsewhere(
    tmp_path: Path, short: tuple[Path, pa.Table]
) -> None:
    other = replace(SHORT, seeds=Seeds(order=1))
    train(other, tmp_path)
    one, two = hashes(short[0], SHORT), hashes(tmp_path, other)
    assert one[0] == two[0]
    assert one[4] != two[4]


def test_another_initial_seed_starts_from_another_network(
    tmp_path: Path, short: tuple[Path, pa.Table]
) -> None:
    other = replace(SHORT, seeds=Seeds(init=1))
    train(other, tmp_path)
    assert hashes(short[0], SHORT)[0] != hashes(tmp_path, other)[0]


def test_another_draw_of_labels_starts_from_the_same_network_and_ends_elsewhere(
    tmp_path: Path, short: tuple[Path, pa.Table]
) -> None:
    other = replace(SHORT, seeds=Seeds(labels=1))
    train(other, tmp_path)
    one, two = hashes(short[0], SHORT), hashes(tmp_path, other)
    assert one[0] == two[0]
    assert one[4] != two[4]


def test_storing_more_checkpoints_does_not_change_the_training(
    tmp_path: Path, short: tuple[Path, pa.Table]
) -> None:
    other = replace(SHORT, checkpoints=(0, 1, 2, 3, 4))
    train(other, tmp_path)
    found = hashes(tmp_path, other)
    assert {step: found[step] for step in (0, 2, 4)} == hashes(short[0], SHORT)


def test_a_training_set_smaller_than_a_batch_is_one_batch(tmp_path: Path) -> None:
    run = replace(
        SHORT,
        data=DataConfig(name="digits", train_size=5),
        recipe=Recipe(steps=2, batch_size=8),
        checkpoints=(0, 2),
    )
    found = rows(train(run, tmp_path), mode="running")
    assert [(row["epoch"], row["n"]) for row in found] == [(1.0, 5), (2.0, 5)]
