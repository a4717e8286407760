"""Optimisers: torch.optim's own, to the bit; Muon's update is orthogonal; states come back."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import InputError, NetworkConfig, Recipe, RunConfig
from featdyn_engine.models.registry import build as build_network
from featdyn_engine.randomness import generator
from featdyn_engine.recipes import optimizers
from featdyn_engine.training import train
from tests.cases import DIGITS, HERE
from tests.recipes.runs import (
    PER_EPOCH,
    PERCEPTRON,
    KilledError,
    equal,
    hashes,
    kill_after,
    state,
    with_recipe,
)

Parameters = Iterable[nn.Parameter]
BY_HAND: dict[str, tuple[RunConfig, Callable[[Parameters], Optimizer]]] = {
    "sgd": (
        with_recipe(lr=0.05, momentum=0.8, weight_decay=0.01),
        lambda weights: SGD(weights, lr=0.05, momentum=0.8, weight_decay=0.01),
    ),
    "plain sgd": (
        with_recipe(lr=0.05, momentum=0.0, weight_decay=0.0),
        lambda weights: SGD(weights, lr=0.05),
    ),
    "nesterov": (
        with_recipe(lr=0.05, nesterov=True),
        lambda weights: SGD(weights, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    ),
    "adam": (
        with_recipe(optimizer="adam", lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.02),
        lambda weights: Adam(weights, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.02),
    ),
    "adamw": (
        with_recipe(optimizer="adamw", lr=0.01, weight_decay=0.1),
        lambda weights: AdamW(weights, lr=0.01, weight_decay=0.1),
    ),
}


def plain_loop(
    run: RunConfig, make: Callable[[Parameters], Optimizer], smoothing: float, clip: float | None
) -> dict[str, Tensor]:
    """Train as one would by hand; return the final state dict."""
    data = data_registry.load(run.data, HERE)
    network = build_network(run.network, DIGITS, run.seeds.init).train()
    optimizer = make(network.parameters())
    for step in range(run.recipe.steps):
        epoch, position = divmod(step, PER_EPOCH)
        order = torch.randperm(44, generator=generator("order", run.seeds.order, epoch))
        chosen = order[position * 8 : position * 8 + 8]
        logits = network(data.normalise(data.train_images[chosen]))
        loss = F.cross_entropy(logits, data.train_labels[chosen], label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize("name", BY_HAND)
def test_a_loop_by_hand_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    run, make = BY_HAND[name]
    train(run, tmp_path)
    assert equal(state(tmp_path, run, 10), plain_loop(run, make, 0.0, None))


def test_label_smoothing_and_clipping_are_those_of_a_loop_by_hand(tmp_path: Path) -> None:
    run = with_recipe(label_smoothing=0.1, clip_norm=0.5)
    train(run, tmp_path)
    make = BY_HAND["sgd"][1]
    expected = plain_loop(run, lambda w: SGD(w, lr=0.05, momentum=0.9, weight_decay=1e-4), 0.1, 0.5)
    assert equal(state(tmp_path, run, 10), expected)
    assert not equal(expected, plain_loop(run, make, 0.1, None))


def one_update(clip_norm: float | None, tmp_path: Path) -> float:
    """2-norm of the first update of plain SGD with a learning rate of 1."""
    run = with_recipe(steps=1, lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=clip_norm)
    train(run, tmp_path)
    before, after = state(tmp_path, run, 0), state(tmp_path, run, 1)
    names = [name for name, _ in build_network(run.network, DIGITS).named_parameters()]
    return float(sum((after[name] - before[name]).square().sum() for name in names) ** 0.5)


def test_clipping_bounds_the_update(tmp_path: Path) -> None:
    assert one_update(None, tmp_path) > 0.2
    assert one_update(0.1, tmp_path) == pytest.approx(0.1, rel=1e-4)


MUON = Recipe(steps=4, batch_size=8, optimizer="muon", lr=0.1, momentum=0.0, weight_decay=0.0)


def kernels(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 12, 1), nn.Flatten(), nn.Linear(12, 2)
    )


def give_gradients(network: nn.Sequential, seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.grad = torch.randn(weight.shape, generator=stream)


def stepped(
    network: nn.Sequential, memory: torch.memory_format, seeds: Iterable[int] = (1,)
) -> Any:
    network.to(memory_format=memory)  # type: ignore[call-overload]
    built = optimizers.build(MUON, network)
    for seed in seeds:
        give_gradients(network, seed)
        for optimizer in built:
            optimizer.step()
    return built


def test_muon_moves_hidden_kernels_by_an_orthogonal_matrix() -> None:
    network = kernels()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stepped(network, torch.contiguous_format)
    for name in ("1.weight", "2.weight"):
        weight = network.state_dict()[name]
        # Scaled to the size of AdamW's steps: 0.2 times the root of the longer side.
        scale = MUON.lr * 0.2 * max(weight.flatten(1).shape) ** 0.5
        update = (before[name] - weight).flatten(1) / scale
        values = torch.linalg.svdvals(update.double())
        # Five Newton-Schulz iterations in bfloat16 bring them between 0.7 and 1.2, not to 1.
        assert values.min() > 0.6
        assert values.max() < 1.3
    for name in ("0.weight", "1.bias", "4.weight"):
        # AdamW's first step is lr times the sign.
        moved = (before[name] - network.state_dict()[name]).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, MUON.lr), rtol=1e-3, atol=0)


def test_muon_gives_weights_in_channels_last_the_same_update() -> None:
    one, other = kernels(), kernels()
    stepped(one, torch.contiguous_format)
    stepped(other, torch.channels_last)
    assert not other[1].weight.is_contiguous()
    for name, tensor in one.state_dict().items():
        # Orthogonalised in bfloat16, whose sums depend on the order of columns.
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0.01)


def test_muon_refuses_a_network_without_hidden_weights() -> None:
    with pytest.raises(InputError, match="expected a network with weights between"):
        optimizers.build(MUON, nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))


def test_every_parameter_belongs_to_one_optimiser() -> None:
    network = build_network(NetworkConfig(name="resnet20"), DIGITS)
    muon, adamw = optimizers.build(MUON, network)
    of_muon = {id(weight) for weight in muon.weights}  # type: ignore[attr-defined]
    of_adamw = {id(weight) for group in adamw.param_groups for weight in group["params"]}
    assert not of_muon & of_adamw
    assert of_muon | of_adamw == {id(weight) for weight in network.parameters()}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_a_state_comes_back_as_it_was(name: str) -> None:
    recipe = Recipe(steps=4, optimizer=name, lr=0.01)  # type: ignore[arg-type]

    def steps(network: nn.Sequential, built: list[Optimizer], seeds: Iterable[int]) -> None:
        for seed in seeds:
            give_gradients(network, seed)
            for optimizer in built:
                optimizer.step()

    whole = kernels()
    steps(whole, optimizers.build(recipe, whole), (1, 2, 3, 4))
    first, second = kernels(), kernels(seed=5)
    built = optimizers.build(recipe, first)
    steps(first, built, (1, 2))
    remembered = {key: tensor.clone() for key, tensor in optimizers.state(built).items()}
    second.load_state_dict(first.state_dict())
    again = optimizers.build(recipe, second)
    optimizers.load_state(again, remembered)
    assert equal(optimizers.state(again), remembered)
    steps(second, again, (3, 4))
    assert equal(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "nesterov"])
def test_a_training_resumes_on_the_same_bits(name: str, tmp_path: Path) -> None:
    options = {"nesterov": True} if name == "nesterov" else {"optimizer": name, "lr": 0.01}
    run = with_recipe(**options)
    train(run, tmp_path / "whole")
    for step in (3, 7):
        with pytest.raises(KilledError):
            train(run, tmp_path / "broken", kill_after(step))
    train(run, tmp_path / "broken")
    assert hashes(tmp_path / "broken", run) == hashes(tmp_path / "whole", run)


def test_the_runs_by_hand_differ_from_each_other() -> None:
    assert len({run.run_id for run, _ in BY_HAND.values()} | {PERCEPTRON.run_id}) == 6
