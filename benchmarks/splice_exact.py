"""The splice evaluator against the naive one: a hybrid state dict and a plain forward a cell."""

import torch
import torch.nn.functional as F

from benchmarks.harness import Benchmark
from featdyn_engine.domain import NetworkConfig, Task, interior_cuts
from featdyn_engine.models import registry
from featdyn_engine.science.splice import splice_matrix

NAIVE_BATCH = 128
OUR_BATCH = 250


def benchmark(checkpoints: int = 4, images: int = 250, pixels: int = 32) -> Benchmark:
    """All interior cuts of ResNet-20 on random images; weights of ``checkpoints`` other seeds."""
    config = NetworkConfig(name="resnet20")
    task = Task(channels=3, pixels=pixels, classes=10)
    networks = [registry.build(config, task, seed).eval() for seed in range(checkpoints)]
    states = [network.state_dict() for network in networks]
    cuts = interior_cuts(networks[0].block_names)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, 3, pixels, pixels, generator=generator)
    y = torch.randint(10, (images,), generator=generator)
    blocks = list(dict(networks[0].named_children()))
    network = registry.build(config, task).eval()

    @torch.inference_mode()
    def naive() -> list[int]:
        correct = []
        for cut in cuts:
            from_shallow = set(blocks[: cut.depth])
            for shallow in states:
                for deep in states:
                    network.load_state_dict(
                        {
                            key: (shallow if key.split(".")[0] in from_shallow else deep)[key]
                            for key in deep
                        }
                    )
                    hits = 0
                    for images_, labels in zip(
                        x.split(NAIVE_BATCH), y.split(NAIVE_BATCH), strict=True
                    ):
                        logits = network(images_)
                        hits += int((logits.argmax(dim=1) == labels).sum())
                        F.cross_entropy(logits, labels, reduction="sum")
                    correct.append(hits)
        return correct

    def ours() -> list[int]:
        matrices = [splice_matrix(networks, cut.depth, x, y, OUR_BATCH) for cut in cuts]
        return [int(cell) for matrix in matrices for cell in matrix.correct.flatten()]

    return Benchmark(
        name="splice_exact",
        goal=3.3,
        reference="hybrid state dict a cell, plain float32 forward, batch 128, inference mode",
        workload={
            "checkpoints": checkpoints,
            "cuts": len(cuts),
            "images": images,
            "pixels": pixels,
            "rows": checkpoints**2 * len(cuts),
            "network": config.name,
        },
        ours=ours,
        theirs=naive,
    )
