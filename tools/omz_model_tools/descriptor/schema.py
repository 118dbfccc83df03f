"""Checks of parsed YAML values; each error message begins with the location in the file."""

import math
import reprlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.strict_yaml import Mapping

LONGEST = 80  # characters of a value in an error message


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 200 else "a huge integer"  # Python refuses to print the very long

    def repr_Mapping(self, x: Mapping, level: int) -> str:
        return self.repr_dict(x, level)


_SHORT = _Short()
_SHORT.maxstring = LONGEST


def short_repr(value: object) -> str:
    """Return a value for an error message: one line, at most LONGEST characters."""
    text = "nothing" if value is None else _SHORT.repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@dataclass(frozen=True)
class Location:
    """A location in a file: its path, then the keys and indices that lead there."""

    crumbs: tuple[str, ...]

    def inside(self, crumb: str) -> "Location":
        return Location((*self.crumbs, crumb))

    def key(self, name: object) -> "Location":
        return self.inside(f'"{name}"' if isinstance(name, str) and name.isprintable() else short_repr(name))

    def problem(self, message: str) -> Problem:
        return Problem(": ".join((*self.crumbs, message)))

    def expected(self, what: str, got: object) -> Problem:
        return self.problem(f"expected {what}, got {short_repr(got)}")


def fields(location: Location, value: Any, required: Collection[str], optional: Collection[str] = ()) -> Mapping:
    """Check a mapping: all required keys, no unknown key, none twice."""
    if not isinstance(value, Mapping):
        raise location.expected("a mapping", value)
    for key in value.repeated:
        raise location.key(key).problem("expected once, got a duplicate key")
    for key in value:
        if key not in required and key not in optional:
            known = ", ".join(sorted([*required, *optional]))
            raise location.key(key).problem(f"unknown key, expected one of: {known}")
    for key in required:
        if key not in value:
            raise location.key(key).problem("expected a value, got no such key")
    return value


def items(location: Location, name: str, value: Any) -> Iterator[tuple[Location, Any]]:
    """Yield the elements of the list under the key `name`, each with its location."""
    if not isinstance(value, list):
        raise location.key(name).expected("a list", value)
    for index, element in enumerate(value):
        yield location.inside(f"{name}[{index}]"), element


def text(location: Location, value: Any) -> str:
    if not isinstance(value, str):
        raise location.expected("a string", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise location.expected("a string of Unicode characters", value) from None
    return value


def integer(location: Location, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise location.expected("a non-negative integer", value)
    return value


def number(location: Location, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise location.expected("a non-negative number", value)
    return value


def boolean(location: Location, value: Any) -> bool:
    if not isinstance(value, bool):
        raise location.expected("a boolean", value)
    return value


def one_of(location: Location, value: Any, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise location.expected(f"one of {', '.join(sorted(known))}", value)
    return value
