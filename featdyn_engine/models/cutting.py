"""Cutting a recorded pass: what crosses where, blocks made of its steps, and their proof."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn

from featdyn_engine.domain import InputError
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.graph import Batch, Forward, Step, logits_of, said

# Blocks one after another do what forward does; batch sizes change the order of sums.
EXACT = 1e-5
OTHER_BATCH = 1e-3


@dataclass(frozen=True)
class Segment:
    """Consecutive steps that end where one tensor crosses, and the module that they end with."""

    steps: tuple[Step, ...]
    name: str


def refuse(expected: str, came: str, remedy: str = "") -> NoReturn:
    """Raise InputError, in one line whatever other people's code has to say."""
    text = f"blocks: expected {expected}, got {came}{remedy and f'; {remedy}'}"
    raise InputError(" ".join(text.split()))


def called(node: fx.Node) -> str:
    """Name a tensor by what gives it."""
    if node.op == "placeholder":
        return "the images"
    if node.op == "call_module":
        return f"the output of {node.target}"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    scope = node.meta.get("scope")
    return f"the output of {name.strip('_')}{f' in {scope}' if scope else ''}"


def dependent_nodes(forward: Forward) -> set[fx.Node]:
    """Nodes that depend on the images; others are weights, which each block reads by itself."""
    found = {forward.images}
    for step in forward.steps:
        if found.intersection(step.node.all_input_nodes):
            found.add(step.node)
    return found


def crossings(forward: Forward) -> list[tuple[fx.Node, ...]]:
    """Return, for the place behind each step, the values that cross it, in their order."""
    dependent = dependent_nodes(forward)
    last_use: dict[fx.Node, int] = {}
    for place, step in enumerate(forward.steps):
        last_use |= dict.fromkeys(step.node.all_input_nodes, place)
    last_use[forward.logits] = len(forward.steps)
    found, alive = [], [forward.images]
    for place, step in enumerate(forward.steps):
        if step.node in dependent:
            alive.append(step.node)
        alive = [node for node in alive if last_use.get(node, -1) > place]
        found.append(tuple(alive))
    return found


def may_cut(crossing: tuple[fx.Node, ...]) -> bool:
    """Whether what crosses a place is one tensor."""
    return len(crossing) == 1 and bool(crossing[0].meta.get("tensor"))


def block_of(
    model: nn.Module, forward: Forward, segment: Segment, entering: fx.Node, leaving: fx.Node
) -> nn.Module:
    """Make a block of steps, from the tensor that crosses the cut before it to that behind it."""
    only = segment.steps[0]
    called_alone = len(segment.steps) == 1 and only.node.op == "call_module"
    if called_alone and only.args == (entering,) and not only.kwargs:
        return model.get_submodule(str(only.node.target))
    graph = fx.Graph()
    placeholder = graph.placeholder("features")
    made: dict[fx.Node, fx.Node] = {entering: placeholder}
    outside = {step.node: step for step in forward.steps}

    def value(argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            # Weights, and what is made of them alone, are read where they are needed.
            return made[argument] if argument in made else written(outside[argument])
        if isinstance(argument, Batch):
            size = graph.call_method("size", (placeholder, 0))
            times = argument.times
            return size if times == 1 else graph.call_function(operator.mul, (size, times))
        if isinstance(argument, tuple | list):
            return type(argument)(value(each) for each in argument)
        if isinstance(argument, dict):
            return {key: value(each) for key, each in argument.items()}
        if isinstance(argument, slice):
            return slice(*(value(each) for each in (argument.start, argument.stop, argument.step)))
        return argument

    def written(step: Step) -> fx.Node:
        args, kwargs = value(step.args), value(step.kwargs)
        node = graph.create_node(step.node.op, step.node.target, args, kwargs)
        made[step.node] = node
        return node

    for step in segment.steps:
        if step.node not in made:
            written(step)
    graph.output(made[leaving])
    return fx.GraphModule(_Root(model, forward.constants), graph, "Block")


class _Root(nn.Module):
    """A network's modules with the constants of its forward pass, under their names."""

    def __init__(self, model: nn.Module, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        for holder in ("_modules", "_parameters", "_buffers"):
            getattr(self, holder).update(getattr(model, holder))
        for name, tensor in constants.items():
            self.register_buffer(name, tensor, persistent=False)


@torch.no_grad()
def prove(model: nn.Module, network: BlockNetwork, shape: tuple[int, ...]) -> None:
    """Raise InputError unless the blocks, one after another, do what the network does.

    On random images, in evaluation mode, in batches of two and of one.
    """
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    stream = torch.Generator().manual_seed(1)
    images = torch.randn(2, *shape, generator=stream).to(device)
    output = model(images)
    expected = logits_of(output)
    if expected is None or expected.dim() != 2:
        refuse("a network that gives logits (N, K)", said(output))
    pairs = list(zip(network.block_names, network, strict=True))
    shared = shared_tensor(pairs)
    if shared is not None:
        key, block_name, home = shared
        refuse(
            "blocks that share no parameter or buffer",
            f"{key} of {block_name!r}, which {home!r} has too",
            "name modules so that one block has both",
        )
    features = images
    for name, block in pairs:
        before = features.clone()
        result = block(features)
        if not isinstance(result, Tensor):
            refuse(f"block {name!r} to give one tensor", said(result))
        if not torch.equal(before, features):
            refuse(f"block {name!r} to leave what it gets as it is", "one that writes into it")
        features = result
    _alike(expected, features, EXACT, "forward gives")
    _alike(expected[:1], network(images[:1]), OTHER_BATCH, "forward gives for one image alone")


def shared_tensor(blocks: Iterable[tuple[str, nn.Module]]) -> tuple[str, str, str] | None:
    """Return (its name, block, earlier block) of a tensor in two blocks, None where there is none.

    A splice would hold it in two states at once.
    """
    homes: dict[object, str] = {}
    for block, module in blocks:
        for key, tensor in (*module.named_parameters(), *module.named_buffers()):
            # Tensors of nothing all have the address 0.
            place = tensor.untyped_storage().data_ptr() or id(tensor)
            home = homes.setdefault(place, block)
            if home != block:
                return key, block, home
    return None


def _alike(expected: Tensor, got: Tensor, near: float, what: str) -> None:
    scale = max(float(expected.abs().max()), 1e-6)
    if expected.shape != got.shape:
        refuse(f"blocks that give what {what}, {tuple(expected.shape)}", str(tuple(got.shape)))
    apart = float((expected - got).abs().max()) / scale
    if not apart <= near:
        refuse(
            f"blocks that give what {what}",
            f"logits that differ by {apart:.2g} of the largest",
            "does forward do more than call them in turn?",
        )
