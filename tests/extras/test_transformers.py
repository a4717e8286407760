"""Recording by Hugging Face's callback, and Hugging Face's checkpoints imported."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from featdyn_engine import checkpoints, importing, learning_rates
from featdyn_engine.factories import VARIABLE
from tests.networks import images_and_labels


def vit(layers: int = 2) -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=4,
            num_channels=1,
            hidden_size=8,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=10,
        )
    )


def items() -> list[dict[str, Tensor]]:
    images, labels = images_and_labels(32)
    return [
        {"pixel_values": image, "labels": label}
        for image, label in zip(images, labels, strict=True)
    ]


def trained(folder: Path, callback: Any, **options: Any) -> Any:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=8,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **{"save_strategy": "no", **options},
    )
    model = vit()
    Trainer(model, arguments, train_dataset=items(), callbacks=[callback]).train()
    return model


def test_a_training_is_recorded_with_its_rates(tmp_path: Path) -> None:
    from featdyn_engine.integrations.transformers import RecorderCallback

    callback = RecorderCallback(home=tmp_path, name="vit", schedule=[2, 4], factory=vit)
    model = trained(tmp_path / "out", callback)
    recorder = callback.recorder
    assert recorder is not None
    assert recorder.config.checkpoints == (0, 2, 4, 8)
    assert recorder.network.block_names == [
        "vit.embeddings",
        "vit.layers.0",
        "vit.layers.1",
        "classifier",
    ]
    assert recorder.config.recipe.batch_size == 8
    assert recorder.config.recipe.optimizer == "adamw"
    # Linear from 1e-2 to 0 in 8 steps: the rate that an update had, not that of the next.
    rates = learning_rates.learning_rates(recorder.config, tmp_path, 8)
    assert rates == pytest.approx([1e-2 * (8 - step) / 8 for step in range(8)])
    recorder.network.load_state_dict(checkpoints.load(recorder.folder, 8))
    images = images_and_labels(4)[0]
    model.eval()
    with torch.inference_mode():
        assert torch.allclose(recorder.network.eval()(images), model(images).logits, atol=1e-6)


def test_the_trainer_s_own_checkpoints_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featdyn_engine.integrations.transformers import RecorderCallback

    monkeypatch.setenv(VARIABLE, "")
    callback = RecorderCallback(home=tmp_path, schedule=[4])
    trained(tmp_path / "out", callback, save_strategy="steps", save_steps=4)
    words = importing.Words(model="tests.extras.test_transformers:vit")
    asked = importing.asked(tmp_path / "out", words, 4, tmp_path)
    run, _ = importing.run_of(asked, tmp_path)
    assert run.checkpoints == (4, 8)
    assert callback.recorder is not None
    for step in (4, 8):
        one = checkpoints.load(checkpoints.run_folder(tmp_path, run.run_id), step)
        other = checkpoints.load(callback.recorder.folder, step)
        assert all(torch.equal(one[key], other[key]) for key in other)
