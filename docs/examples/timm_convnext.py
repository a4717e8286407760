"""timm's ConvNeXt-Atto in a plain loop, its blocks named instead of found."""

import sys
import tempfile
from pathlib import Path

import torch

from featdyn_engine import api
from featdyn_engine.record import Recorder
from featdyn_engine.vision import torchvision_models

# First: what follows imports torchvision, whose compiled part a CPU build of torch may lack.
torchvision_models()
import timm

sys.path.append(str(Path(__file__).parent))
from digits import digits, scaled

BLOCKS = ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]


def convnext() -> torch.nn.Module:
    """Make the network, with random weights."""
    model: torch.nn.Module = timm.create_model("convnext_atto", num_classes=10)
    return model


def main(home: Path) -> str:
    """Train for 8 updates, record, analyse; return the run_id."""
    torch.manual_seed(0)
    train, test = (scaled(each) for each in digits(pixels=32, channels=3, train=128, test=60))
    model = convnext()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    options = {"schedule": [1, 3, 8], "data": (train, test), "steps_per_epoch": 4}
    with Recorder(model, home=home, name="convnext", blocks=BLOCKS, **options) as recorder:
        for update in range(8):
            images, labels = train[update % 4 * 32 : update % 4 * 32 + 32]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            recorder.step(optimizer.param_groups[0]["lr"])
    asked = [{"kind": "splices"}, {"kind": "displacement", "n": 40}]
    outcome = api.evaluate(home, recorder.run_id, asked, model=convnext, name="convnext")
    assert not outcome.failures, outcome.failures
    return recorder.run_id


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(main(Path(sys.argv[1] if len(sys.argv) > 1 else folder)))
