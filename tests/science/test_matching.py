import copy
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.domain import NetworkConfig
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.registry import build
from featdyn_engine.science.matching import (
    ChannelCorrelation,
    channel_correlation,
    channels_last_rows,
    matched_order,
    permute_channels,
)
from tests.cases import DIGITS

CUTS = range(1, 11)  # ResNet-20: stem, nine blocks, head


class Reordered(nn.Module):
    """Channel i becomes channel order[i] of a feature map. (N, C, H, W) to the same."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.order]


def permuted_copy(network: BlockNetwork, depth: int, order: Tensor) -> BlockNetwork:
    """The same function, to the bit, with the channels at a cut in another order.

    Behind the cut, channel i is channel order[i] of ``network``; the next block puts it back.
    """
    blocks = copy.deepcopy(dict(zip(network.block_names, network, strict=True)))
    before, after = network.block_names[depth - 1], network.block_names[depth]
    blocks[before] = nn.Sequential(blocks[before], Reordered(order))
    blocks[after] = nn.Sequential(Reordered(order.argsort()), blocks[after])
    return BlockNetwork(blocks).train(network.training)


def with_permuted_weights(network: BlockNetwork, order: Tensor) -> BlockNetwork:
    """A copy whose weights carry the permutation through the stem and all of stage 1.

    Their channels are one residual stream, so that they can only be permuted together; stage 2
    is as it was, so only cuts up to depth 4 make sense.
    """
    state = copy.deepcopy(network.state_dict())
    outgoing = ["stem.conv.weight", *(f"stage1_{i}.conv2.weight" for i in range(3))]
    norms = ["stem.norm", *(f"stage1_{i}.norm2" for i in range(3))]
    for name in outgoing + [key for key in state if key.rpartition(".")[0] in norms]:
        if state[name].ndim:  # num_batches_tracked is one number
            state[name] = state[name][order]
    for i in range(3):
        state[f"stage1_{i}.conv1.weight"] = state[f"stage1_{i}.conv1.weight"][:, order]
    result = copy.deepcopy(network)
    result.load_state_dict(state)
    return result


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shuffled(channels: int, seed: int = 0) -> Tensor:
    return torch.randperm(channels, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network() -> BlockNetwork:
    """Untrained, with running statistics of its own."""
    made = build(NetworkConfig(name="resnet20"), DIGITS, seed=3)
    with torch.no_grad():
        for seed in range(4):
            made(images(seed))
    return made.eval()


def images(seed: int) -> Tensor:
    return features(48, 1, 8, 8, seed=seed)


def test_rows_are_the_positions_of_the_examples() -> None:
    maps = features(2, 3, 4, 5)
    rows = channels_last_rows(maps)
    assert rows.shape == (40, 3)
    assert torch.equal(rows[1 * 20 + 2 * 5 + 4], maps[1, :, 2, 4])
    tokens = features(2, 4, 3)
    assert torch.equal(channels_last_rows(tokens)[1 * 4 + 2], tokens[1, 2])
    vectors = features(6, 3)
    assert torch.equal(channels_last_rows(vectors), vectors)


def test_rows_don_t_depend_on_the_memory_format() -> None:
    maps = features(2, 3, 4, 5)
    turned = maps.to(memory_format=torch.channels_last)
    assert torch.equal(channels_last_rows(turned), channels_last_rows(maps))


@pytest.mark.parametrize("shape", [(5,), (1, 2, 3, 4, 5)])
def test_other_shapes_have_no_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"expected 2, 3 or 4 dimensions, got {len(shape)}"):
        channels_last_rows(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(4, 6, 3, 3), (4, 5, 6), (50, 6)])
def test_a_permutation_acts_on_the_channels_of_every_shape(shape: tuple[int, ...]) -> None:
    made, order = features(*shape), shuffled(6)
    permuted = permute_channels(made, order)
    assert permuted.shape == made.shape
    for i, source in enumerate(order.tolist()):
        expected = channels_last_rows(made)[:, source]
        assert torch.equal(channels_last_rows(permuted)[:, i], expected)
    assert torch.equal(permute_channels(permuted, order.argsort()), made)


@pytest.mark.parametrize("shape", [(30, 4, 3, 3), (30, 5, 4), (50, 4)])
def test_correlation_is_numpy_s(shape: tuple[int, ...]) -> None:
    a = features(*shape)
    b = 0.5 * a + features(*shape, seed=1) - 3
    rows = [channels_last_rows(each).double().numpy() for each in (a, b)]
    expected = np.corrcoef(*rows, rowvar=False)[:4, 4:]
    torch.testing.assert_close(channel_correlation(a, b), torch.from_numpy(expected))


def test_correlation_doesn_t_depend_on_mini_batches_scale_or_offset() -> None:
    a = features(64, 5)
    b = a.flip(1) + features(64, 5, seed=1)
    collected = ChannelCorrelation()
    for start, stop in ((0, 1), (1, 30), (30, 64)):
        collected.add(a[start:stop], b[start:stop])
    whole = channel_correlation(a, b)
    torch.testing.assert_close(collected.result(), whole)
    torch.testing.assert_close(channel_correlation(-3 * a.double() + 7, b), -whole)


def test_a_large_mean_costs_no_digits() -> None:
    a = features(500, 3).double()
    b = a + features(500, 3, seed=1)
    # Plain sums of squares would be 1e20 here, and variances of 1 lost in their rounding.
    torch.testing.assert_close(
        channel_correlation(a + 1e10, b), channel_correlation(a, b), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9])
def test_a_constant_channel_correlates_with_none(constant: float) -> None:
    a, b = features(101, 3), features(101, 3, seed=1)
    a[:, 1] = constant
    b[:, 2] = constant
    found = channel_correlation(a, b)
    assert found[1].tolist() == [0, 0, 0]
    assert found[:, 2].tolist() == [0, 0, 0]
    assert bool((found[[0, 0, 2, 2], [0, 1, 0, 1]] != 0).all())


def test_different_rows_and_nothing_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected the same rows .* got 4 and 5; take the same"):
        channel_correlation(features(4, 3), features(5, 3))
    with pytest.raises(ValueError, match="expected at least one mini-batch, got none"):
        ChannelCorrelation().result()


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_the_best_of_all(seed: int) -> None:
    correlation = features(5, 5, seed=seed).double()
    best = max(
        permutations(range(5)), key=lambda p: sum(float(correlation[i, p[i]]) for i in range(5))
    )
    order = matched_order(correlation)
    assert order.dtype == torch.int64
    assert order.tolist() == list(best)


@pytest.mark.parametrize(
    ("correlation", "words"),
    [
        (torch.zeros(3, 4), r"expected as many channels in both runs, got \(3, 4\)"),
        (torch.full((3, 3), torch.nan), "expected finite numbers, got NaN or infinity"),
    ],
)
def test_what_cannot_be_matched_is_refused(correlation: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        matched_order(correlation)


@pytest.mark.parametrize("shape", [(200, 32, 3, 3), (200, 9, 32), (2000, 32)])
def test_a_planted_permutation_is_found_under_noise(shape: tuple[int, ...]) -> None:
    """Noise as strong as the signal: correlation about 0.7 with the right channel, 0 elsewhere."""
    mine, planted = features(*shape), shuffled(32)
    others = permute_channels(mine, planted) * 2 + 1 + 2 * features(*shape, seed=1)
    order = matched_order(channel_correlation(mine, others))
    assert torch.equal(order, planted.argsort())


def test_dead_channels_get_what_is_left() -> None:
    mine, planted = features(300, 8), shuffled(8)
    mine[:, [2, 5]] = 0
    order = matched_order(channel_correlation(mine, mine[:, planted]))
    assert sorted(order.tolist()) == list(range(8))
    assert torch.equal(mine[:, planted][:, order], mine)


@pytest.mark.parametrize("depth", CUTS)
@torch.no_grad()
def test_a_planted_permutation_between_runs_is_undone_to_the_bit(
    network: BlockNetwork, depth: int
) -> None:
    mine = network[:depth](images(10))
    planted = shuffled(mine.shape[1], seed=depth)
    other = permuted_copy(network, depth, planted)
    plain = network(images(11))
    assert torch.equal(other(images(11)), plain)

    order = matched_order(channel_correlation(mine, other[:depth](images(10))))
    assert torch.equal(order, planted.argsort())

    features_of_other = other[:depth](images(11))
    assert not torch.equal(network[depth:](features_of_other), plain)
    assert torch.equal(network[depth:](permute_channels(features_of_other, order)), plain)


@pytest.mark.parametrize("depth", range(1, 5))
@torch.no_grad()
def test_a_permutation_of_the_weights_is_undone_even_when_they_moved(
    network: BlockNetwork, depth: int
) -> None:
    planted = shuffled(16, seed=depth)
    other = with_permuted_weights(network, planted)
    collected = ChannelCorrelation()
    for x in images(10).split(16):
        collected.add(network[:depth](x), other[:depth](x))
    order = matched_order(collected.result())
    assert torch.equal(order, planted.argsort())
    matched = permute_channels(other[:depth](images(11)), order)
    torch.testing.assert_close(matched, network[:depth](images(11)), rtol=1e-4, atol=1e-4)

    for seed, parameter in enumerate(other.parameters()):
        parameter += (
            0.1
            * parameter.norm()
            / parameter.numel() ** 0.5
            * features(*parameter.shape, seed=seed)
        )
    moved = channel_correlation(network[:depth](images(10)), other[:depth](images(10)))
    assert torch.equal(matched_order(moved), planted.argsort())
