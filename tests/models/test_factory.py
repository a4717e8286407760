"""Networks of the user's own: what a factory may return, and every refusal in one line."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from featdyn_engine.domain import InputError, NetworkConfig, Task
from featdyn_engine.factories import VARIABLE, allow
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.registry import architecture, build, cuts

TASK = Task(channels=1, pixels=4, classes=3)
PREAMBLE = """
import torch
from torch import nn


def body():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU())
"""
COUNT = itertools.count()
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module of the user's, and return its name, new each time."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def written(source: str) -> str:
        name = f"own_network_{next(COUNT)}"
        (tmp_path / f"{name}.py").write_text(PREAMBLE + source)
        return name

    monkeypatch.setenv(VARIABLE, "")
    yield written
    for name in set(sys.modules) - before:
        if name.startswith("own_network_"):
            del sys.modules[name]


def own(name: str, task: Task = TASK, seed: int = 0, **options: object) -> BlockNetwork:
    allow(name)
    return build(NetworkConfig(name=name, norm_layer="own", options=options), task, seed)


def refused(name: str, pattern: str, **options: object) -> None:
    with pytest.raises(InputError, match=pattern) as caught:
        own(name, **options)
    assert "\n" not in str(caught.value)


# What a factory may return

RETURNED = [
    "nn.Sequential(OrderedDict(first=body(), head=nn.Linear(5, 3)))",
    "[('first', body()), ('head', nn.Linear(5, 3))]",
    "(['first', body()], ['head', nn.Linear(5, 3)])",
    "{'first': body(), 'head': nn.Linear(5, 3)}",
    "BlockNetwork({'first': body(), 'head': nn.Linear(5, 3)})",
]


@pytest.mark.parametrize("returned", RETURNED)
def test_a_sequential_and_named_blocks_are_networks(returned: str, write: Write) -> None:
    module = write(
        "from collections import OrderedDict\n"
        "from featdyn_engine.models.blocks import BlockNetwork\n"
        f"def make():\n    return {returned}\n"
    )
    network = own(f"{module}:make")
    assert isinstance(network, BlockNetwork)
    assert network.block_names == ["first", "head"]
    assert network.training
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network[1](network[0](x)), network(x))
    config = NetworkConfig(name=f"{module}:make", norm_layer="own")
    assert [(cut.name, cut.depth) for cut in cuts(config, TASK)] == [("first", 1)]
    copy = own(f"{module}:make", seed=1)
    copy.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(copy(x), network(x))


def test_blocks_may_have_dots_in_their_names_and_numbers_for_names(write: Write) -> None:
    module = write(
        "def dots():\n    return [('stage.0', body()), ('stage.1', nn.Linear(5, 3))]\n"
        "def numbers():\n    return nn.Sequential(body(), nn.Linear(5, 3))\n"
    )
    assert own(f"{module}:dots").block_names == ["stage.0", "stage.1"]
    assert own(f"{module}:numbers").block_names == ["0", "1"]


def test_a_class_and_a_module_inside_a_package_will_do(write: Write, tmp_path: Path) -> None:
    package = tmp_path / f"own_network_{next(COUNT)}"
    package.mkdir()
    (package / "__init__.py").touch()
    source = "class Own(nn.Sequential):\n    def __init__(self):\n        super().__init__(body(), "
    (package / "nets.py").write_text(f"{PREAMBLE}\n{source}nn.Linear(5, 3))\n")
    assert own(f"{package.name}.nets:Own").block_names == ["0", "1"]


def test_what_the_data_need_is_offered_to_those_who_ask(write: Write) -> None:
    module = write(
        "def make(channels, pixels, classes, width=5):\n"
        "    first = nn.Sequential(nn.Flatten(), nn.Linear(channels * pixels**2, width))\n"
        "    return [('first', first), ('head', nn.Linear(width, classes))]\n"
    )
    network = own(f"{module}:make", Task(3, 8, 7), width=11)
    assert network.get_parameter("first.1.weight").shape == (11, 192)
    assert network.get_parameter("head.weight").shape == (7, 11)


def test_an_option_goes_before_what_the_data_say(write: Write) -> None:
    module = write(
        "def make(classes):\n    return [('first', body()), ('head', nn.Linear(5, classes))]\n"
    )
    refused(f"{module}:make", r"to give logits \(2, 3\) for 2 images, got \(2, 8\)", classes=8)


def test_weights_depend_on_the_seed_alone_also_where_importing_draws(write: Write) -> None:
    module = write(
        "torch.rand(5)\n"
        "def make():\n    return [('first', body()), ('head', nn.Linear(5, 3))]\n"
    )  # fmt: skip
    before = torch.get_rng_state()
    first, again, other = (own(f"{module}:make", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [each.get_parameter("head.weight") for each in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_lazy_layers_and_batchnorm_are_ready_and_undisturbed(write: Write) -> None:
    module = write(
        "def make():\n"
        "    first = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.LazyLinear(5))\n"
        "    return [('first', first), ('head', nn.Linear(5, 3))]\n"
    )
    network = own(f"{module}:make")
    assert network.get_parameter("first.2.weight").shape == (5, 16)
    assert int(network.get_buffer("first.0.num_batches_tracked")) == 0


def test_nothing_is_imported_before_the_network_is_built(write: Write) -> None:
    module = write("def make():\n    return None\n")
    assert architecture(f"{module}:make").norm_layers[0] == "own"
    assert module not in sys.modules


# What is not found


@pytest.mark.parametrize(
    "name", ["own net:make", ":make", "own:", "own:a.b", "own:make:it", "a-b:c"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    refused(name, f"network.name: expected module:factory, two names of Python's, got '{name}'")


@pytest.mark.parametrize("name", ["no_such_module", "no_such.module"])
def test_a_module_that_is_not_there_is_refused(name: str) -> None:
    file = name.replace(".", "/")
    refused(
        f"{name}:make",
        f"network.name: expected a module {name}, got none of that name; put {file}.py beside "
        "the study file or on PYTHONPATH",
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def make(:", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('a\\n  b')", "RuntimeError: a b"),
    ],
)
def test_a_module_that_does_not_import_says_why(source: str, said: str, write: Write) -> None:
    module = write(source)
    refused(f"{module}:make", f"network.name: expected {module} to import, got {said}")


def test_a_factory_that_is_not_there_is_refused_with_those_that_are(write: Write) -> None:
    module = write("SIZE = 5\ndef other():\n    pass\n")
    refused(
        f"{module}:make",
        f"expected make in {module}, got no function or class of that name; it has body, other$",
    )
    refused(f"{module}:SIZE", f"expected SIZE in {module}, got 5; it has body, other$")


# What is not called


def test_options_that_the_factory_does_not_take_are_refused_with_its_signature(
    write: Write,
) -> None:
    module = write("def make(width, depth=2, act=nn.Sequential(nn.ReLU())):\n    pass\n")
    pattern = rf"network\.options: expected keyword arguments of {module}:make \(width, depth=2, "
    refused(f"{module}:make", f"{pattern}.*got missing a required argument: 'width'")
    refused(
        f"{module}:make", f"{pattern}.*got an unexpected keyword argument 'hight'", width=1, hight=2
    )


def test_a_factory_that_raises_says_why(write: Write) -> None:
    module = write("def make():\n    raise KeyError('width')\n")
    refused(
        f"{module}:make",
        f"network.name: expected {module}:make to return a network, got KeyError: 'width'",
    )


# What is no network

NO_BLOCKS = "to return a network or a list of \\(name, module\\), got"
BAD = {
    "nothing": ("None", f"{NO_BLOCKS} NoneType"),
    "no names": ("[body(), nn.Linear(5, 3)]", f"{NO_BLOCKS} list"),
    "no modules": ("[('first', 1), ('head', 2)]", f"{NO_BLOCKS} list"),
    "no block": ("[]", "to return two blocks or more, to cut between, got 0"),
    "one block": ("nn.Sequential(body())", "to return two blocks or more, to cut between, got 1"),
    "a name of nn.Module's": (
        "[('forward', body()), ('head', nn.Linear(5, 3))]",
        "to name its blocks in words free of nn.Module's own, got 'forward'",
    ),
    "a blank name": (
        "[(' ', body()), ('head', nn.Linear(5, 3))]",
        "to name its blocks in words free .*, got ' '",
    ),
    "one name twice": (
        "[('a', body()), ('a', nn.Linear(5, 3))]",
        "to give each block a name of its own, got 'a' and 'a'$",
    ),
    "one name twice but for a dot": (
        "[('a.b', body()), ('a_b', nn.Linear(5, 3))]",
        "to give each block a name of its own, got 'a.b' and 'a_b'; a dot counts as _",
    ),
    "one module twice": (
        "nn.Sequential(nn.Flatten(), SQUARE, SQUARE, nn.Linear(16, 3))",
        "to make each block anew, got one module as '1' and '2'",
    ),
    "a shared parameter": (
        "tied()",
        "to return blocks that share no parameter or buffer, got weight of 'two', which 'one' has "
        "too; put both into one block",
    ),
    "other images": (
        "[('first', nn.Flatten()), ('head', nn.Linear(48, 3))]",
        "to take images \\(2, 1, 4, 4\\), got RuntimeError: mat1 and mat2 shapes cannot be",
    ),
    "too few logits": (
        "[('first', body()), ('head', nn.Linear(5, 2))]",
        "to give logits \\(2, 3\\) for 2 images, got \\(2, 2\\)",
    ),
    "no tensor": ("[('first', body()), ('head', Pair())]", "to give logits .*, got tuple"),
}
MORE = """
SQUARE = nn.Linear(16, 16)


class Own(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + 1


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def tied():
    one, two = nn.Linear(16, 16), nn.Linear(16, 16)
    two.weight = one.weight
    blocks = {"flatten": nn.Flatten(), "one": one, "two": two, "head": nn.Linear(16, 3)}
    return list(blocks.items())
"""


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_cut_or_trained_is_refused(kind: str, write: Write) -> None:
    returned, pattern = BAD[kind]
    module = write(f"{MORE}\ndef make():\n    return {returned}\n")
    refused(f"{module}:make", f"^network.name: expected {module}:make {pattern}")


def test_a_view_of_a_tensor_in_another_block_is_shared_too(write: Write) -> None:
    module = write(
        "def make():\n"
        "    one, two = nn.Linear(16, 16), nn.Linear(16, 3)\n"
        "    two.weight = nn.Parameter(one.weight.data[:3])\n"
        "    return [('flatten', nn.Flatten()), ('one', one), ('two', two)]\n"
    )
    refused(f"{module}:make", "share no parameter or buffer, got weight of 'two', which 'one' has")


def test_shared_tensors_inside_a_block_are_the_user_s_business(write: Write) -> None:
    module = write(
        "def make():\n"
        "    one = nn.Linear(16, 16)\n"
        "    both = nn.Sequential(nn.Flatten(), one, nn.ReLU(), one)\n"
        "    return [('both', both), ('head', nn.Linear(16, 3))]\n"
    )
    assert isinstance(own(f"{module}:make")[0], nn.Sequential)


# What is divided

WHOLE = """
class Net(nn.Module):
    def __init__(self, width=5):
        super().__init__()
        self.first = nn.Linear(16, width)
        self.norm = nn.BatchNorm1d(width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.norm(self.first(x.flatten(1))).relu()
        return self.head(x + self.second(x).relu())
"""


def divided(name: str, seed: int = 0, **changes: object) -> BlockNetwork:
    allow(name)
    return build(NetworkConfig(name=name, norm_layer="own", **changes), TASK, seed)


def test_any_network_is_divided_into_blocks(write: Write) -> None:
    module = write(WHOLE)
    network = divided(f"{module}:Net")
    assert network.block_names == ["first", "second", "head"]
    assert network.training
    assert divided(f"{module}:Net", blocks=("norm",)).block_names == ["norm", "head"]


def test_the_second_network_of_a_factory_has_its_own_weights(write: Write) -> None:
    module = write(WHOLE)
    one, two, again = (divided(f"{module}:Net", seed) for seed in (0, 1, 0))
    assert not torch.equal(one.get_parameter("head.weight"), two.get_parameter("head.weight"))
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
    wide = divided(f"{module}:Net", options={"width": 7})
    assert wide.get_parameter("head.weight").shape == (3, 7)


def test_blocks_that_do_not_fit_are_refused(write: Write) -> None:
    module = write(WHOLE + "\ndef pairs():\n    return [('a', body()), ('b', nn.Linear(5, 3))]\n")
    with pytest.raises(InputError, match=r"^network\.blocks: .*got the output of relu crossing"):
        divided(f"{module}:Net", blocks=("second",))
    with pytest.raises(InputError, match=r"to return a network, to name blocks of, got list"):
        divided(f"{module}:pairs", blocks=("a",))
    with pytest.raises(InputError, match=r"network\.blocks: expected none for mlp, .* got layer1"):
        build(NetworkConfig(name="mlp", norm_layer="none", blocks=("layer1",)), TASK)


# What is not imported


def test_a_module_that_nobody_allowed_is_not_imported(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write("def make():\n    return [('a', body()), ('b', nn.Linear(5, 3))]\n")
    config = NetworkConfig(name=f"{module}:make", norm_layer="own")
    for value in ("", "other", f"{module}_x, os"):
        monkeypatch.setenv(VARIABLE, value)
        with pytest.raises(InputError, match=rf"module that you allow, got '{module}'.*{VARIABLE}"):
            build(config, TASK)
        assert module not in sys.modules
    monkeypatch.setenv(VARIABLE, f"os, {module}")
    assert build(config, TASK).block_names == ["a", "b"]
