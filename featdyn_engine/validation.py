"""Pydantic's findings as one line: which field, what was expected, what came."""

import difflib
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from featdyn_engine.domain import InputError

Location = tuple[int | str, ...]
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
MISSING = ("missing", "missing_argument")
PLAIN_WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "tuple_type": "a list in [ ]",
    "too_short": "at least one",
    "dict_type": "a table",
    "model_type": "a table",
    "dataclass_type": "a table",
    "string_pattern_mismatch": "small letters, digits, - and _",
}


def validated(kind: Any, content: Any, place: Callable[[Location], str]) -> Any:
    """Return ``content`` (plain TOML data) as ``kind``, strictly: no text for a number.

    ``place`` turns a location within ``content`` into the name by which the user knows it.
    Raises InputError for the first thing that is wrong.
    """
    # As JSON, since pydantic's strict mode takes lists for tuples there; a TOML date is no field.
    text = json.dumps(content, default=str)
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as problem:
        raise InputError(_sentence(problem.errors(), kind, content, place)) from None


def dotted(location: Location) -> str:
    """Write a location as users do: ``("a", 0, "b")`` is ``a[0].b``."""
    text = ""
    for item in location:
        if isinstance(item, int):
            text += f"[{item}]"
        else:
            # A quoted TOML key may hold anything, line breaks too.
            text += f".{item}" if item.isprintable() else f".{item!r}"
    return text.lstrip(".")


def _keys(error: ErrorDetails, content: Any) -> Location:
    """Return the error's location without the names of types that pydantic puts into it."""
    kept: list[int | str] = []
    for item in error["loc"]:
        if isinstance(content, list) and isinstance(item, int):
            content = content[item]
        elif isinstance(content, dict) and (item in content or error["type"] in MISSING):
            content = content.get(item)
        else:
            continue
        kept.append(item)
    return tuple(kept)


def _names(kind: Any) -> list[str]:
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return [name for part in get_args(kind) for name in _names(part)]


def _holder(kind: Any, keys: Location) -> Any:
    """Return the type, within ``kind``, of the table that holds the last of the keys."""
    for key in keys[:-1]:
        if isinstance(key, str):
            kind = get_type_hints(kind)[key]
        while not (is_dataclass(kind) or isinstance(kind, type)):
            kind = next(part for part in get_args(kind) if _names(part))
    return kind


def _expected(error: ErrorDetails) -> str:
    return PLAIN_WORDS.get(error["type"]) or error["msg"].removeprefix("Input should be ").replace(
        "a valid ", "a "
    ).removeprefix("Value error, ")


def _sentence(
    errors: list[ErrorDetails], kind: Any, content: Any, place: Callable[[Location], str]
) -> str:
    # A misspelt name first: what seems to be missing is often what was misspelt.
    error = next((error for error in errors if error["type"] in UNKNOWN), errors[0])
    keys = _keys(error, content)
    where = place(keys)
    if error["type"] in UNKNOWN:
        known = _names(_holder(kind, keys))
        near = difflib.get_close_matches(str(keys[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
        return f"{where}: no such field; {hint}"
    if error["type"] in MISSING:
        return f"{where}: expected a value, got none; add it"
    # Each member of a union has its own complaint about the same place.
    others = [_expected(other) for other in errors if _keys(other, content) == keys]
    expected = " or ".join(dict.fromkeys(others))
    came = error["input"]
    if isinstance(came, dict) and came:
        return f"{where}: expected {expected}, got a table"
    return f"{where}: expected {expected}, got {came!r}"
