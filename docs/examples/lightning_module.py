"""A Lightning module: one callback records it; its own checkpoints can be imported as well."""

import sys
import tempfile
from pathlib import Path

import torch

from featdyn_engine.vision import torchvision_models

# First: what follows imports torchvision, whose compiled part a CPU build of torch may lack.
torchvision_models()
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from featdyn_engine import api, importing
from featdyn_engine.integrations.lightning import RecorderCallback

sys.path.append(str(Path(__file__).parent))
from digits import digits, scaled


def network() -> nn.Module:
    """Make the network within the module."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )


class Classifier(LightningModule):
    """Cross-entropy, Adam and a cosine."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.model(images), labels)

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.Adam(self.parameters(), 1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main(home: Path) -> str:
    """Train for 60 updates, record, analyse, import Lightning's files; return the run_id."""
    seed_everything(0, verbose=False)
    train, test = (scaled(each) for each in digits(pixels=8, channels=1, train=640, test=200))
    recorder = RecorderCallback(
        network="model", home=home, name="lightning", schedule=10, data=(train, test)
    )
    with tempfile.TemporaryDirectory() as folder:
        own = ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=20)
        trainer = Trainer(
            max_epochs=3,
            accelerator="cpu",
            callbacks=[recorder, own],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(), DataLoader(train, batch_size=32, shuffle=True))
        words = importing.Words(model=f"{__name__}:network", name="from Lightning's files")
        imported, _ = importing.run_of(importing.asked(Path(folder), words, 20, home), home)
    assert recorder.recorder is not None
    run_id = recorder.recorder.run_id
    asked = [{"kind": "splices"}, {"kind": "displacement"}]
    for name, run in (("lightning", run_id), ("lightning_files", imported.run_id)):
        outcome = api.evaluate(home, run, asked, model=network, data=(train, test), name=name)
        assert not outcome.failures, outcome.failures
    return run_id


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(main(Path(sys.argv[1] if len(sys.argv) > 1 else folder)))
