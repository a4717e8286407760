"""The training loop against a bare one, and against a loop over a DataLoader."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness import Benchmark
from featdyn_engine.data.dataset import Dataset
from featdyn_engine.domain import DataConfig, NetworkConfig, Recipe, RunConfig
from featdyn_engine.models import registry
from featdyn_engine.training import Training

SETS = {"digits": (1, 8), "mnist": (1, 28), "cifar10": (3, 32), "stl10": (3, 96)}


def random_dataset(images: int, channels: int, pixels: int) -> Dataset:
    """Return random images and labels of ten classes."""
    stream = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (images, channels, pixels, pixels), generator=stream)
    labels = torch.randint(10, (images,), generator=stream)
    return Dataset(
        class_names=tuple(str(k) for k in range(10)),
        train_images=pictures.to(torch.uint8),
        train_labels=labels,
        test_images=pictures[:10].to(torch.uint8),
        test_labels=labels[:10],
    )


def _config(steps: int, batch_size: int, augmented: bool, threads: int) -> RunConfig:
    recipe = Recipe(
        steps=steps, batch_size=batch_size, augmentation=("crop", "flip") if augmented else ()
    )
    return RunConfig(
        data=DataConfig(name="random"),
        network=NetworkConfig(name="resnet20"),
        recipe=recipe,
        checkpoints=(0, steps),
        threads=threads,
        channels_last=True,
    )


def _ours(config: RunConfig, dataset: Dataset) -> Callable[[], object]:
    def work() -> None:
        with tempfile.TemporaryDirectory() as home:
            training = Training(config, dataset, Path(home))
            for _ in range(config.recipe.steps):
                training.update()

    return work


def _plain(
    config: RunConfig, dataset: Dataset, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]
) -> Callable[[], object]:
    """Forward, backward, step, as in any tutorial, on given batches."""

    def work() -> None:
        network: nn.Module = registry.build(config.network, dataset.task)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        recipe = config.recipe
        optimizer = SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        for images, labels in batches():
            optimizer.zero_grad()
            x = images.contiguous(memory_format=torch.channels_last)
            F.cross_entropy(network(x), labels).backward()
            optimizer.step()

    return work


def bare(
    steps: int = 40, batch_size: int = 128, pixels: int = 32, augmented: bool = True
) -> Benchmark:
    """ResNet-20: our whole loop against the same updates on one resident random mini-batch."""
    dataset = random_dataset(4 * batch_size, 3, pixels)
    config = _config(steps, batch_size, augmented, torch.get_num_threads())
    fixed = dataset.normalise(dataset.train_images[:batch_size]), dataset.train_labels[:batch_size]
    return Benchmark(
        name="training_loop",
        goal=0.95,
        reference="forward, backward, step on one resident mini-batch, same options",
        workload={
            "steps": steps,
            "batch_size": batch_size,
            "pixels": pixels,
            "network": config.network.name,
            "augmentation": "crop, flip",
        },
        ours=_ours(config, dataset),
        theirs=_plain(config, dataset, lambda: (fixed for _ in range(steps))),
    )


def _loader(dataset: Dataset, config: RunConfig, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    from featdyn_engine.vision import torchvision_datasets

    torchvision_datasets()
    from torchvision.transforms import v2 as transforms

    mean, std = (each.flatten().tolist() for each in dataset.statistics)
    pixels = dataset.task.pixels
    transform = transforms.Compose(
        [
            transforms.RandomCrop(pixels, padding=max(pixels // 8, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize(mean, std),
        ]
    )

    class Examples(TensorDataset):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            image, label = super().__getitem__(index)  # type: ignore[no-untyped-call]
            return transform(image), label

    loader = DataLoader(
        Examples(dataset.train_images, dataset.train_labels),
        batch_size=config.recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    done = 0
    while True:
        for images, labels in loader:
            if done == config.recipe.steps:
                return
            done += 1
            yield images, labels


def dataloader(name: str, steps: int, batch_size: int = 128, workers: int = 0) -> Benchmark:
    """ResNet-20 on images of a data set's size: ours against a loop over a DataLoader."""
    channels, pixels = SETS[name]
    dataset = random_dataset(8 * batch_size, channels, pixels)
    config = _config(steps, batch_size, True, torch.get_num_threads())
    config = replace(config, data=DataConfig(name=name))
    return Benchmark(
        name=f"training_loop_{name}",
        goal=1.0,
        reference=f"DataLoader ({workers} workers) with torchvision's transforms, same updates",
        workload={
            "steps": steps,
            "batch_size": batch_size,
            "pixels": pixels,
            "network": config.network.name,
            "augmentation": "crop, flip",
        },
        ours=_ours(config, dataset),
        theirs=_plain(config, dataset, lambda: _loader(dataset, config, workers)),
    )
