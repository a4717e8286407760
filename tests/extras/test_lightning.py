"""Recording by Lightning's callback, with schedulers, accumulated gradients and interruptions."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from featdyn_engine import checkpoints, learning_rates
from tests.networks import Net, images_and_labels


def fitted(home: Path, callback: Any, stop_at: int | None = None, **options: Any) -> Any:
    from lightning.pytorch import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = Net()

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.model(images)
            return out

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
            if stop_at is not None and self.global_step == stop_at:
                raise ZeroDivisionError
            return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.1)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    module = Module()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[callback],
        enable_checkpointing=False,
        default_root_dir=home,
        **{"max_epochs": 2, **quiet, **options},
    )
    trainer.fit(module, DataLoader(TensorDataset(*images_and_labels(40)), batch_size=8))
    return module


def test_a_training_is_recorded_with_its_rates(tmp_path: Path) -> None:
    from featdyn_engine.integrations.lightning import RecorderCallback

    callback = RecorderCallback(home=tmp_path, name="lit", schedule=4)
    module = fitted(tmp_path, callback)
    recorder = callback.recorder
    assert recorder is not None
    assert recorder.config.checkpoints == (0, 1, 3, 10)
    assert [each.epoch for each in checkpoints.listing(recorder.folder)] == [0, 0.2, 0.6, 2]
    assert recorder.network.block_names == ["model.first", "model.second", "model.head"]
    assert recorder.config.recipe.optimizer == "sgd"
    held = learning_rates.load(recorder.folder)
    assert [step for step, _ in held] == [0, 4, 8]
    assert [rate for _, rate in held] == pytest.approx([0.1, 0.01, 0.001])
    stored = checkpoints.load(recorder.folder, 10)
    assert torch.equal(stored["model_head.weight"], module.model.head.weight)


def test_the_network_within_a_module_and_accumulated_gradients(tmp_path: Path) -> None:
    from featdyn_engine.integrations.lightning import RecorderCallback

    callback = RecorderCallback(network="model", home=tmp_path, schedule=[2])
    fitted(tmp_path, callback, accumulate_grad_batches=2)
    recorder = callback.recorder
    assert recorder is not None
    assert recorder.config.checkpoints == (0, 2, 6)
    assert recorder.network.block_names == ["first", "second", "head"]


def test_an_interrupted_training_is_a_run(tmp_path: Path) -> None:
    from featdyn_engine.integrations.lightning import RecorderCallback

    callback = RecorderCallback(home=tmp_path, schedule=[2, 4, 8])
    with pytest.raises(ZeroDivisionError):
        fitted(tmp_path, callback, stop_at=5)
    recorder = callback.recorder
    assert recorder is not None
    config = checkpoints.configuration(recorder.folder)
    assert config is not None
    assert config.checkpoints == (0, 2, 4)
