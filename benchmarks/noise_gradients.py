"""Gradients of independent mini-batches at fixed weights, against a bare loop and against vmap."""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, vmap

from benchmarks.harness import Benchmark, write
from benchmarks.training_loop import random_dataset
from featdyn_engine.domain import NetworkConfig
from featdyn_engine.models import registry
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.science.noise import gradients, independent_batches

# Network, channels, pixels, batch size, draws of each way, draws in one call of vmap.
CASES = (
    ("mlp", 1, 8, 8, 40, 20),
    ("mlp", 1, 8, 64, 40, 20),
    ("mlp", 1, 8, 128, 40, 20),
    ("resnet20", 1, 8, 64, 8, 4),
    ("resnet20", 3, 32, 128, 2, 2),
)


def bare(draws: int = 200, batch_size: int = 128, pixels: int = 32, repeats: int = 3) -> Benchmark:
    """ResNet-20: ours, from raw images to rows, against as many forward and backward passes.

    ``draws``: lower it on a busy machine.
    """
    dataset = random_dataset(4 * batch_size, 3, pixels)
    network = registry.build(NetworkConfig(name="resnet20"), dataset.task).eval()
    fixed = dataset.normalise(dataset.train_images[:batch_size]), dataset.train_labels[:batch_size]

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        stream = torch.Generator().manual_seed(0)
        total = len(dataset.train_labels)
        for chosen in independent_batches(total, batch_size, draws, stream):
            yield dataset.normalise(dataset.train_images[chosen]), dataset.train_labels[chosen]

    def ours() -> Tensor:
        return gradients(network, batches())

    def theirs() -> None:
        for _ in range(draws):
            network.zero_grad()
            F.cross_entropy(network(fixed[0]), fixed[1]).backward()

    return Benchmark(
        name="noise_gradients",
        goal=0.9,
        reference="forward and backward on one resident mini-batch, same network and mode",
        workload={
            "draws": draws,
            "batch_size": batch_size,
            "pixels": pixels,
            "images": draws * batch_size,
            "network": "resnet20",
        },
        ours=ours,
        theirs=theirs,
        repeats=repeats,
    )


def vectorised(network: BlockNetwork, images: Tensor, labels: Tensor, chunk: int) -> Tensor:
    """Return the gradients of ``gradients`` by vmap, ``chunk`` mini-batches at a time: (B, P).

    images: (B, m, C, H, H); labels: (B, m).
    """
    weights = {name: value.detach() for name, value in network.named_parameters()}
    statistics_of = dict(network.named_buffers())

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = functional_call(network, {**values, **statistics_of}, (x,))
        return F.cross_entropy(logits, y)

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    found = []
    for x, y in zip(images.split(chunk), labels.split(chunk), strict=True):
        parts = each(weights, x, y)
        found.append(torch.cat([part.flatten(1) for part in parts.values()], dim=1))
    return torch.cat(found)


def ways(repeats: int = 3) -> dict[str, object]:
    """Images a second by a loop and by vmap, in turn, on networks and sizes of CASES."""
    rows = []
    for name, channels, pixels, size, draws, chunk in CASES:
        dataset = random_dataset(draws * size, channels, pixels)
        network = registry.build(NetworkConfig(name=name), dataset.task).eval()
        images = dataset.normalise(dataset.train_images).unflatten(0, (draws, size))
        labels = dataset.train_labels.unflatten(0, (draws, size))
        loop = _timed(lambda: gradients(network, zip(images, labels, strict=True)))  # noqa: B023
        vectors = _timed(lambda: vectorised(network, images, labels, chunk))  # noqa: B023
        pairs = [(loop(), vectors()) for _ in range(repeats)]
        seconds = [statistics.median(each) for each in zip(*pairs, strict=True)]
        rows.append(
            {
                "network": name,
                "pixels": pixels,
                "batch_size": size,
                "draws": draws,
                "chunk": chunk,
                "loop_images_a_second": round(draws * size / seconds[0]),
                "vmap_images_a_second": round(draws * size / seconds[1]),
            }
        )
    return write("noise_gradients_ways", {"n": repeats, "rows": rows})


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return seconds
