"""What a recorder takes of a training: its own seconds, and the rest of the same loop."""

import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.optim import SGD

from benchmarks.harness import RESULTS, write
from featdyn_engine.domain import NetworkConfig, Task
from featdyn_engine.models import registry
from featdyn_engine.record import Recorder

CHECKPOINTS = 30
GOAL = 0.98


def _once(steps: int, batch_size: int) -> tuple[float, float, float]:
    """Train for so many steps: seconds of the loop by itself, of the recorder, and to begin."""
    task = Task(channels=3, pixels=32, classes=10)
    model = registry.build(NetworkConfig(name="resnet20"), task)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    stream = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, 3, 32, 32, generator=stream)
    labels = torch.randint(10, (batch_size,), generator=stream)
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        recorder = Recorder(
            model, home=home, schedule=CHECKPOINTS, steps=steps, optimizer=optimizer
        )
        begun = time.perf_counter()
        recording = 0.0
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            before = time.perf_counter()
            recorder.step()
            recording += time.perf_counter() - before
        looped = time.perf_counter() - begun
        recorder.finish()
        stored = len(list(Path(home).glob("runs/*/checkpoints/*.safetensors")))
    assert stored == CHECKPOINTS
    return looped - recording, recording, begun - started


def measure(
    steps: int = 300, batch_size: int = 32, repeats: int = 3, folder: Path = RESULTS
) -> dict[str, object]:
    """Train with a recorder, and divide each loop's time into its own and the recorder's.

    Both in the same steps: what else the machine does slows both alike, where two loops in turn
    would differ by more than what is looked for.
    """
    rounds = [_once(steps, batch_size) for _ in range(repeats)]
    plain, recording, beginning = (statistics.median(each) for each in zip(*rounds, strict=True))
    result: dict[str, object] = {
        "ratio": round(plain / (plain + recording), 4),
        "goal": GOAL,
        "reference": "the same loop without the time inside recorder.step()",
        "workload": {
            "network": "resnet20",
            "steps": steps,
            "batch_size": batch_size,
            "pixels": 32,
            "checkpoints": CHECKPOINTS,
        },
        "seconds": {
            "ours": round(plain + recording, 3),
            "reference": round(plain, 3),
            "recorder": round(recording, 4),
            "finding_blocks": round(beginning, 3),
        },
        "ratios": [round(one / (one + other), 4) for one, other, _ in rounds],
        "n": repeats,
    }
    return write("recorder_overhead", result, folder)
