"""A forward pass as a graph: a network's modules, and the operations between them.

It is recorded on real tensors, not symbols. So Python's own control flow, wrappers and output
classes of any library pass, and modules that nobody looks into stay as they are, with their
behaviour in training mode. A graph holds for the shape of one image and for any batch size: it is
recorded for two of them, and the numbers that follow the batch are told apart by comparison.
"""

import operator
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from featdyn_engine.domain import InputError

SIZES = (2, 3)
# What turns numbers of a tensor into Python's: control flow on them can't be recorded.
READERS = ("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__")
IN_PLACE = {f"__i{name}__": f"__{name}__" for name in ("add", "sub", "mul", "truediv", "and", "or")}


@dataclass(frozen=True)
class Batch:
    """An argument that is ``times`` the batch size."""

    times: int


class NotRecordedError(Exception):
    """Why a forward pass can't be a graph."""


def logits_of(output: Any) -> Tensor | None:
    """Return the logits of what a network gives: a tensor, or that called ``logits``; else None."""
    if isinstance(output, Tensor):
        return output
    found = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    return found if isinstance(found, Tensor) else None


def said(output: Any) -> str:
    """Name what a network gives, for an error."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    shapes = [str(tuple(each.shape)) for each in tree_leaves(output) if isinstance(each, Tensor)]
    return f"{type(output).__name__} of {' and '.join(shapes) or 'no tensor'}"


class _Recorder(TorchFunctionMode):
    """Runs everything as it is, and writes it down."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.own = {id(tensor): name for name, tensor in model.named_parameters()}
        self.own |= {id(tensor): name for name, tensor in model.named_buffers()}
        self.nodes: dict[int, fx.Node] = {}
        # Held, so that no other tensor gets the same id.
        self.held: list[Tensor] = []
        self.constants: dict[str, Tensor] = {}
        self.scope = [""]
        self.inside = False

    def track(self, tensor: Tensor, node: fx.Node) -> None:
        """Remember which node gives a tensor."""
        self.nodes[id(tensor)] = node
        self.held.append(tensor)

    def keep(self, result: Any, node: fx.Node) -> None:
        """Remember the tensors of a result, those within a tuple or a dict one by one."""
        node.meta |= {"scope": self.scope[-1], "tensor": isinstance(result, Tensor)}
        if isinstance(result, Tensor):
            self.track(result, node)
            return
        pairs = result.items() if isinstance(result, dict) else enumerate(result or ())
        for key, each in pairs:
            if isinstance(each, Tensor | tuple | list | dict):
                self.keep(each, self.graph.call_function(operator.getitem, (node, key)))

    def argument(self, value: Any) -> Any:
        """Return an argument with nodes for its tensors."""
        if isinstance(value, torch.Size):
            return tuple(value)
        if not isinstance(value, Tensor):
            return value
        if id(value) in self.nodes:
            return self.nodes[id(value)]
        name = self.own.get(id(value))
        if name is None:
            name = f"constant_{len(self.constants)}"
            self.constants[name] = value
        node = self.graph.create_node("get_attr", name)
        self.track(value, node)
        return node

    def arguments(self, values: Any) -> Any:
        """Return arguments, nested ones too, with nodes for their tensors."""
        plain = tree_map_only(torch.Size, tuple, values)
        return tree_map_only(Tensor, self.argument, plain)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.inside:
            return result
        name = getattr(func, "__name__", str(func))
        if not any(isinstance(each, Tensor) for each in tree_leaves(result)):
            if name in READERS and id(args[0]) in self.nodes:
                raise NotRecordedError(f"{name} of a tensor in {self.scope[-1] or 'forward'}")
            return result
        self.keep(result, self.operation(func, name, args, kwargs))
        return result

    def operation(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> fx.Node:
        """Write an operation down, one in place as the one that isn't."""
        args, kwargs = self.arguments(args), self.arguments(kwargs)
        if name == "__get__":  # of a property, such as x.T
            return self.graph.call_function(getattr, (args[0], func.__self__.__name__))
        if kwargs.get("inplace") is True:
            kwargs = {**kwargs, "inplace": False}
        if getattr(torch.Tensor, name, None) is func:
            return self.graph.call_method(_out_of_place(name), args, kwargs)
        plain = getattr(torch, name[:-1], None) if name.endswith("_") else None
        return self.graph.call_function(plain or func, args, kwargs)


def _out_of_place(method: str) -> str:
    if method in IN_PLACE:
        return IN_PLACE[method]
    if method.endswith("_") and not method.endswith("__") and hasattr(Tensor, method[:-1]):
        return method[:-1]
    return method


@contextmanager
def _watched(model: nn.Module, inlined: Collection[str], recorder: _Recorder) -> Iterator[None]:
    """Let modules tell the recorder of their calls: those inlined their place, others all."""
    before = {}

    def told(path: str, module: nn.Module) -> Callable[..., Any]:
        forward = module.forward

        def inline(*args: Any, **kwargs: Any) -> Any:
            recorder.scope.append(path)
            try:
                return forward(*args, **kwargs)
            finally:
                recorder.scope.pop()

        def whole(*args: Any, **kwargs: Any) -> Any:
            if recorder.inside:
                return forward(*args, **kwargs)
            node_args, node_kwargs = recorder.arguments(args), recorder.arguments(kwargs)
            recorder.inside = True
            try:
                result = forward(*args, **kwargs)
            finally:
                recorder.inside = False
            recorder.keep(result, recorder.graph.call_module(path, node_args, node_kwargs))
            return result

        return inline if path in inlined else whole

    for path, module in model.named_modules():
        parent = path.rpartition(".")[0]
        # Sequential and the like have no forward of their own to tell of.
        if path and (path in inlined or parent in inlined or parent == ""):
            before[module] = module.__dict__.get("forward")
            module.__dict__["forward"] = told(path, module)
    try:
        yield
    finally:
        for module, forward in before.items():
            del module.__dict__["forward"]
            if forward is not None:
                module.__dict__["forward"] = forward


def _once(
    model: nn.Module, images: Tensor, inlined: Collection[str]
) -> tuple[fx.Graph, dict[str, Tensor]]:
    recorder = _Recorder(model)
    recorder.track(images, recorder.graph.placeholder("images"))
    with _watched(model, inlined, recorder), recorder:
        output = model(images)
    logits = logits_of(output)
    if logits is None:
        raise InputError(
            "blocks: expected a network that gives one tensor of logits (N, K), or an output with "
            f"`logits`, got {said(output)}; wrap it in a module that returns the logits"
        )
    if id(logits) not in recorder.nodes:
        raise NotRecordedError("its logits come from none of the operations that were seen")
    recorder.graph.output(recorder.nodes[id(logits)])
    return recorder.graph, recorder.constants


def _with_batch(small: Any, large: Any) -> Any:
    """Return an argument of the first graph, ``Batch`` in place of what follows the batch size."""
    if isinstance(small, fx.Node) or type(small) is bool:
        return small
    if isinstance(small, int) and isinstance(large, int) and small != large:
        times, rest = divmod(small, SIZES[0])
        if rest or times * SIZES[1] != large:
            raise NotRecordedError(f"the numbers {small} and {large} at batches of {SIZES}")
        return Batch(times)
    if isinstance(small, tuple | list):
        return type(small)(_with_batch(a, b) for a, b in zip(small, large, strict=True))
    if isinstance(small, dict):
        return {key: _with_batch(value, large[key]) for key, value in small.items()}
    if isinstance(small, slice):
        pairs = zip(
            (small.start, small.stop, small.step),
            (large.start, large.stop, large.step),
            strict=True,
        )
        return slice(*(_with_batch(a, b) for a, b in pairs))
    return small


@dataclass(frozen=True)
class Step:
    """One operation: a node of the graph, its arguments with ``Batch`` where they follow it."""

    node: fx.Node
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Forward:
    """A recorded pass: the node of the images, the operations that lead to the logits, these.

    ``constants``: tensors that are neither parameters nor buffers, by the names that steps use.
    """

    images: fx.Node
    steps: tuple[Step, ...]
    logits: fx.Node
    constants: dict[str, Tensor]


@torch.no_grad()
def record(model: nn.Module, shape: tuple[int, ...], inlined: Collection[str]) -> Forward:
    """Record the forward pass of a network in evaluation mode for images of ``shape`` (C, H, W).

    ``inlined``: paths of the modules that are looked into, beside the network itself; the others
    are single steps. Raises NotRecordedError for a pass that depends on the numbers in a tensor,
    and InputError for an output without logits.
    """
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    stream = torch.Generator().manual_seed(0)
    draws = [torch.randn(size, *shape, generator=stream).to(device) for size in SIZES]
    (small, constants), (large, _) = (_once(model, images, inlined) for images in draws)
    pairs = list(zip(small.nodes, large.nodes, strict=False))
    if len(small.nodes) != len(large.nodes) or any(a.target != b.target for a, b in pairs):
        raise NotRecordedError(f"other operations at batches of {SIZES[0]} than of {SIZES[1]}")
    steps = {
        a: Step(a, _with_batch(tuple(a.args), tuple(b.args)), _with_batch(dict(a.kwargs), b.kwargs))
        for a, b in pairs
        if a.op not in ("placeholder", "output")
    }
    first, last = pairs[0][0], pairs[-1][0]
    logits = last.args[0]
    assert isinstance(logits, fx.Node)
    needed = {logits}
    for node in reversed(small.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    kept = tuple(step for node, step in steps.items() if node in needed)
    return Forward(first, kept, logits, constants)
