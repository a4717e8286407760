"""A Hugging Face ViT, trained by Trainer: one callback records it."""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from featdyn_engine import api
from featdyn_engine.vision import torchvision_models

# First: what follows imports torchvision, whose compiled part a CPU build of torch may lack.
torchvision_models()
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from featdyn_engine.integrations.transformers import RecorderCallback

sys.path.append(str(Path(__file__).parent))
from digits import digits, scaled


def vit() -> ViTForImageClassification:
    """Make the network: two layers of 48 units, on images of 16 pixels."""
    return ViTForImageClassification(
        ViTConfig(
            image_size=16,
            patch_size=4,
            num_channels=1,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            num_labels=10,
        )
    )


class Items(Dataset[dict[str, Tensor]]):
    """Examples as Trainer takes them."""

    def __init__(self, split: torch.utils.data.TensorDataset) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image, label = self.split[index]
        return {"pixel_values": image, "labels": label}


def main(home: Path) -> str:
    """Train for 200 updates, record, analyse; return the run_id."""
    set_seed(0)
    train, test = (
        Items(scaled(each)) for each in digits(pixels=16, channels=1, train=640, test=200)
    )
    recorder = RecorderCallback(home=home, name="vit", schedule=12, data=(train, test), factory=vit)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=200,
            per_device_train_batch_size=32,
            learning_rate=2e-3,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        Trainer(vit(), arguments, train_dataset=train, callbacks=[recorder]).train()
    assert recorder.recorder is not None
    run_id = recorder.recorder.run_id
    sets = [{"split": "train", "n": 200}, {"split": "test"}]
    asked = [{"kind": "splices", "evaluations": sets}, {"kind": "consistency", "resamples": 200}]
    outcome = api.evaluate(home, run_id, asked, model=vit, name="vit")
    assert not outcome.failures, outcome.failures
    return run_id


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(main(Path(sys.argv[1] if len(sys.argv) > 1 else folder)))
