"""Rows of figures as Markdown or CSV; JSON is the benchmark's own. It measures nothing."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

from gpt2_tools.benchmark.figures import Figure

Row = tuple[Mapping[str, object], Mapping[str, Figure]]
"""What a row is of, and its figures."""


def markdown(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table: a figure is its median, with mean and standard deviation."""
    cells = [{**{name: _shown(value) for name, value in of.items()}, **_medians(figures)} for of, figures in rows]
    numbers = {_heading(name, figure) for name, figure in rows[0][1].items()}
    columns = [[name, *(row[name] for row in cells)] for name in cells[0]]
    lines = zip(*(_aligned(column, column[0] in numbers) for column in columns), strict=True)
    return [f"| {' | '.join(line)} |" for line in lines]


def _aligned(column: Sequence[str], to_the_right: bool) -> list[str]:
    width = max(map(len, column))
    rule = "-" * (width - 1) + (":" if to_the_right else "-")
    heading, *values = [cell.rjust(width) if to_the_right else cell.ljust(width) for cell in column]
    return [heading, rule, *values]


def comma_separated(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a file: a figure is three columns, median, mean and std."""
    cells = [{**of, **_columns(figures)} for of, figures in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(cells[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    return out.getvalue().splitlines()


def _medians(figures: Mapping[str, Figure]) -> dict[str, str]:
    return {
        _heading(name, figure): f"{figure.median:.4g} ({figure.mean:.4g} ± {figure.std:.3g})"
        for name, figure in figures.items()
    }


def _heading(name: str, figure: Figure) -> str:
    return f"{name}, {figure.unit}"


def _shown(value: object) -> str:
    return str(value).replace("|", "\\|")


def _columns(figures: Mapping[str, Figure]) -> dict[str, float]:
    columns = {}
    for name, figure in figures.items():
        words = f"{name} {figure.unit}".replace(" / ", " over ").replace("/", " per ")
        column = re.sub(r"\W+", "_", words)
        for kind in ("median", "mean", "std"):
            columns[f"{column}_{kind}"] = round(getattr(figure, kind), 6)
    return columns
