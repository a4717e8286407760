"""Functions of the user's own, named ``module:factory``: found only where the operator allows it.

A run's configuration is data, perhaps somebody else's: opening it must run no code that it names.
So a module is imported only if the operator has named it, in a study file, on the command line or
in the environment variable FEATDYN_ALLOW_FACTORIES (modules, with commas between).
"""

import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from featdyn_engine.domain import InputError
from featdyn_engine.files import is_read_only

VARIABLE = "FEATDYN_ALLOW_FACTORIES"


def is_factory(name: str) -> bool:
    """Whether this name is that of a factory."""
    return ":" in name


def _allowed() -> list[str]:
    return [each.strip() for each in os.environ.get(VARIABLE, "").split(",") if each.strip()]


def allow(name: str) -> None:
    """Allow the module of ``module:factory``, as the operator has named it; workers inherit it."""
    module = name.partition(":")[0]
    if module not in _allowed():
        os.environ[VARIABLE] = ",".join([*_allowed(), module])


def refuse(field: str, expected: str, came: object, remedy: str = "") -> NoReturn:
    """Raise InputError about a field, in one line whatever the user's code has to say."""
    text = f"{field}: expected {expected}, got {came}{remedy and f'; {remedy}'}"
    raise InputError(" ".join(text.split()))


def said(problem: Exception) -> str:
    """Name an exception and what it says."""
    return f"{type(problem).__name__}: {problem}"


def find(name: str, field: str) -> Callable[..., Any]:
    """Import the factory ``module:factory``, the value of a field that errors name.

    Raises InputError for a module that is not allowed, under FEATDYN_READONLY (a home that is only
    looked at never says what code to run), and where there is no such factory.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        refuse(field, "module:factory, two names of Python's", repr(name))
    if is_read_only():
        refuse(
            field,
            "one of the registry, since FEATDYN_READONLY=1",
            f"{name!r}, code that is not imported then",
            "evaluate it where you trust that code, without FEATDYN_READONLY",
        )
    if module_name not in _allowed():
        refuse(
            field,
            "a module that you allow",
            repr(module_name),
            f"a run's own code is never imported unasked: if you trust it, set {VARIABLE}="
            f"{module_name} or name {name} in the study",
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name is None or not f"{module_name}.".startswith(f"{problem.name}."):
            refuse(field, f"{module_name} to import", said(problem))
        refuse(
            field,
            f"a module {module_name}",
            "none of that name",
            f"put {module_name.replace('.', '/')}.py beside the study file or on PYTHONPATH",
        )
    except Exception as problem:
        refuse(field, f"{module_name} to import", said(problem))
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if _is_own(value, module_name)]
        came = "no function or class of that name" if factory is None else repr(factory)
        remedy = f"it has {', '.join(known)}" if known else ""
        refuse(field, f"{attribute} in {module_name}", came, remedy)
    return factory  # type: ignore[no-any-return]  # mypy forgets what callable() said


def _is_own(value: object, module_name: str) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module_name


def arguments(
    field: str,
    name: str,
    factory: Callable[..., Any],
    offered: Mapping[str, Any],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the options, and of what is offered that which the factory has parameters for.

    Raises InputError where it doesn't take them.
    """
    try:
        signature = inspect.signature(factory)
    except ValueError:  # of some builtins
        return dict(options)
    taken = {key: value for key, value in offered.items() if key in signature.parameters}
    found = {**taken, **options}
    try:
        signature.bind(**found)
    except TypeError as problem:
        # A default of many lines is possible, a module say.
        refuse(field, f"keyword arguments of {name} {signature}", problem)
    return found
