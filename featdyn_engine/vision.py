"""torchvision, imported when it is first needed, also where its compiled operators don't load.

torchvision's wheel from PyPI is compiled for the torch of PyPI. Beside another build of torch
(the smaller one for CPUs) its extension fails to load, silently, and then ``import torchvision``
raises "operator torchvision::nms does not exist", as it describes operators to the compiler
that nobody has declared. featdyn uses none of them: declaring the two by name is enough for data
sets, transforms and networks. Only where the operators are missing is anything declared.
"""

import importlib
import sys
from types import ModuleType

import torch

from featdyn_engine.domain import InputError

DESCRIBED_OPERATORS = ("torchvision::nms", "torchvision::qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _forget_unfinished() -> None:
    """Drop what a failed import has left: submodules that their package doesn't know."""
    if "torchvision" not in sys.modules:
        for name in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[name]


def _import(name: str) -> ModuleType:
    _forget_unfinished()
    # Whatever torchvision makes while it is imported outlives a network built without weights.
    with torch.device("cpu"):
        return importlib.import_module(f"torchvision.{name}")


def _submodule(name: str) -> ModuleType:
    try:
        return _import(name)
    except ModuleNotFoundError as problem:
        if problem.name != "torchvision":
            raise
        raise InputError("torchvision: expected it installed, got none; pip install it") from None
    except RuntimeError as problem:
        if DESCRIBED_OPERATORS[0] not in str(problem):
            raise
    for operator in DESCRIBED_OPERATORS:
        torch.library.define(operator, _SCHEMA)
    return _import(name)


def torchvision_datasets() -> ModuleType:
    """Return ``torchvision.datasets``; the first call takes a second or two."""
    return _submodule("datasets")


def torchvision_models() -> ModuleType:
    """Return ``torchvision.models``; the first call takes a second or two."""
    return _submodule("models")
