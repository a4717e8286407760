"""torchvision's ResNet-18 in a plain training loop: four lines record it."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from featdyn_engine import api
from featdyn_engine.data import own
from featdyn_engine.record import Recorder
from featdyn_engine.vision import torchvision_models

sys.path.append(str(Path(__file__).parent))
from digits import digits

MEAN, STD = 0.3, 0.35


def resnet18() -> torch.nn.Module:
    """Make the network: what a study, or ``evaluate``, calls to open the run again."""
    model: torch.nn.Module = torchvision_models().resnet18(num_classes=10)
    return model


def main(home: Path) -> str:
    """Train for 12 updates, record, analyse; return the run_id."""
    torch.manual_seed(0)
    train, test = digits(pixels=32, channels=3, train=192, test=60)
    # Pixels are kept, so that they can be corrupted; the loop's own scaling is said beside them.
    data = replace(own.keep(train, test, home / "data"), mean=(MEAN,) * 3, std=(STD,) * 3)
    loader = DataLoader(train, batch_size=32, shuffle=True)
    model = resnet18()
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)

    recorder = Recorder(
        model,
        home=home,
        name="resnet18",
        schedule=4,
        steps=12,
        data=data,
        optimizer=optimizer,
        steps_per_epoch=len(loader),
    )
    for _ in range(2):
        for images, labels in loader:
            optimizer.zero_grad()
            logits = model((images / 255 - MEAN) / STD)
            torch.nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            recorder.step()
    recorder.finish()

    outcome = api.evaluate(
        home,
        recorder.run_id,
        [
            {"kind": "splices", "cuts": ["layer1.1", "layer3.1"]},
            {"kind": "corruptions", "kinds": ["brightness"], "severities": [1], "n": 30},
        ],
        model=resnet18,
        name="resnet18",
    )
    assert not outcome.failures, outcome.failures
    print(f"{recorder.run_id}: blocks {', '.join(recorder.network.block_names)}")
    return recorder.run_id


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else folder))
