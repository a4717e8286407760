"""Sweeps: one arm of a study file written for many, one for each combination of listed values."""

import copy
from collections.abc import Iterator
from itertools import product
from typing import Any

from featdyn_engine.domain import InputError
from featdyn_engine.validation import Location, dotted

Keys = tuple[str, ...]

# What a sweep may not list: an arm's runs are its seeds, and its name says what was listed.
KEPT = ("name", "seeds", "sweep")


def _lists(
    table: dict[str, Any], place: Location, keys: Keys = ()
) -> Iterator[tuple[Keys, list[Any]]]:
    """Yield (location in the arm, values) of every list in a table of sweeps, tables within too."""
    for key, content in table.items():
        where = (*keys, key)
        if isinstance(content, dict) and content:
            yield from _lists(content, place, where)
        elif isinstance(content, list) and content and where[0] not in KEPT:
            yield where, content
        else:
            expected = "a list of values to try, in [ ]"
            if where[0] in KEPT:
                expected = "fields of the arm but name and seeds"
            came = f"the field {key!r}" if where[0] in KEPT else repr(content)
            raise InputError(f"{dotted((*place, *where))}: expected {expected}, got {came}")


def _combination(
    arm: dict[str, Any], fields: tuple[Keys, ...], values: tuple[Any, ...], place: Location
) -> dict[str, Any]:
    """Return the arm with these values in these fields, and with a name that tells them."""
    result = copy.deepcopy(arm)
    told: list[Any] = [arm.get("name")]
    for field, value in zip(fields, values, strict=True):
        table = result
        for key in field[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise InputError(
                    f"{dotted((*place, *field[:-1]))}: expected a table, got {table!r}"
                )
        table[field[-1]] = value
        told.append(f"{field[-1]} {value}")
    # Without a name, the validation of the file says so.
    return result | {"name": ", ".join(told)} if isinstance(told[0], str) else result


def expanded(arms: Any) -> tuple[Any, list[int]]:
    """Return the arms of a study file with those that sweep replaced by their combinations.

    The first field listed changes slowest. Beside them: for each arm, the number of the arm in the
    file that it comes from. Arms that aren't tables are left for the validation of the file.
    Raises InputError for a sweep of something else than lists of values.
    """
    if not isinstance(arms, list):
        return arms, []
    found: list[Any] = []
    owners: list[int] = []
    for index, arm in enumerate(arms):
        variants = [arm]
        if isinstance(arm, dict) and isinstance(arm.get("sweep"), dict) and arm["sweep"]:
            plain = {key: content for key, content in arm.items() if key != "sweep"}
            place = ("arms", index)
            fields, values = zip(*_lists(arm["sweep"], (*place, "sweep")), strict=True)
            variants = [_combination(plain, fields, each, place) for each in product(*values)]
        found += variants
        owners += [index] * len(variants)
    return found, owners
