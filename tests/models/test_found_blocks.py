"""Blocks of networks that featdyn has never seen: what is found, and every refusal in one line."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.domain import InputError
from featdyn_engine.models import cutting
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.found_blocks import divided, keys

SHAPE = (1, 8, 8)


class Unit(nn.Module):
    """A residual unit that works in place, as torchvision's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.bn(self.conv1(x))))
        out += x
        return self.relu(out)


class Residual(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.units = nn.Sequential(Unit(width), Unit(width))
        self.fc = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.units(self.act(self.norm(self.stem(x))))
        return self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class Tokens(nn.Module):
    """Reads the batch size, has a parameter of its own, and mixes tokens."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 12, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        x = self.embed(x).flatten(2).transpose(1, 2).reshape(n * 4, -1).view(n, 4, -1)
        x = torch.cat([self.token.expand(n, -1, -1), x], dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


class Concatenating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 2, 3, padding=1)
        self.b = nn.Conv2d(3, 2, 3, padding=1)
        self.c = nn.Conv2d(5, 2, 3, padding=1)
        self.fc = nn.Linear(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.a(x)], 1)
        x = torch.cat([x, self.b(x)], 1)
        return self.fc(self.c(x).flatten(1))


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class Several(nn.Module):
    def __init__(self, wrap: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU())
        self.last = nn.Linear(5, 3)
        self.wrap = wrap

    def forward(self, x: Tensor) -> object:
        hidden = self.first(x)
        return self.wrap(self.last(hidden), hidden)


class Wrapper(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def images(n: int = 4) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(5))


def refused(pattern: str, model: nn.Module, names: list[str] | None = None) -> None:
    with pytest.raises(InputError, match=pattern) as caught:
        divided(model, SHAPE, names)
    assert "\n" not in str(caught.value)


FOUND = [
    (Residual(), ["stem", "units.0", "units.1", "fc"]),
    (Wrapper(Residual()), ["net.stem", "net.units.0", "net.units.1", "net.fc"]),
    (Tokens(), ["embed", "layers.0", "layers.1", "head"]),
    (Concatenating(), ["a", "b", "c", "fc"]),
    (Several(Output), ["first.1", "last"]),
    (Several(lambda logits, hidden: {"logits": logits, "hidden": hidden}), ["first.1", "last"]),
    (nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)), list("0123")),
]


@pytest.mark.parametrize(("model", "names"), FOUND, ids=lambda value: type(value).__name__)
def test_blocks_one_after_another_are_the_network(model: nn.Module, names: list[str]) -> None:
    network = divided(model, SHAPE)
    assert network.block_names == names
    x = images(5)
    out = model(x)
    expected = out if isinstance(out, Tensor) else getattr(out, "logits", None)
    expected = out["logits"] if isinstance(out, dict) else expected
    assert torch.allclose(network(x), expected, atol=1e-6)
    for depth in range(1, len(network)):
        assert torch.allclose(network[depth:](network[:depth](x)), expected, atol=1e-6)


def test_blocks_share_the_tensors_of_the_network_and_every_key_has_its_own() -> None:
    model = Residual()
    network = divided(model, SHAPE)
    found = keys(model, network)
    assert sorted(found.values()) == sorted(model.state_dict())
    assert found["units_0.conv1.weight"] == "units.0.conv1.weight"
    with torch.no_grad():
        model.fc.bias.add_(1)
    assert torch.equal(network(images()), model(images()))


def test_blocks_behave_in_training_mode_as_the_network_does() -> None:
    model = Residual()
    network = divided(copy.deepcopy(model), SHAPE)
    assert torch.allclose(network.train()(images()), model.train()(images()), atol=1e-6)
    assert torch.equal(
        network.get_buffer("units_1.bn.running_mean"), model.get_buffer("units.1.bn.running_mean")
    )


def test_modules_named_end_the_blocks() -> None:
    network = divided(Residual(), SHAPE, ["act", "units"])
    assert network.block_names == ["act", "units", "head"]
    assert divided(Residual(), SHAPE, ["units.0", "fc"]).block_names == ["units.0", "fc"]


def test_what_lies_behind_the_last_module_without_weights_belongs_to_it() -> None:
    class Scaled(Residual):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    model = Scaled()
    network = divided(model, SHAPE, ["units", "fc"])
    assert network.block_names == ["units", "fc"]
    assert torch.allclose(network(images()), model(images()), atol=1e-6)


def test_a_hook_or_forward_of_the_instance_is_left_as_it_was() -> None:
    model = Residual()
    forward = model.fc.forward
    model.fc.forward = forward
    divided(model, SHAPE)
    assert model.fc.__dict__["forward"] is forward
    assert "forward" not in model.stem.__dict__


REFUSED = [
    (
        r"one tensor alone behind units.0.conv1, got the output of act crossing beside it",
        Residual(),
        ["units.0.conv1", "fc"],
    ),
    (r"one tensor alone behind a, got the images crossing beside it", Concatenating(), ["a", "c"]),
    (r"names of modules of Residual, got 'unit.0'; did you mean 'units.0'", Residual(), ["unit.0"]),
    (r"each module once, got 'stem' twice", Residual(), ["stem", "stem"]),
    (r"two blocks or more, to cut between, got 1 from fc", Residual(), ["fc"]),
    (
        r"one tensor of logits \(N, K\), .* got tuple of \(2, 3\) and \(2, 5\)",
        Several(lambda logits, hidden: (logits, hidden)),
        None,
    ),
    (r"one tensor alone crosses, to cut there, got none in Linear", nn.Linear(8, 3), None),
]


@pytest.mark.parametrize(("pattern", "model", "names"), REFUSED)
def test_a_refusal_names_what_stands_in_the_way(
    pattern: str, model: nn.Module, names: list[str] | None
) -> None:
    refused(pattern, model, names)


def test_a_module_that_forward_leaves_out_is_refused() -> None:
    model = Residual()
    model.aux = nn.Linear(4, 3)
    refused(r"modules that forward calls in evaluation mode, got 'aux'", model, ["stem", "aux"])


def test_a_network_whose_path_hangs_on_its_numbers_is_refused() -> None:
    class Branching(Residual):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    refused(r"the same for all images and batch sizes, got __bool__ of a tensor", Branching())


def test_a_network_that_looks_at_other_images_of_the_batch_is_refused() -> None:
    class Jealous(Residual):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - x.mean(0, keepdim=True))

    refused(r"forward gives for one image alone, got logits that differ", Jealous())


def test_a_block_that_writes_into_what_it_gets_is_refused() -> None:
    class Writing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), Writing())
    refused(r"block '2' to leave what it gets as it is", model)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"a network that takes images \(3, 8, 8\), got Runtime"):
        divided(Residual(), (3, 8, 8))


def test_blocks_that_are_not_the_network_are_refused() -> None:
    model = Residual()
    network = divided(model, SHAPE)
    blocks = list(zip(network.block_names, network, strict=True))
    wrong = BlockNetwork(dict([blocks[0], blocks[2], blocks[1], blocks[3]]))
    with pytest.raises(InputError, match=r"blocks that give what forward gives, got logits that"):
        cutting.prove(model, wrong, SHAPE)
