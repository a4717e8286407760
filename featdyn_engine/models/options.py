"""Checks of an architecture's options; a study file is held to their types before that."""

from typing import Any

from featdyn_engine.domain import InputError


def whole_numbers(options: Any, *names: str) -> None:
    """Raise InputError unless these options are whole numbers above 0."""
    for name in names:
        value = getattr(options, name)
        if type(value) is not int or value < 1:
            raise InputError(
                f"network.options.{name}: expected a whole number of at least 1, got {value!r}"
            )


def one_of(options: Any, name: str, known: tuple[str, ...]) -> None:
    """Raise InputError unless this option is one of the words it can be."""
    value = getattr(options, name)
    if value not in known:
        raise InputError(
            f"network.options.{name}: expected one of {', '.join(known)}, got {value!r}"
        )
