from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.science import execution
from featdyn_engine.science.execution import (
    cpu_threads,
    exact_arithmetic,
    feature_bytes,
    placed,
    prepared,
    taps,
)
from tests.models import cases
from tests.science import small

TIE = 1e-4


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


def kinds(network: nn.Module) -> list[type]:
    return [type(module) for module in network.modules()]


@torch.inference_mode()
def forward(network: nn.Module, images: Tensor) -> Tensor:
    return network(images)


@pytest.mark.parametrize(("name", "norm_layer"), cases.PARAMETERS, ids=lambda value: str(value))
def test_every_network_is_prepared_into_the_same_function(name: str, norm_layer: str) -> None:
    network = small.lively(cases.made(name, norm_layer), seed=1)
    images = cases.images(cases.task(name), 4, seed=3)
    fast = prepared(network, images[:2])  # type: ignore[arg-type]
    plain, found = forward(network, images), forward(fast, placed(images, torch.device("cpu")))
    near = 1e-4 * max(1.0, float(plain.abs().max()))
    torch.testing.assert_close(found, plain, rtol=0, atol=near)
    best = plain.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > TIE
    assert torch.equal(found.argmax(dim=1)[clear], plain.argmax(dim=1)[clear])
    assert len(fast) == len(network)  # type: ignore[arg-type]
    # All BatchNorm2d stand behind convolutions here: none is left.
    assert nn.BatchNorm2d not in kinds(fast)


def test_batch_norm_is_folded_and_the_original_left_alone() -> None:
    network = small.convolutional(0)
    before = small.states([network])
    images, _ = small.examples(8)
    fast = prepared(network, images)
    assert kinds(network).count(nn.BatchNorm2d) == 3
    assert nn.BatchNorm2d not in kinds(fast)
    assert kinds(fast).count(nn.Conv2d) == 3
    assert small.untouched([network], before)
    assert not any(module.training for module in fast.modules())
    assert not any(weight.requires_grad for weight in fast.parameters())
    own, others = set(map(id, fast.parameters())), set(map(id, network.parameters()))
    assert not own & others
    # The closed form: w' = w g / sigma, b' = (b - mu) g / sigma + beta.
    conv, norm = network[1][0], network[1][1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    (folded,) = (module for module in fast[1].modules() if isinstance(module, nn.Conv2d))
    torch.testing.assert_close(folded.weight, conv.weight * scale[:, None, None, None])
    bias = (conv.bias - norm.running_mean) * scale + norm.bias
    torch.testing.assert_close(folded.bias, bias)


def test_features_behind_every_block_stay_what_they_were() -> None:
    network = small.convolutional(0)
    images, _ = small.examples(8)
    fast = prepared(network, images)
    with torch.inference_mode():
        (plain, _), (found, _) = (taps(each, images, (1, 2, 3)) for each in (network, fast))
    for depth in (1, 2, 3):
        torch.testing.assert_close(found[depth], plain[depth], rtol=1e-5, atol=1e-5)


def test_without_folding_the_blocks_stay_as_they_are() -> None:
    network = small.convolutional(0)
    images, _ = small.examples(8)
    fast = prepared(network, images, fold=False)
    assert kinds(fast) == kinds(network)
    torch.testing.assert_close(forward(fast, images), forward(network, images), rtol=0, atol=1e-4)


class Branching(nn.Module):
    """What torch.fx can't trace: a condition on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return y if y.mean() > 0 else -y


class Frozen(nn.Module):
    """A trace that computes something else: what it saw while it was traced stays."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) * (1.0 if isinstance(x, torch.fx.Proxy) else 2.0)


class Shared(nn.Module):
    """A convolution that feeds BatchNorm and something else, and one that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.twice, self.behind = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = self.norm(y) + y
        return self.behind(self.twice(z)) + self.twice(z)


class Pair(nn.Module):
    """Gives two tensors, where featdyn needs one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.norm(x), x


class First(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0].flatten(1)


@pytest.mark.parametrize("block", [Branching, Frozen, Shared], ids=lambda block: block.__name__)
def test_blocks_that_cannot_be_folded_rightly_stay_as_they_are(block: type[nn.Module]) -> None:
    network = nn.Sequential(block(), nn.Sequential(nn.Flatten(), nn.LazyLinear(4)))
    images, _ = small.examples(8)
    network(images)
    small.lively(network, 0).eval()
    fast = prepared(network, images)
    assert isinstance(fast[0], block)
    assert nn.BatchNorm2d in kinds(fast)
    # One of them is in the layout of convolutions, so that sums come in another order.
    torch.testing.assert_close(
        forward(fast, images), forward(network, images), rtol=1e-5, atol=1e-5
    )


def test_a_block_that_gives_no_tensor_is_not_folded() -> None:
    network = nn.Sequential(Pair(), First()).eval()
    images, _ = small.examples(4)
    fast = prepared(network, images)
    assert isinstance(fast[0], Pair)
    assert torch.equal(forward(fast, images), forward(network, images))


def test_folding_is_proved_to_a_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "FOLDING_TOLERANCE", -1.0)
    images, _ = small.examples(4)
    assert kinds(prepared(small.convolutional(0), images)).count(nn.BatchNorm2d) == 3


def test_a_block_that_gives_nan_is_not_taken_for_proved() -> None:
    network = small.convolutional(0)
    network[1][1].running_mean.fill_(torch.nan)
    images, _ = small.examples(4)
    assert kinds(prepared(network, images)).count(nn.BatchNorm2d) >= 1


def test_networks_and_images_are_in_the_memory_format_of_the_device() -> None:
    images = torch.randn(4, 3, 6, 6)
    network = small.convolutional(0, channels=3)
    fast, there = prepared(network, images), placed(images, torch.device("cpu"))
    assert there.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(there, images)
    convolutions = [module for module in fast.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 3
    for conv in convolutions:
        assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    held, _ = taps(fast, there, (2,))
    assert held[2].is_contiguous(memory_format=torch.channels_last)
    assert execution.MEMORY_FORMAT["mps"] == torch.contiguous_format


def test_bfloat16_predicts_nearly_the_same() -> None:
    network = small.convolutional(0)
    images, _ = small.examples(200)
    fast = prepared(network, images[:8], "bfloat16")
    assert {tensor.dtype for tensor in fast.state_dict().values()} == {torch.bfloat16}
    there = placed(images, torch.device("cpu"), "bfloat16")
    assert there.dtype == torch.bfloat16
    plain, found = forward(network, images), forward(fast, there)
    assert found.dtype == torch.bfloat16
    # Eight bits of every product: hundredths of logits, which range over six.
    assert 0 < float((found.float() - plain).abs().mean()) < 0.15
    assert (found.argmax(dim=1) == plain.argmax(dim=1)).double().mean() > 0.9


def test_preparing_works_within_inference_mode() -> None:
    network = small.convolutional(0)
    images, _ = small.examples(4)
    with torch.inference_mode():
        fast = prepared(network, images)
        inside = fast(images)
    assert torch.equal(inside, forward(prepared(network, images), images))


def test_taps_are_the_features_behind_blocks() -> None:
    network = small.convolutional(0)
    images, _ = small.examples(4)
    with torch.inference_mode():
        held, logits = taps(network, images, (3, 1))
        assert set(held) == {1, 3}
        for depth in held:
            assert torch.equal(held[depth], network[:depth](images))
        assert torch.equal(logits, network(images))


def test_bytes_of_features_are_those_of_one_image() -> None:
    network = small.convolutional(0)
    images, _ = small.examples(4, pixels=6)
    assert feature_bytes(network, images, (1, 3)) == {1: 6 * 36 * 4, 3: 8 * 36 * 4}
    half = prepared(network, images, "bfloat16")
    assert feature_bytes(half, images.bfloat16(), (1,)) == {1: 6 * 36 * 2}


class InPlace(nn.Module):
    """A block that begins with an activation in place, as pre-activation networks do."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.act, self.conv = nn.SiLU(inplace=True), nn.Conv2d(before, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.act(x))


def test_features_held_are_safe_from_activations_in_place() -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 5))
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), InPlace(4, 4), head).eval()
    images, _ = small.examples(4)
    expected = forward(network[:1], images)
    fast = prepared(network, images)
    with torch.inference_mode():
        held, _ = taps(fast, images, (1,))
        fast[1:](held[1])
    torch.testing.assert_close(held[1], expected)
    assert network[1].act.inplace


def test_arithmetic_is_exact_inside_and_as_before_behind() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    with exact_arithmetic():
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before
