"""torchvision's ViT-B/16: a folder of ``.pt`` state dicts, imported by the command line."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from featdyn_engine import api
from featdyn_engine.vision import torchvision_models

sys.path.append(str(Path(__file__).parent))
from digits import digits, scaled


def vit_b_16() -> torch.nn.Module:
    """Make the network, for images of 32 pixels."""
    model: torch.nn.Module = torchvision_models().vit_b_16(image_size=32, num_classes=10)
    return model


def main(home: Path) -> str:
    """Save two states, import them, splice them; return the run_id."""
    torch.manual_seed(0)
    train, test = (scaled(each) for each in digits(pixels=32, channels=3, train=16, test=8))
    model = vit_b_16()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model.state_dict(), Path(folder) / "vit_step0.pt")
        images, labels = train[:]
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        torch.save({"state_dict": model.state_dict()}, Path(folder) / "vit_step1.pt")

        command = [sys.executable, "-m", "featdyn_engine", "import", folder]
        command += ["--model", "import_vit_b_16:vit_b_16", "--pattern", "vit_step{step}.pt"]
        command += ["--home", str(home), "--shape", "3x32x32", "--name", "vit_b_16"]
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})

    run_id = next(home.glob("runs/*/config.json")).parent.name
    outcome = api.evaluate(
        home,
        run_id,
        [{"kind": "splices", "cuts": ["encoder.layers.encoder_layer_5"]}],
        model=vit_b_16,
        data=(train, test),
        name="vit_b_16",
    )
    assert not outcome.failures, outcome.failures
    return run_id


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(main(Path(sys.argv[1] if len(sys.argv) > 1 else folder)))
