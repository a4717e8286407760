import pytest
import torch
import torch.nn.functional as F

from featdyn_engine.domain import InputError, Task
from featdyn_engine.models.registry import build
from featdyn_engine.models.vit import Attention, Embedding
from tests.models.cases import CIFAR10, made, network, parameters


@pytest.mark.parametrize(
    ("pixels", "patch"), [(32, 4), (28, 4), (8, 1), (96, 12), (1, 1), (7, 1), (64, 8)]
)
def test_a_patch_is_the_divisor_nearest_to_an_eighth(pixels: int, patch: int) -> None:
    with torch.device("meta"):
        vit = build(network("vit_small"), Task(3, pixels, 10))
    embedding = vit[0]
    assert isinstance(embedding, Embedding)
    assert embedding.project.kernel_size == (patch, patch)
    assert embedding.positions.shape == (1, (pixels // patch) ** 2, 192)


@torch.inference_mode()
def test_an_embedding_is_a_matrix_on_each_patch() -> None:
    embedding = Embedding(channels=2, pixels=6, patch=3, width=5)
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    matrix = embedding.project.weight.flatten(1)
    for token, (row, column) in enumerate([(0, 0), (0, 3), (3, 0), (3, 3)]):
        patch = x[0, :, row : row + 3, column : column + 3].flatten()
        expected = matrix @ patch + embedding.project.bias
        torch.testing.assert_close(embedding(x)[0, token], expected)


@torch.inference_mode()
def test_attention_is_that_of_pytorch() -> None:
    attention = Attention(width=12, heads=3)
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    expected, _ = F.multi_head_attention_forward(
        x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1), 12, 3,
        attention.qkv.weight, attention.qkv.bias, None, None, False, 0.0,
        attention.out.weight, attention.out.bias,
    )  # fmt: skip
    torch.testing.assert_close(attention(x), expected.transpose(0, 1), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_without_positions_the_order_of_patches_has_no_meaning() -> None:
    vit = made("vit_small", patch=2, width=24, depth=2)
    tokens = vit[0](torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    deep = vit[1:]
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(deep(tokens[:, order]), deep(tokens), rtol=1e-4, atol=1e-5)
    assert float(vit[0].positions.std()) == pytest.approx(0.02, rel=0.2)


def test_sizes_are_options() -> None:
    vit = made("vit_small", patch=4, width=8, depth=1, heads=2)
    assert vit.block_names == ["embed", "block.0", "head"]
    embed = 3 * 16 * 8 + 8 + 4 * 8
    block = 2 * 2 * 8 + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 32 + 32) + (32 * 8 + 8)
    assert parameters(vit) == embed + block + 16 + 8 * 10 + 10


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"patch": 5}, r"patch: expected a divisor of 32, got 5"),
        ({"patch": 0}, r"patch: expected a whole number of at least 1, got 0"),
        ({"heads": 5}, r"heads: expected a divisor of the width, 192, got 5"),
        ({"width": 1.5}, r"width: expected a whole number of at least 1, got 1\.5"),
        ({"depth": 0}, r"depth: expected a whole number of at least 1, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, object], pattern: str) -> None:
    with pytest.raises(InputError, match=rf"network\.options\.{pattern}"):
        build(network("vit_small", **options), CIFAR10)
