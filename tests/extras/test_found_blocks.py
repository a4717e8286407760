"""Blocks of networks as they are in use: torchvision's, timm's and Hugging Face's."""

from typing import Any

import pytest

from featdyn_engine.models.found_blocks import divided, keys


def torchvision(name: str, **options: Any) -> Any:
    from featdyn_engine.vision import torchvision_models

    return getattr(torchvision_models(), name)(num_classes=10, **options)


def timm(name: str) -> Any:
    import timm

    return timm.create_model(name, num_classes=10)


def resnet_of_hugging_face() -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]}
    return ResNetForImageClassification(ResNetConfig(**sizes, layer_type="basic", num_labels=10))


CASES = [
    ("resnet18", lambda: torchvision("resnet18"), 64, 10, "layer4.1"),
    ("mobilenet_v2", lambda: torchvision("mobilenet_v2"), 32, 20, "features.3.conv"),
    ("densenet121", lambda: torchvision("densenet121"), 64, 9, "features.denseblock4"),
    ("convnext_atto", lambda: timm("convnext_atto"), 64, 17, "stages.3.blocks.1"),
    ("resnet10t", lambda: timm("resnet10t"), 64, 8, "layer4.0"),
    ("hugging face", resnet_of_hugging_face, 32, 4, "resnet.encoder.stages.1.layers.0"),
]


@pytest.mark.parametrize(("name", "make", "pixels", "least", "block"), CASES)
def test_blocks_are_found_and_proved(
    name: str, make: Any, pixels: int, least: int, block: str
) -> None:
    model = make()
    network = divided(model, (3, pixels, pixels))
    assert len(network) >= least
    assert block in network.block_names
    assert set(keys(model, network).values()) == set(model.state_dict())
