"""The splice evaluator against the naive one: a hybrid state dict and a plain forward a cell.

The naive evaluator's time is the same for every cell of a cut; of large cubes it does a fixed
sample of cells, evenly spread, and is counted as if it had done all (``sampled`` in the workload).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Benchmark
from featdyn_engine import study
from featdyn_engine.analyses.networks import stored_networks
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import InputError, NetworkConfig, Task, interior_cuts
from featdyn_engine.models import registry
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.science.execution import SAMPLE, placed, prepared
from featdyn_engine.science.refinement import refined_cube
from featdyn_engine.science.splice import MEMORY, splice_cube
from store.home import home_from_environment

NAIVE_BATCH = 128
OUR_BATCH = 250
REFERENCE = "hybrid state dict a cell, plain float32 forward, batch 128, inference mode"
CPU = torch.device("cpu")
CIFAR_STUDY = Path(__file__).parents[1] / "studies" / "cifar10_ten_epochs.toml"


class Cell(NamedTuple):
    """Where a cell lies in a cube."""

    depth: int
    s: int
    t: int


class Case(NamedTuple):
    """T networks and N examples."""

    networks: Sequence[BlockNetwork]
    images: Tensor
    labels: Tensor


def random_case(checkpoints: int, images: int, pixels: int) -> Case:
    """ResNet-20 with the initial weights of several seeds, on random images."""
    task = Task(channels=3, pixels=pixels, classes=10)
    config = NetworkConfig(name="resnet20")
    networks = [registry.build(config, task, seed).eval() for seed in range(checkpoints)]
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(images, 3, pixels, pixels, generator=stream)
    return Case(networks, x, torch.randint(10, (images,), generator=stream))


def trained_case() -> Case:
    """Load the stored networks of the CIFAR-10 study and its whole test set, 10,000 images.

    Raises InputError where the study has not been run.
    """
    home = home_from_environment()
    run = study.read(CIFAR_STUDY, home).runs[0].config
    steps, networks = stored_networks(run, home)
    if len(steps) < len(run.checkpoints):
        raise InputError(
            f"splice_anytime: expected the finished study {CIFAR_STUDY.name} in {home}, got "
            f"{len(steps)} of {len(run.checkpoints)} checkpoints; run `featdyn run {CIFAR_STUDY}`"
        )
    dataset = data_registry.load(run.data, home)
    return Case(networks, dataset.normalise(dataset.test_images), dataset.test_labels)


@torch.inference_mode()
def naive(
    case: Case, cells: Sequence[Cell], batch_size: int = NAIVE_BATCH, device: torch.device = CPU
) -> list[Tensor]:
    """Predictions (N,) of each cell, the plain way."""
    images, labels = case.images.to(device), case.labels.to(device)
    states = [network.state_dict() for network in case.networks]
    blocks = list(dict(case.networks[0].named_children()))
    task = Task(3, case.images.shape[-1], 10)
    network = registry.build(NetworkConfig(name="resnet20"), task).eval().to(device)
    predictions = []
    for cell in cells:
        shallow = set(blocks[: cell.depth])
        network.load_state_dict(
            {
                key: states[cell.s if key.split(".")[0] in shallow else cell.t][key]
                for key in states[cell.t]
            }
        )
        found = []
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            logits = network(x)
            F.cross_entropy(logits, y, reduction="sum")
            found.append(logits.argmax(dim=1))
        predictions.append(torch.cat(found))
    return predictions


def all_cells(depths: Sequence[int], size: int) -> list[Cell]:
    """Return the cells of ``size`` networks at each depth."""
    return [Cell(depth, s, t) for depth in depths for s in range(size) for t in range(size)]


def spread(cells: list[Cell], most: int) -> list[Cell]:
    """Return a sample of at most ``most`` cells, evenly spread."""
    # A stride that shares no factor with the rows of a matrix meets every s and t.
    stride = max(len(cells) // most, 1)
    return cells[:: stride + 1 if stride % 10 == 0 else stride][:most]


def exact(
    checkpoints: int = 10, images: int = 1000, pixels: int = 32, dtype: str = "float32",
    naive_cells: int = 50,
) -> Benchmark:  # fmt: skip
    """All interior cuts of ResNet-20 on random images; weights of ``checkpoints`` other seeds."""
    case = random_case(checkpoints, images, pixels)
    cuts = interior_cuts(case.networks[0].block_names)
    depths = [cut.depth for cut in cuts]
    cells = all_cells(depths, checkpoints)
    sampled = spread(cells, naive_cells)
    places = {depth: d for d, depth in enumerate(depths)}

    def ours() -> list[int]:
        x = placed(case.images, CPU, dtype)
        sample = placed(case.images[:SAMPLE], CPU)
        fast = [prepared(network, sample, dtype) for network in case.networks]
        cube = splice_cube(fast, fast, depths, x, case.labels, OUR_BATCH)
        correct = cube.correct(case.labels)
        return [int(correct[places[cell.depth], cell.s, cell.t]) for cell in sampled]

    def theirs() -> list[int]:
        return [int((found == case.labels).sum()) for found in naive(case, sampled)]

    return Benchmark(
        name="splice_exact" if dtype == "float32" else "splice_bf16",
        goal=3.3 if dtype == "float32" else 6.0,
        reference=REFERENCE,
        workload={
            "rows": len(cells),
            "sampled": len(sampled),
            "checkpoints": checkpoints,
            "cuts": len(cuts),
            "images": images,
            "pixels": pixels,
            "network": "resnet20",
            "dtype": dtype,
        },
        ours=ours,
        theirs=theirs,
        scale=len(cells) / len(sampled),
        repeats=1,
    )


def bf16() -> Benchmark:
    """Run ``exact`` in bfloat16; on a tenth of the images where the processor emulates it."""
    native = "AVX512" in torch.backends.cpu.get_cpu_capability()
    return exact(images=1000 if native else 100, dtype="bfloat16")


@torch.inference_mode()
def _agreement(networks: Sequence[BlockNetwork], images: Tensor, dtype: str) -> float:
    """Share of equal answers of the networks as they are and as ``prepared``, over all of them."""
    placed_images = placed(images, CPU, dtype)
    sample = placed(images[:SAMPLE], CPU)
    same = [
        network(images).argmax(dim=1)
        == prepared(network, sample, dtype)(placed_images).argmax(dim=1)
        for network in networks
    ]
    return round(float(torch.stack(same).double().mean()), 5)


def anytime(
    case: Callable[[], Case] = trained_case,
    cuts: Sequence[str] = ("stage1.2", "stage2.2", "stage3.1"),
    target: float = 0.01,
    naive_cells: int = 3,
    dtype: str = "float32",
) -> Benchmark:
    """Trained networks on the whole test set: each cell to +- ``target`` against a census.

    Refined cells have no answer to every example, so ``agreement`` is that of the plain networks
    with the prepared ones, on 1,000 examples.
    """
    networks, images, labels = case()
    names = networks[0].block_names
    depths = [names.index(cut) + 1 for cut in cuts]
    cells = all_cells(depths, len(networks))
    sampled = spread(cells, naive_cells)
    workload: dict[str, int | float | str] = {
        "rows": len(cells),
        "sampled": len(sampled),
        "checkpoints": len(networks),
        "cuts": len(cuts),
        "images": len(images),
        "pixels": images.shape[-1],
        "network": "resnet20",
        "dtype": dtype,
        "half_width": target,
        "agreement": _agreement(networks, images[:1000], dtype),
    }

    def ours() -> None:
        sample = placed(images[:SAMPLE], CPU)
        fast = [prepared(network, sample, dtype) for network in networks]
        cube, _, half_width = refined_cube(
            fast, depths, placed(images, CPU, dtype), labels, OUR_BATCH, target, MEMORY
        )
        size = len(networks)
        off = ~torch.eye(size, dtype=torch.bool).expand_as(half_width)
        own = cube.predicted[:, range(size), range(size)]
        changed = 1 - cube.agreement(own)
        workload["mean_n"] = round(float(cube.n[off].double().mean()))
        for share in (0.25, 0.5, 0.75):
            percent = float(changed[off].quantile(share))
            workload[f"disagreement_quantile_{share}"] = round(percent, 4)
        workload["largest_half_width"] = round(float(half_width.max()), 4)

    return Benchmark(
        name="splice_anytime" if dtype == "float32" else "splice_anytime_bf16",
        goal=8.0 if dtype == "float32" else 15.0,
        reference=f"{REFERENCE}, on all images",
        workload=workload,
        ours=ours,
        theirs=lambda: naive(Case(networks, images, labels), sampled),
        scale=len(cells) / len(sampled),
        repeats=1,
    )
