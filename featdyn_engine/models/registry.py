"""The networks that a study can name: one line each, and factories of the user's own."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from featdyn_engine import factories
from featdyn_engine.domain import STRICT, Cut, InputError, NetworkConfig, Task, interior_cuts
from featdyn_engine.models import factory, mlp, resnet, torchvision_models, vgg, vit
from featdyn_engine.models.blocks import BlockNetwork


@dataclass(frozen=True)
class NoOptions:
    """For an architecture without options of its own."""

    __pydantic_config__: ClassVar = STRICT


@dataclass(frozen=True)
class Architecture:
    """How to build a network: ``build(task, norm_layer, options)``, an ``Options`` among them.

    ``norm_layers``: those that it can be built with, the usual one first. ``Options``: a frozen
    dataclass, or ``dict`` for a factory, whose signature is looked at when it is called.
    """

    build: Callable[[Task, str, Any], BlockNetwork]
    norm_layers: tuple[str, ...]
    Options: type = NoOptions


def _resnet(depth: int) -> Architecture:
    return Architecture(partial(resnet.build, depth), resnet.NORM_LAYERS, resnet.Options)


def _vgg(depth: int) -> Architecture:
    return Architecture(partial(vgg.build, depth), vgg.NORM_LAYERS)


MODELS: dict[str, Architecture] = {
    "resnet20": _resnet(20),
    "resnet32": _resnet(32),
    "resnet44": _resnet(44),
    "resnet56": _resnet(56),
    "vgg11": _vgg(11),
    "vgg16": _vgg(16),
    "mlp": Architecture(mlp.build, mlp.NORM_LAYERS, mlp.Options),
    "vit_small": Architecture(vit.build, vit.NORM_LAYERS, vit.Options),
    "resnet18": Architecture(torchvision_models.resnet18, torchvision_models.RESNET_NORM_LAYERS),
    "vit_b_16": Architecture(torchvision_models.vit_b_16, torchvision_models.VIT_NORM_LAYERS),
}


def architecture(name: str) -> Architecture:
    """Look a network up. Raises InputError for a name outside the registry.

    For ``module:factory`` nothing is imported before the network is built.
    """
    if factory.is_factory(name):
        return Architecture(partial(factory.build, name), factory.NORM_LAYERS, dict)
    if name not in MODELS:
        known = ", ".join(sorted(MODELS))
        raise InputError(f"network.name: expected one of {known} or module:factory, got {name!r}")
    return MODELS[name]


def _options(config: NetworkConfig, found: Architecture) -> Any:
    if found.Options is not dict:
        known = [field.name for field in fields(found.Options)]
        unknown = [key for key in config.options if key not in known]
        if unknown:
            raise InputError(
                f"network.options.{unknown[0]}: expected "
                f"{' or '.join(known) or 'no options'} for {config.name}, got {unknown[0]!r}"
            )
    return found.Options(**config.options)


def build(config: NetworkConfig, task: Task, seed: int = 0) -> BlockNetwork:
    """Build a network with the initial weights of ``seed``; the global generator is left alone.

    Raises InputError for a name outside the registry, a normalisation, an option or a size of
    image that the architecture doesn't have, and for a factory that doesn't do what it should.
    """
    found = architecture(config.name)
    if config.norm_layer not in found.norm_layers:
        raise InputError(
            f"network.norm_layer: expected one of {', '.join(found.norm_layers)} for "
            f"{config.name}, got {config.norm_layer!r}"
        )
    options = _options(config, found)
    if config.blocks is not None and not factory.is_factory(config.name):
        raise InputError(
            f"network.blocks: expected none for {config.name}, whose blocks are its own, got "
            f"{', '.join(config.blocks)}"
        )
    # Layers draw their initial weights from the global generator: lend it, then give it back.
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the accelerators too.
        torch.default_generator.manual_seed(seed)
        if factory.is_factory(config.name):
            return factory.build(config.name, task, config.norm_layer, options, config.blocks)
        return found.build(task, config.norm_layer, options)


@dataclass(frozen=True)
class _Outline:
    """What there is to know of a network without its weights."""

    block_names: tuple[str, ...]
    has_batch_norm: bool


class _Unfilled(TorchFunctionMode):
    """Leaves initial weights undrawn: on the device "meta" torch imports its compiler to draw them.

    That takes longer than anything else of a network without weights.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        drawing = getattr(func, "__module__", "") == "torch.nn.init"
        if drawing or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


_OUTLINES: dict[tuple[Any, ...], _Outline] = {}


def _outline(config: NetworkConfig, task: Task) -> _Outline:
    # Even without weights a network takes a tenth of a second to build, and a plan asks thousands
    # of times. A configuration holds a dict of options: its text is the key.
    options = json.dumps([config.options, config.blocks], sort_keys=True)
    own = factory.is_factory(config.name)
    # A module that is imported anew has another factory of the same name.
    with torch.random.fork_rng(devices=[]):
        maker = id(factories.find(config.name, "network.name")) if own else 0
    key = (config.name, maker, config.norm_layer, options, task)
    if key not in _OUTLINES:
        # A factory is called in earnest: what it computes or keeps may need real tensors.
        if own:
            network = build(config, task)
        else:
            with torch.device("meta"), _Unfilled():
                network = build(config, task)
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        tracked = any(norm.track_running_stats for norm in norms)
        _OUTLINES[key] = _Outline(tuple(network.block_names), tracked)
    return _OUTLINES[key]


def has_batch_norm(config: NetworkConfig, task: Task) -> bool:
    """Whether what a network computes depends on running statistics."""
    return _outline(config, task).has_batch_norm


def cuts(config: NetworkConfig, task: Task) -> list[Cut]:
    """List the interior cuts of a network, shallowest first; no weights are made."""
    return interior_cuts(list(_outline(config, task).block_names))
