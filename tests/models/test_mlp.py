import pytest
import torch
from torch import nn

from featdyn_engine.domain import InputError, Task
from featdyn_engine.models.registry import build
from tests.models.cases import images, made, network, parameters


@torch.inference_mode()
def test_it_is_linear_layers_with_rectifications_between() -> None:
    mlp, x = made("mlp", width=20, depth=2), images(Task(3, 8, 10))
    features = x.flatten(1)
    for block in (mlp.layer1, mlp.layer2):
        features = (features @ block.linear.weight.T + block.linear.bias).clamp(min=0)
    expected = features @ mlp.head.weight.T + mlp.head.bias
    torch.testing.assert_close(mlp(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm_layer", "each"), [("none", 7), ("batch", 14), ("layer", 21)])
def test_width_and_depth_are_options(norm_layer: str, each: int) -> None:
    # None: a bias; batch: scale and shift in its place; layer: all three.
    mlp = made("mlp", norm_layer, width=7, depth=4)
    assert mlp.block_names == ["layer1", "layer2", "layer3", "layer4", "head"]
    assert parameters(mlp) == 192 * 7 + 3 * 49 + 4 * each + 70 + 10


def test_hidden_layers_start_from_he_s_normal_numbers() -> None:
    mlp = build(network("mlp"), Task(3, 32, 10))
    for block, fan_in in ((mlp[0], 3072), (mlp[1], 512)):
        assert isinstance(block, nn.Sequential)
        std = float(block.get_parameter("linear.weight").detach().std())
        assert std == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
        assert not block.get_parameter("linear.bias").any()


@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True])
@pytest.mark.parametrize("option", ["width", "depth"])
def test_sizes_that_are_no_whole_numbers_are_refused(option: str, value: object) -> None:
    with pytest.raises(
        InputError,
        match=rf"network\.options\.{option}: expected a whole number of at least 1, got {value!r}",
    ):
        made("mlp", **{option: value})
