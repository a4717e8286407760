"""What a configuration is, as a hash of its fields, and as JSON data to build it from again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

# Of a field that says where a thing lies or how it is called, never what it is.
NOT_IDENTITY = {"identity": False}


def rebuilt(kind: Any, value: Any) -> Any:
    """Build the dataclass ``kind`` from JSON data: tables become dataclasses, lists tuples."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: rebuilt(hints[name], item) for name, item in value.items()})
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict) and get_origin(kind) is not dict:
        member = next(each for each in get_args(kind) if is_dataclass(each))
        return rebuilt(member, value)
    return value


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def canonical(value: Any) -> Any:
    """Plain data for hashing: a dataclass becomes a dict without the fields at their default.

    A field added later with a default that changes nothing therefore leaves every earlier
    identity as it was. Fields marked NOT_IDENTITY are left out always.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: canonical(getattr(value, field.name))
            for field in fields(value)
            if field.metadata.get("identity", True)
            and getattr(value, field.name) != _default(field)
        }
    if isinstance(value, Mapping):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    return value


def identity(value: Any) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
