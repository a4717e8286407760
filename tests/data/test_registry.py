"""What a study asks of any data set: a subset, a permutation, the hash of what was planned."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from featdyn_engine.data import registry
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, Task
from tests.cases import HERE
from tests.data.conftest import forget
from tests.data.tiny import pixels, refused

DIGITS = DataConfig(name="digits")
MADE = DataConfig(name="made")
Deliver = Callable[[Dataset], None]


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(pixels(*shape, seed=seed))


def small(n: int = 12, classes: int = 3) -> Dataset:
    """Uneven classes: the last one has a single training example."""
    train = torch.arange(n) % (classes - 1)
    train[-1] = classes - 1
    names = tuple("abcdefgh"[:classes])
    test = torch.arange(4) % classes
    return Dataset(names, images(n, 3, 4, 4), train, images(4, 3, 4, 4, seed=1), test)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch) -> Deliver:
    """Let the source "made" deliver this data set."""

    def registered(dataset: Dataset) -> None:
        monkeypatch.setitem(registry.DATASETS, "made", lambda config, folder: dataset)
        forget()

    return registered


def multiset(images: Tensor) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in images)


# Pixels, permuted


def test_the_permutation_of_pixels_is_a_bijection() -> None:
    places = torch.arange(64).view(1, 1, 8, 8)
    moved = registry.permuted(places)
    assert sorted(moved.flatten().tolist()) == list(range(64))
    assert not torch.equal(moved, places)


def test_both_splits_and_all_channels_are_permuted_alike(deliver: Deliver) -> None:
    whole = small()
    deliver(whole)
    order = registry.permuted(torch.arange(16).view(1, 1, 4, 4)).flatten()
    found = registry.load(replace(MADE, permute_pixels=True), HERE)
    for before, after in (
        (whole.train_images, found.train_images),
        (whole.test_images, found.test_images),
    ):
        assert torch.equal(after.flatten(2), before.flatten(2)[:, :, order])
    assert torch.equal(found.train_labels, whole.train_labels)


def test_the_permutation_is_the_same_in_every_run() -> None:
    torch.manual_seed(0)
    one = registry.load(replace(DIGITS, permute_pixels=True), HERE).test_images
    forget()
    torch.manual_seed(1)
    other = registry.load(replace(DIGITS, permute_pixels=True), HERE).test_images
    assert torch.equal(one, other)


def test_a_permutation_leaves_the_statistics_of_the_pixels() -> None:
    plain, moved = (
        registry.load(replace(DIGITS, permute_pixels=flag), HERE) for flag in (False, True)
    )
    for one, other in zip(plain.statistics, moved.statistics, strict=True):
        assert torch.equal(one, other)


# Subsets


@pytest.mark.parametrize("size", [10, 500, 1000])
def test_a_balanced_subset_has_equally_many_of_each_class(size: int) -> None:
    dataset = registry.load(replace(DIGITS, train_size=size, balanced=True), HERE)
    assert torch.bincount(dataset.train_labels).tolist() == [size // 10] * 10


def test_a_balanced_subset_does_not_meet_the_classes_in_turn() -> None:
    labels = registry.load(replace(DIGITS, train_size=1000, balanced=True), HERE).train_labels
    # As in any random order one neighbour in ten is of the same class.
    assert 0.05 < float((labels[1:] == labels[:-1]).float().mean()) < 0.15


def test_balanced_subsets_are_nested_and_keep_images_with_their_labels() -> None:
    whole = registry.load(DIGITS, HERE)
    labels = whole.train_labels.tolist()
    label_of = dict(zip((i.numpy().tobytes() for i in whole.train_images), labels, strict=True))
    sets = []
    for size in (100, 400):
        found = registry.load(replace(DIGITS, train_size=size, balanced=True), HERE)
        keys = [image.numpy().tobytes() for image in found.train_images]
        assert [label_of[key] for key in keys] == found.train_labels.tolist()
        assert len(set(keys)) == size
        sets.append(set(keys))
    assert sets[0] < sets[1]


def test_a_subset_of_the_whole_size_is_the_whole_set_in_another_order() -> None:
    whole = registry.load(DIGITS, HERE)
    found = registry.load(replace(DIGITS, train_size=1437), HERE)
    assert multiset(found.train_images) == multiset(whole.train_images)


def test_another_split_seed_draws_another_subset(deliver: Deliver) -> None:
    deliver(small())
    one, other = (
        registry.load(replace(MADE, train_size=6, split_seed=seed), HERE) for seed in (0, 1)
    )
    assert multiset(one.train_images) != multiset(other.train_images)


@pytest.mark.parametrize("size", [4, 6])
def test_a_balanced_subset_that_the_classes_do_not_allow_is_refused(
    size: int, deliver: Deliver
) -> None:
    deliver(small())
    with refused(
        "data.train_size: expected a multiple of 3 up to 3 for a balanced subset of made, got "
        f"{size}"
    ):
        registry.load(replace(MADE, train_size=size, balanced=True), HERE)


def test_a_balanced_subset_needs_a_size() -> None:
    with refused("data.balanced: expected a train_size beside it, got none; add it"):
        registry.load(replace(DIGITS, balanced=True), HERE)


# The hash of a plan


def test_what_is_embedded_has_no_hash() -> None:
    assert registry.identified(DIGITS, HERE) == DIGITS


def test_the_hash_covers_the_whole_set_whatever_the_options(deliver: Deliver) -> None:
    deliver(small())
    config = replace(MADE, train_size=3, balanced=True, permute_pixels=True)
    assert registry.identified(config, HERE) == replace(config, sha256=small().sha256)


def test_other_data_than_those_of_the_plan_are_refused(deliver: Deliver) -> None:
    deliver(small())
    config = registry.identified(MADE, HERE)
    labels = small().train_labels.clone()
    labels[0] = 1
    deliver(replace(small(), train_labels=labels))
    with refused(
        r"data: expected the images and labels that this study was planned with \(sha256 "
        r"\w{12}\.\.\.\), got others \(\w{12}\.\.\.\); put the old files back, or plan a new study"
    ):
        registry.load(config, HERE)


# What a source delivers is held to what networks take


def test_the_task_is_what_the_images_and_classes_say(deliver: Deliver) -> None:
    deliver(small())
    assert registry.load(MADE, HERE).task == Task(channels=3, pixels=4, classes=3)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (
            {"train_images": images(12, 3, 4, 5)},
            "expected square images of at most 96 pixels, grey or in three colours, got 4 x 5 in 3",
        ),
        ({"train_images": images(12, 3, 97, 97)}, "at most 96 pixels, .*, got 97 x 97 in 3"),
        ({"train_images": images(12, 2, 4, 4)}, "grey or in three colours, got 4 x 4 in 2"),
        (
            {"test_images": images(4, 1, 4, 4)},
            r"expected test images of the training images' shape \(3, 4, 4\), got \(1, 4, 4\)",
        ),
        (
            {"test_images": images(0, 3, 4, 4), "test_labels": torch.empty(0, dtype=torch.int64)},
            "expected images in its test split, got none",
        ),
        (
            {"test_labels": torch.tensor([0, 1, 2])},
            "expected a label for each of 4 images in its test split, got 3",
        ),
        (
            {"test_labels": torch.tensor([0, 1, 2, 3])},
            "expected labels from 0 to 2 in its test split, got 3",
        ),
        (
            {"test_labels": torch.tensor([0, 1, 2, -1])},
            "expected labels from 0 to 2 in its test split, got -1",
        ),
    ],
)
def test_data_that_no_network_takes_are_refused(
    change: dict[str, Tensor], pattern: str, deliver: Deliver
) -> None:
    deliver(replace(small(), **change))  # type: ignore[arg-type]
    with refused(f"data made: .*{pattern}"):
        registry.load(MADE, HERE)


def test_a_source_is_read_once_for_all_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[DataConfig, Path]] = []

    def source(config: DataConfig, folder: Path) -> Dataset:
        asked.append((config, folder))
        return small()

    monkeypatch.setitem(registry.DATASETS, "made", source)
    for size in (3, 4, 5):
        registry.load(replace(MADE, train_size=size, title=f"{size} examples"), HERE)
    assert asked == [(MADE, HERE / "data")]
