from dataclasses import replace
from pathlib import Path

import torch

from featdyn_engine.analyses.networks import stored_networks, training_batches, training_images
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import DataConfig, Seeds
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON, state, with_recipe

WIDER = replace(PERCEPTRON, data=DataConfig(name="digits", train_size=600))


def test_networks_are_the_stored_ones_to_look_at(tmp_path: Path) -> None:
    run = replace(PERCEPTRON, checkpoints=(0, 3, 10))
    train(run, tmp_path)
    steps, networks = stored_networks(run, tmp_path)
    assert steps == [0, 3, 10]
    for step, network in zip(steps, networks, strict=True):
        expected = state(tmp_path, run, step)
        assert all(torch.equal(tensor, expected[k]) for k, tensor in network.state_dict().items())
        assert not any(module.training for module in network.modules())
        assert not any(weight.requires_grad for weight in network.parameters())


def test_a_run_that_ended_early_has_the_networks_it_reached(tmp_path: Path) -> None:
    run = with_recipe(stop_at=0.01)
    train(run, tmp_path)
    steps, networks = stored_networks(run, tmp_path)
    assert steps == [0, 1, 2, 3, 4, 5]
    assert len(networks) == 6


def test_training_images_are_drawn_once_from_the_training_set() -> None:
    dataset = data_registry.load(WIDER.data, HERE)
    every = dataset.normalise(dataset.train_images).flatten(1)
    images = training_images(WIDER, HERE, count=40)
    assert images.shape == (40, 1, 8, 8)
    places = [int((every == image).all(dim=1).nonzero()[0]) for image in images.flatten(1)]
    assert len(set(places)) == 40
    # Not the first ones: sources may be sorted by class.
    assert places != sorted(places)
    other = replace(WIDER, seeds=Seeds(init=4, order=5), label_noise=1.0)
    assert torch.equal(training_images(other, HERE, count=40), images)


def test_where_there_are_fewer_images_all_are_taken() -> None:
    assert len(training_images(PERCEPTRON, HERE)) == 44
    assert [len(batch) for batch in training_batches(PERCEPTRON, HERE)] == [44]


def test_mini_batches_have_one_size() -> None:
    batches = training_batches(WIDER, HERE)
    assert [len(batch) for batch in batches] == [250, 250]
    assert torch.equal(torch.cat(batches), training_images(WIDER, HERE)[:500])
