"""Parse shapes in Model Optimizer's notation, [1,1024] or [?,1..1024],[2], into bounds."""

import re

Bounds = tuple[int, int]
"""Minimum and maximum of a dimension; -1: no maximum."""


def parse_shapes(text: str) -> list[list[Bounds]]:
    """Return the bounds of each shape's dimensions; ValueError for anything but a list of shapes."""
    if not re.fullmatch(r"\[[^][]*\](\s*,\s*\[[^][]*\])*", text.strip()):
        raise ValueError(text)
    return [
        [_bounds(part) for part in re.split(r"\s*,\s*|\s+", inside.strip())]
        for inside in re.findall(r"\[(.*?)\]", text)
    ]


def _bounds(text: str) -> Bounds:
    if text in ("?", "-1"):
        return 0, -1
    found = re.fullmatch(r"(\d{1,9})|(\d{,9})\.\.(\d{,9})", text, flags=re.ASCII)
    if found is None or text == ".." or int(found[1] or 1) == 0:
        raise ValueError(text)
    if found[1]:
        return int(found[1]), int(found[1])
    least, most = int(found[2] or 0), int(found[3] or -1)
    if 0 <= most < least:
        raise ValueError(text)
    return least, most
