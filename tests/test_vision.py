"""torchvision beside a torch that its compiled operators don't fit."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from featdyn_engine.domain import InputError
from featdyn_engine.vision import DESCRIBED_OPERATORS, torchvision_datasets, torchvision_models

MISSING = RuntimeError("operator torchvision::nms does not exist")
MODULE = ModuleType("torchvision.datasets")
Import = Callable[..., list[str]]


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operators that are declared, and nothing is."""
    names: list[str] = []
    monkeypatch.setattr(torch.library, "define", lambda name, schema: names.append(name))
    return names


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> Import:
    """Let importing torchvision end so, one after the other; return what was asked for."""

    def planned(*ends: ModuleType | Exception) -> list[str]:
        left, asked = list(ends), list[str]()

        def import_module(name: str) -> ModuleType:
            asked.append(name)
            end = left.pop(0)
            if isinstance(end, Exception):
                raise end
            return end

        monkeypatch.setattr(importlib, "import_module", import_module)
        return asked

    return planned


def test_where_the_operators_are_there_nothing_is_declared(
    outcomes: Import, declared: list[str]
) -> None:
    asked = outcomes(MODULE)
    assert torchvision_datasets() is MODULE
    assert asked == ["torchvision.datasets"]
    assert not declared


def test_where_they_are_missing_both_are_declared_and_torchvision_imported_again(
    outcomes: Import, declared: list[str]
) -> None:
    asked = outcomes(MISSING, MODULE)
    assert torchvision_models() is MODULE
    assert asked == ["torchvision.models"] * 2
    assert declared == list(DESCRIBED_OPERATORS) == ["torchvision::nms", "torchvision::qnms"]


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("operator torchvision::roi_align does not exist"),
        ModuleNotFoundError("No module named 'PIL'", name="PIL"),
    ],
)
def test_other_problems_are_not_hidden(
    problem: Exception, outcomes: Import, declared: list[str]
) -> None:
    outcomes(problem)
    with pytest.raises(type(problem), match=str(problem)):
        torchvision_datasets()
    assert not declared


def test_torchvision_that_is_not_installed_is_one_line(outcomes: Import) -> None:
    outcomes(ModuleNotFoundError("No module named 'torchvision'", name="torchvision"))
    with pytest.raises(InputError, match="torchvision: expected it installed, got none; pip inst"):
        torchvision_datasets()


def test_what_a_failed_import_left_is_forgotten(
    outcomes: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision.half", MODULE)
    kept = {name: each for name, each in sys.modules.items() if name.startswith("torchvision.")}
    outcomes(MODULE)
    torchvision_datasets()
    assert "torchvision.half" not in sys.modules
    for name, each in kept.items():  # of the real one, for the tests to come
        monkeypatch.setitem(sys.modules, name, each)


def test_torchvision_is_imported_on_the_cpu_whatever_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A tensor made by an import on the meta device would be empty for good.
    found: list[str] = []

    def import_module(name: str) -> ModuleType:
        found.append(torch.empty(0).device.type)
        return MODULE

    monkeypatch.setattr(importlib, "import_module", import_module)
    with torch.device("meta"):
        torchvision_datasets()
    assert found == ["cpu"]


def test_torchvision_is_imported_beside_this_torch() -> None:
    # In a process of its own: an import is done once.
    code = (
        "import torch\n"
        "from featdyn_engine.vision import torchvision_datasets, torchvision_models\n"
        "with torch.device('meta'):\n"
        "    models, datasets = torchvision_models(), torchvision_datasets()\n"
        "print(models.resnet18.__name__, datasets.CIFAR10.__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "resnet18 CIFAR10\n"
