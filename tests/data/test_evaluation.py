from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from featdyn_engine import checkpoints
from featdyn_engine.analyses.asked import Evaluation, evaluation_sets
from featdyn_engine.analyses.splices import Settings
from featdyn_engine.data import evaluation, registry
from featdyn_engine.domain import (
    DataConfig,
    EvalConfig,
    InputError,
    NetworkConfig,
    Recipe,
    RunConfig,
    Seeds,
)
from featdyn_engine.models.registry import build
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.training import train
from tests.cases import DIGITS, HERE

DATA = DataConfig(name="digits", train_size=720)
TRAIN = EvalConfig(data=DATA, split="train", n=60)
TEST = EvalConfig(data=DATA, split="test", n=60)


def test_a_whole_split_comes_in_its_order() -> None:
    dataset = registry.load(DATA, HERE)
    found = evaluation.load(replace(TEST, n=None), HERE)
    assert torch.equal(found.labels, dataset.test_labels)
    assert torch.equal(found.images, dataset.normalise(dataset.test_images))
    assert found.class_names == dataset.class_names


def test_images_of_either_split_are_scaled_by_the_training_set() -> None:
    dataset = registry.load(DATA, HERE)
    for config, images in ((TRAIN, dataset.train_images), (TEST, dataset.test_images)):
        scaled = {image.numpy().tobytes() for image in dataset.normalise(images)}
        assert all(
            image.numpy().tobytes() in scaled for image in evaluation.load(config, HERE).images
        )


def test_a_subset_holds_different_examples_with_their_own_labels() -> None:
    dataset = registry.load(DATA, HERE)
    images = dataset.normalise(dataset.test_images)
    pairs = zip(images, dataset.test_labels.tolist(), strict=True)
    label_of = {image.numpy().tobytes(): label for image, label in pairs}
    found = evaluation.load(TEST, HERE)
    keys = [image.numpy().tobytes() for image in found.images]
    assert len(set(keys)) == len(keys) == 60
    assert [label_of[key] for key in keys] == found.labels.tolist()


def test_a_subset_is_not_simply_the_first_examples() -> None:
    whole = evaluation.load(replace(TEST, n=None), HERE)
    assert not torch.equal(evaluation.load(TEST, HERE).images, whole.images[:60])


def test_smaller_subsets_begin_larger_ones() -> None:
    small, large = evaluation.load(TEST, HERE), evaluation.load(replace(TEST, n=200), HERE)
    assert torch.equal(large.images[:60], small.images)


@pytest.mark.parametrize("config", [TRAIN, TEST, replace(TRAIN, labels="trained_on")])
def test_the_same_configuration_gives_the_same_set(config: EvalConfig) -> None:
    torch.manual_seed(1)
    one = evaluation.load(config, HERE)
    torch.manual_seed(2)
    other = evaluation.load(config, HERE)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
    assert one.sha256 == other.sha256


def test_another_subset_seed_gives_other_examples() -> None:
    other = evaluation.load(replace(TEST, subset_seed=1), HERE)
    assert not torch.equal(other.images, evaluation.load(TEST, HERE).images)
    assert other.sha256 != evaluation.load(TEST, HERE).sha256


def test_the_hash_changes_with_the_labels_alone() -> None:
    noisy = replace(TRAIN, labels="trained_on", label_noise=0.5)
    true = evaluation.load(TRAIN, HERE)
    trained_on = evaluation.load(noisy, HERE)
    assert torch.equal(trained_on.images, true.images)
    assert not torch.equal(trained_on.labels, true.labels)
    assert trained_on.sha256 != true.sha256


def test_the_hash_covers_raw_pixels_so_that_scaling_does_not_matter() -> None:
    other = replace(TEST, data=replace(DATA, train_size=96))
    assert evaluation.load(other, HERE).sha256 == evaluation.load(TEST, HERE).sha256
    assert not torch.equal(evaluation.load(other, HERE).images, evaluation.load(TEST, HERE).images)


def test_noise_is_drawn_before_and_independently_of_the_subset() -> None:
    # Were both drawn from one stream of seed 0, this subset would be exactly the noisy half.
    noisy = replace(TRAIN, n=300, labels="trained_on", label_noise=0.5)
    changed = (
        evaluation.load(noisy, HERE).labels != evaluation.load(replace(TRAIN, n=300), HERE).labels
    )
    assert float(changed.float().mean()) == pytest.approx(0.45, abs=0.08)


def test_the_noisy_label_of_an_example_does_not_depend_on_the_subset() -> None:
    noisy = replace(TRAIN, labels="trained_on", label_noise=1.0)
    whole, part = evaluation.load(replace(noisy, n=None), HERE), evaluation.load(noisy, HERE)
    pairs = zip(whole.images, whole.labels.tolist(), strict=True)
    label_of = {image.numpy().tobytes(): label for image, label in pairs}
    assert [label_of[image.numpy().tobytes()] for image in part.images] == part.labels.tolist()


def test_trained_on_labels_are_those_that_training_saw(tmp_path: Path) -> None:
    run = RunConfig(
        data=DataConfig(name="digits", train_size=48),
        network=NetworkConfig(name="resnet20"),
        recipe=Recipe(steps=3, batch_size=16),
        checkpoints=(0, 3),
        label_noise=0.8,
        seeds=Seeds(labels=5),
    )
    metrics = train(run, tmp_path).to_pylist()
    at_end = [row for row in metrics if row["step"] == 3 and row["mode"] == "eval"]
    scored = next(row for row in at_end if row["split"] == "train")
    settings = Settings(evaluations=(Evaluation(split="train"),))
    (config,) = evaluation_sets(settings, run, HERE)
    examples = evaluation.load(config, HERE)
    network = build(run.network, DIGITS)
    network.load_state_dict(checkpoints.load(checkpoints.run_folder(tmp_path, run.run_id), 3))
    with torch.inference_mode(), cpu_threads(1):
        logits = network.eval()(examples.images).double()
    assert scored["labels"] == "trained_on"
    assert scored["loss"] == pytest.approx(float(F.cross_entropy(logits, examples.labels)))
    assert scored["correct"] == int((logits.argmax(dim=1) == examples.labels).sum())


def test_size_counts_a_subset_and_a_whole_split() -> None:
    assert evaluation.size(TEST, HERE) == 60
    assert evaluation.size(replace(TEST, n=None), HERE) == 360
    assert evaluation.size(replace(TRAIN, n=None), HERE) == 720


@pytest.mark.parametrize(("config", "most"), [(TRAIN, 720), (TEST, 360)])
def test_more_examples_than_the_split_holds_are_refused(config: EvalConfig, most: int) -> None:
    pattern = f"evaluations: expected n of at most {most} .the {config.split} split.*got {most + 1}"
    with pytest.raises(InputError, match=pattern):
        evaluation.load(replace(config, n=most + 1), HERE)
    assert len(evaluation.load(replace(config, n=most), HERE).labels) == most
