"""Networks of the user's own: ``module:factory``, called with the options of the study.

The factory gets its options as keyword arguments, and of ``channels``, ``pixels`` and
``classes`` those that it has parameters for and no option sets. It returns an ``nn.Sequential``,
whose children are the blocks, or named blocks: a list of (name, module), or a dict; or any network,
whose blocks are named by the study or found. Its initial weights have to come from PyTorch's global
generator, which the registry seeds.

The module is imported by its name: where Python looks for it is the caller's business.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, get_args

import torch
from torch import Tensor, nn

from featdyn_engine import factories
from featdyn_engine.domain import InputError, NormLayer, Task
from featdyn_engine.factories import is_factory, said
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.cutting import shared_tensor
from featdyn_engine.models.found_blocks import divided, keys

__all__ = ["NORM_LAYERS", "build", "is_factory", "made_by"]

# What becomes of features between layers is the factory's own business; a config says its
# default, or, more honestly, "own".
NORM_LAYERS = tuple(dict.fromkeys(("own", *get_args(NormLayer))))
# Blocks that were found and proved once, with the keys of the network that they are of: the next
# network of the same factory, in this process, has the same.
_FOUND: dict[tuple[Any, ...], tuple[BlockNetwork, dict[str, str]]] = {}


def _refuse(expected: str, came: object, remedy: str = "") -> NoReturn:
    factories.refuse("network.name", expected, came, remedy)


def _pairs(name: str, made: Any) -> list[tuple[str, nn.Module]]:
    """Return what a factory made as (name of the block, block)."""
    if isinstance(made, BlockNetwork):
        return list(zip(made.block_names, made, strict=True))
    if isinstance(made, nn.Sequential):
        # Not named_children, which leaves out a module that comes a second time.
        return [(key, block) for key, block in made._modules.items() if block is not None]
    listed: object = list(made.items()) if isinstance(made, Mapping) else made
    if isinstance(listed, list | tuple) and all(_is_pair(item) for item in listed):
        return list(listed)
    return _refuse(f"{name} to return a network or a list of (name, module)", type(made).__name__)


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


def _check_shared(name: str, blocks: Sequence[tuple[str, nn.Module]]) -> None:
    """Refuse a tensor in two blocks: a splice would hold it in two states at once."""
    modules: dict[int, str] = {}
    for block, module in blocks:
        first = modules.setdefault(id(module), block)
        if first != block:
            _refuse(f"{name} to make each block anew", f"one module as {first!r} and {block!r}")
    shared = shared_tensor(blocks)
    if shared is not None:
        key, block, home = shared
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
        _refuse(f"{name} to take images {tuple(images.shape)}", said(problem))
    network.train()
    shape = (len(images), task.classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        _refuse(f"{name} to give logits {shape} for {len(images)} images", came)


def made_by(name: str, offered: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Call the factory ``name``. Raises InputError, in one line, where it can't be."""
    # What a module draws while it is imported, the first time alone, must not shift the weights.
    with torch.random.fork_rng(devices=[]):
        factory = factories.find(name, "network.name")
    arguments = factories.arguments("network.options", name, factory, offered, options)
    try:
        return factory(**arguments)
    except Exception as problem:
        _refuse(f"{name} to return a network", said(problem))


def is_whole(made: Any) -> bool:
    """Whether a factory made a network that still has to be divided into blocks."""
    plain = isinstance(made, nn.Sequential) and type(made).forward is nn.Sequential.forward
    return isinstance(made, nn.Module) and not plain


def _divided(
    name: str, made: nn.Module, task: Task, options: Mapping[str, Any], names: Sequence[str] | None
) -> BlockNetwork:
    """Find and prove a network's blocks, or take those found for an earlier one."""
    asked = json.dumps([options, names], sort_keys=True, default=str)
    key = (name, task, asked, *((k, each.shape) for k, each in made.state_dict().items()))
    if key not in _FOUND:
        network = divided(made, (task.channels, task.pixels, task.pixels), names)
        _FOUND[key] = (copy.deepcopy(network), keys(made, network))
        return network
    network, origins = _FOUND[key]
    network = copy.deepcopy(network)
    state = made.state_dict()
    network.load_state_dict({own: state[origin] for own, origin in origins.items()})
    return network


def build(
    name: str,
    task: Task,
    norm_layer: str,  # noqa: ARG001
    options: dict[str, Any],
    blocks: Sequence[str] | None = None,
) -> BlockNetwork:
    """Call the factory ``name`` and check what it makes. Raises InputError, in one line.

    ``blocks``: modules that end a block (``found_blocks``). The normalisation is the factory's
    own: ``norm_layer`` says nothing.
    """
    offered = {"channels": task.channels, "pixels": task.pixels, "classes": task.classes}
    made = made_by(name, offered, options)
    if blocks is not None and not isinstance(made, nn.Module):
        _refuse(f"{name} to return a network, to name blocks of", type(made).__name__)
    if is_whole(made) or blocks is not None:
        try:
            network = _divided(name, made, task, options, blocks)
        except InputError as problem:
            raise InputError(f"network.{problem}") from None
        pairs = list(zip(network.block_names, network, strict=True))
    else:
        pairs = _pairs(name, made)
    _check_names(name, pairs)
    network = BlockNetwork(dict(pairs))
    # First, since lazy layers make their weights at the first batch.
    _check_output(name, network, task)
    _check_shared(name, pairs)
    return network
