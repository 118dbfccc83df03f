"""Plain values read as what they should be, each complaint with its breadcrumb; it knows no key by name."""

import math
import reprlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.strict_yaml import Mapping

LONGEST = 80  # characters of a value in a complaint


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 200 else "a huge integer"  # Python refuses to print the very long

    def repr_Mapping(self, x: Mapping, level: int) -> str:
        return self.repr_dict(x, level)


_SHORT = _Short()
_SHORT.maxstring = LONGEST


def shown(value: object) -> str:
    """A value as a complaint shows it: one line, never long."""
    text = "nothing" if value is None else _SHORT.repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@dataclass(frozen=True)
class Place:
    """Where in a file we are: its path, then the way in."""

    crumbs: tuple[str, ...]

    def inside(self, crumb: str) -> "Place":
        return Place((*self.crumbs, crumb))

    def key(self, name: object) -> "Place":
        return self.inside(f'"{name}"' if isinstance(name, str) and name.isprintable() else shown(name))

    def problem(self, complaint: str) -> Problem:
        return Problem(": ".join((*self.crumbs, complaint)))

    def expected(self, what: str, got: object) -> Problem:
        return self.problem(f"expected {what}, got {shown(got)}")


def fields(place: Place, value: Any, required: Collection[str], optional: Collection[str] = ()) -> Mapping:
    """A mapping with exactly these keys, each written once."""
    if not isinstance(value, Mapping):
        raise place.expected("a mapping", value)
    for key in value.repeated:
        raise place.key(key).problem("expected once, got a duplicate key")
    for key in value:
        if key not in required and key not in optional:
            known = ", ".join(sorted([*required, *optional]))
            raise place.key(key).problem(f"unknown key, expected one of: {known}")
    for key in required:
        if key not in value:
            raise place.key(key).problem("expected a value, got no such key")
    return value


def items(place: Place, name: str, value: Any) -> Iterator[tuple[Place, Any]]:
    """The elements of the list under the key `name`, each with its own place."""
    if not isinstance(value, list):
        raise place.key(name).expected("a list", value)
    for index, element in enumerate(value):
        yield place.inside(f"{name}[{index}]"), element


def text(place: Place, value: Any) -> str:
    if not isinstance(value, str):
        raise place.expected("a string", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise place.expected("a string of Unicode characters", value) from None
    return value


def integer(place: Place, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise place.expected("a non-negative integer", value)
    return value


def number(place: Place, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise place.expected("a non-negative number", value)
    return value


def boolean(place: Place, value: Any) -> bool:
    if not isinstance(value, bool):
        raise place.expected("a boolean", value)
    return value


def one_of(place: Place, value: Any, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise place.expected(f"one of {', '.join(sorted(known))}", value)
    return value
