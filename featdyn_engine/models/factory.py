"""Networks of the user's own: ``module:factory``, called with the options of the study.

The factory gets its options as keyword arguments, and of ``channels``, ``pixels`` and
``classes`` those that it has parameters for and no option sets. It returns an ``nn.Sequential``,
whose children are the blocks, or named blocks: a list of (name, module), or a dict. Its initial
weights have to come from PyTorch's global generator, which the registry seeds.

The module is imported by its name: where Python looks for it is the caller's business.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, get_args

import torch
from torch import Tensor, nn

from featdyn_engine.domain import InputError, NormLayer, Task
from featdyn_engine.files import is_read_only
from featdyn_engine.models.blocks import BlockNetwork

# What becomes of features between layers is the factory's own business; a config says its
# default, or, more honestly, "own".
NORM_LAYERS = tuple(dict.fromkeys(("own", *get_args(NormLayer))))


def is_factory(name: str) -> bool:
    """Whether this name of a network is that of a factory."""
    return ":" in name


def _refuse(expected: str, came: object, remedy: str = "") -> NoReturn:
    # One line, whatever an exception of the user's code has to say.
    text = f"network.name: expected {expected}, got {came}{remedy and f'; {remedy}'}"
    raise InputError(" ".join(text.split()))


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"


def find(name: str) -> Callable[..., Any]:
    """Import the factory ``module:factory``.

    Raises InputError where there is none, and under FEATDYN_READONLY: a home that is only looked
    at never says what code to run.
    """
    if is_read_only():
        _refuse(
            "a network of the registry, since FEATDYN_READONLY=1",
            f"{name!r}, code that is not imported then",
            "evaluate it where you trust that code, without FEATDYN_READONLY",
        )
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        _refuse("module:factory, two names of Python's", repr(name))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name is None or not f"{module_name}.".startswith(f"{problem.name}."):
            _refuse(f"{module_name} to import", _said(problem))
        _refuse(
            f"a module {module_name}",
            "none of that name",
            f"put {module_name.replace('.', '/')}.py beside the study file or on PYTHONPATH",
        )
    except Exception as problem:
        _refuse(f"{module_name} to import", _said(problem))
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if _is_own(value, module_name)]
        came = "no function or class of that name" if factory is None else repr(factory)
        remedy = f"it has {', '.join(known)}" if known else ""
        _refuse(f"{attribute} in {module_name}", came, remedy)
    return factory  # type: ignore[no-any-return]  # mypy forgets what callable() said


def _is_own(value: object, module_name: str) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module_name


def _arguments(
    name: str, factory: Callable[..., Any], task: Task, options: dict[str, Any]
) -> dict[str, Any]:
    try:
        signature = inspect.signature(factory)
    except ValueError:  # of some builtins
        return options
    offered = {"channels": task.channels, "pixels": task.pixels, "classes": task.classes}
    taken = {key: value for key, value in offered.items() if key in signature.parameters}
    arguments = {**taken, **options}
    try:
        signature.bind(**arguments)
    except TypeError as problem:
        text = f"network.options: expected keyword arguments of {name} {signature}, got {problem}"
        # A default of many lines is possible, a module say.
        raise InputError(" ".join(text.split())) from None
    return arguments


def _pairs(name: str, made: Any) -> list[tuple[str, nn.Module]]:
    """Return what a factory made as (name of the block, block)."""
    if isinstance(made, BlockNetwork):
        return list(zip(made.block_names, made, strict=True))
    if isinstance(made, nn.Sequential):
        if type(made).forward is not nn.Sequential.forward:
            _refuse(
                f"{name} to return blocks that run one after another",
                f"{type(made).__name__}, which has a forward of its own",
                "return a list of (name, module) whose composition it is",
            )
        # Not named_children, which leaves out a module that comes a second time.
        return [(key, block) for key, block in made._modules.items() if block is not None]
    listed: object = list(made.items()) if isinstance(made, Mapping) else made
    if isinstance(listed, list | tuple) and all(_is_pair(item) for item in listed):
        return list(listed)
    return _refuse(
        f"{name} to return an nn.Sequential or a list of (name, module)", type(made).__name__
    )


def _is_pair(item: object) -> bool:
    return (
        isinstance(item, tuple | list)
        and len(item) == 2
        and isinstance(item[0], str)
        and isinstance(item[1], nn.Module)
    )


def _check_names(name: str, blocks: list[tuple[str, nn.Module]]) -> None:
    if len(blocks) < 2:
        _refuse(f"{name} to return two blocks or more, to cut between", len(blocks))
    taken = BlockNetwork({})
    children: dict[str, str] = {}
    for block, _ in blocks:
        child = block.replace(".", "_")
        if not block.strip() or not block.isprintable() or hasattr(taken, child):
            _refuse(f"{name} to name its blocks in words free of nn.Module's own", repr(block))
        if child in children:
            also = f"{children[child]!r} and {block!r}"
            remedy = "a dot counts as _" if children[child] != block else ""
            _refuse(f"{name} to give each block a name of its own", also, remedy)
        children[child] = block


def _check_shared(name: str, blocks: Iterable[tuple[str, nn.Module]]) -> None:
    """Refuse a tensor in two blocks: a splice would hold it in two states at once."""
    homes: dict[object, str] = {}
    modules: dict[int, str] = {}
    for block, module in blocks:
        if id(module) in modules:
            _refuse(
                f"{name} to make each block anew",
                f"one module as {modules[id(module)]!r} and {block!r}",
            )
        modules[id(module)] = block
        for key, tensor in (*module.named_parameters(), *module.named_buffers()):
            # Tensors of nothing all have the address 0.
            place = tensor.untyped_storage().data_ptr() or id(tensor)
            home = homes.setdefault(place, block)
            if home != block:
                _refuse(
                    f"{name} to return blocks that share no parameter or buffer",
                    f"{key} of {block!r}, which {home!r} has too",
                    "put both into one block",
                )


@torch.no_grad()
def _check_output(name: str, network: BlockNetwork, task: Task) -> None:
    images = torch.zeros(2, task.channels, task.pixels, task.pixels)
    network.eval()  # no statistics, no dropout
    try:
        logits = network(images)
    except Exception as problem:
        _refuse(f"{name} to take images {tuple(images.shape)}", _said(problem))
    network.train()
    shape = (len(images), task.classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        _refuse(f"{name} to give logits {shape} for {len(images)} images", came)


def build(name: str, task: Task, norm_layer: str, options: dict[str, Any]) -> BlockNetwork:  # noqa: ARG001
    """Call the factory ``name`` and check what it makes. Raises InputError, in one line.

    The normalisation is the factory's own: ``norm_layer`` says nothing.
    """
    # What a module draws while it is imported, the first time alone, must not shift the weights.
    with torch.random.fork_rng(devices=[]):
        factory = find(name)
    arguments = _arguments(name, factory, task, options)
    try:
        made = factory(**arguments)
    except Exception as problem:
        _refuse(f"{name} to return a network", _said(problem))
    blocks = _pairs(name, made)
    _check_names(name, blocks)
    network = BlockNetwork(dict(blocks))
    # First, since lazy layers make their weights at the first batch.
    _check_output(name, network, task)
    _check_shared(name, blocks)
    return network
