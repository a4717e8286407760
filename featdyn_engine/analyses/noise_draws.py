"""Draws of ``noise``: mini-batches, the optimiser's steps from them, features under each step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from featdyn_engine.data import registry as data_registry
from featdyn_engine.data.augmentation import augment
from featdyn_engine.data.labels import noisy_labels
from featdyn_engine.domain import Cut, EvalConfig, RunConfig
from featdyn_engine.identity import NOT_IDENTITY
from featdyn_engine.randomness import generator
from featdyn_engine.science.features import Summary, channel_means, projection
from featdyn_engine.science.noise import (
    gradients,
    independent_batches,
    isotropic_steps,
    moved_features,
    tensor_sizes,
)
from featdyn_engine.science.steps import StepRule, adam_directions

# Hears how much work was done since it last heard, in forward passes of one image.
Heard = Callable[[float], None]
# A gradient costs about three forward passes; features move under the steps and two controls.
GRADIENT_COST, SOURCES = 3.0, 3
# Steps between two words about progress.
STEPS_A_WORD = 10


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One unit of work: a run, an evaluation set, one batch size, at all checkpoints and cuts.

    ``projection``: how many directions features are projected on; None: channel means.
    """

    run: RunConfig
    evaluation: EvalConfig
    steps: tuple[int, ...]
    cuts: tuple[Cut, ...]
    batch_size: int
    step_rule: StepRule
    projection: int | None
    batches: int
    examples: int
    k: int
    seed: int
    memory: int = field(default=4096, metadata=NOT_IDENTITY)

    @property
    def work(self) -> float:
        """Expected work at one checkpoint, in forward passes of one image."""
        moved = SOURCES * self.examples * len(self.cuts)
        return self.batches * (GRADIENT_COST * self.batch_size + moved)


def drawn_gradients(
    spec: Spec, network: nn.Module, step: int, home: Path, heard: Heard = lambda work: None
) -> Tensor:
    """Gradients of independent mini-batches as the run would draw them at a step: (B, P).

    Its labels, label smoothing and augmentation; statistics frozen. Mini-batches of one step are
    the first examples of the same permutations whatever their size, so that sizes are compared on
    the same draws.
    """
    run = spec.run
    dataset = data_registry.load(run.data, home)
    labels = dataset.train_labels
    labels = noisy_labels(labels, run.label_noise, dataset.task.classes, run.seeds.labels)
    device = torch.device(run.device)
    stream = generator("noise batches", spec.seed, step)

    def batch(draw: int, chosen: Tensor) -> tuple[Tensor, Tensor]:
        if draw:
            heard(GRADIENT_COST * spec.batch_size)
        images = dataset.train_images[chosen]
        if run.recipe.augmentation:
            moved = generator("noise augmentation", spec.seed, step, draw)
            images = augment(images, run.recipe.augmentation, moved)
        return dataset.normalise(images.to(device)), labels[chosen].to(device)

    drawn = independent_batches(len(labels), spec.batch_size, spec.batches, stream)
    batches = (batch(draw, chosen) for draw, chosen in enumerate(drawn))
    found = gradients(network, batches, run.recipe.label_smoothing)
    heard(GRADIENT_COST * spec.batch_size)
    return found


def directions(spec: Spec, network: nn.Module, step: int, drawn: Tensor) -> Tensor:
    """Return what the step rule makes of gradients (B, P); steps are -lr times it: (B, P)."""
    if spec.step_rule == "sgd":
        return drawn
    recipe = spec.run.recipe
    if spec.step_rule == "adam" and recipe.weight_decay:
        weights = torch.cat([value.detach().flatten().cpu() for value in network.parameters()])
        drawn = drawn + recipe.weight_decay * weights
    return adam_directions(drawn, step, recipe.betas, recipe.eps)


def summaries(spec: Spec, network: nn.Sequential, image: Tensor) -> dict[int, Summary]:
    """How the features at each depth become rows. ``image``: (1, ...), to learn their size."""
    if spec.projection is None:
        return {cut.depth: channel_means for cut in spec.cuts}
    found = {}
    for cut in spec.cuts:
        with torch.inference_mode():
            size = network[: cut.depth](image).numel()
        found[cut.depth] = projection(size, spec.projection)
    return found


def representation(spec: Spec) -> str:
    """Name how features become rows, in the words of the rows."""
    return "channel_means" if spec.projection is None else f"projection_{spec.projection}"


def feature_noise(
    spec: Spec,
    network: nn.Sequential,
    cut: Cut,
    steps: Tensor,
    images: Tensor,
    step: int,
    summary: Summary,
    heard: Heard,
) -> dict[str, Tensor]:
    """Features of examples under the shallow part of steps and of both controls: (B, E, F) each.

    steps: (B, P), of all parameters, of which the shallow ones come first; images: (E, ...).
    """
    shallow = network[: cut.depth].eval()
    sizes = tensor_sizes(shallow)
    total = sum(sizes)
    steps = steps[:, :total]
    middle = steps.mean(dim=0)
    stream = generator("noise control", spec.seed, step, cut.depth)

    def moved(taken: Tensor) -> Tensor:
        found = []
        for part in taken.split(STEPS_A_WORD):
            found.append(moved_features(shallow, images, part, summary))
            heard(len(part) * len(images))
        return torch.cat(found)

    found = {"sgd": moved(steps)}
    for source, groups in {"global": [total], "tensorwise": sizes}.items():
        found[source] = moved(middle + isotropic_steps(steps - middle, groups, stream))
    return found
