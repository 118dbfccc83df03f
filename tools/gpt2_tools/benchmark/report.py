"""What gpt2_benchmark prints: figures for people, a row for each length as Markdown or CSV, and the line of JSON."""

import csv
import io
import json
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from gpt2_tools.benchmark.figures import CHECKSUM, Figure, Repeats
from gpt2_tools.common.runtime import processor, versions
from omz_model_tools.common import Report

if TYPE_CHECKING:
    from gpt2_tools.benchmark.engine.workload import LengthRow

Conditions = Mapping[str, object]
Whole = Mapping[str, Figure]

TABLE_FIGURES = (
    "first token",
    "time per token",
    "throughput",
    "decode / as memory allows",
    "tokenization",
    "detokenization",
)
"""The figures in the table for people; the others are in CSV and JSON only."""
CHECKSUM_CHARACTERS = 12
"""Shown of a checksum in the table for people."""
TableRow = tuple[Mapping[str, object], Mapping[str, Figure]]
"""(values of the leading columns, figures)."""


def print_figures(
    report: Report,
    workload: Mapping[str, object],
    repeats: Repeats,
    figures: Mapping[str, Figure],
    not_run: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print the figures, then what did not run and why, then all of it as a line of JSON."""
    for line in figure_lines(figures):
        report.line(line)
    for name, reason in not_run.items():
        report.line(f"not run: {name}: {reason}")
    report.line(json.dumps(test_conditions(workload, repeats) | {"figures": figures_as_json(figures)}))


def figure_lines(figures: Mapping[str, Figure]) -> list[str]:
    """Return an aligned line for each figure."""
    width = max(map(len, figures))
    return [f"{name:<{width}}  {figure.text()}" for name, figure in figures.items()]


def test_conditions(workload: Mapping[str, object], repeats: Repeats) -> dict[str, object]:
    """Return the workload, its repetitions, the versions and the machine, for JSON."""
    return {
        **workload,
        "num_iter": repeats.runs,
        "num_warmup": repeats.warmup,
        "versions": versions(),
        "machine": {"system": platform.platform(), "processor": processor()},
    }


def figures_as_json(figures: Mapping[str, Figure]) -> dict[str, object]:
    """Return the figures for JSON."""
    return {name: figure.as_json() for name, figure in figures.items()}


def markdown_lines(conditions: Conditions, whole: Whole, rows: "Sequence[LengthRow]") -> list[str]:
    """Return the table, the figures of the whole run, and the line of JSON."""
    table = markdown(
        [
            (
                {
                    "model": Path(str(conditions["model"])).stem,
                    "back end": conditions["back_end"],
                    "threads": conditions["threads"],
                    "precision": conditions["inference_precision"],
                    "test": row.lengths.name,
                    "tokens": " ".join(checksum[:CHECKSUM_CHARACTERS] for checksum in row.tokens_sha256),
                },
                {name: row.figures[name] for name in TABLE_FIGURES if name in row.figures},
            )
            for row in rows
        ]
    )
    return [*table, "", *figure_lines(whole), "", *json_lines(conditions, whole, rows)]


def csv_lines(conditions: Conditions, whole: Whole, rows: "Sequence[LengthRow]") -> list[str]:
    """Return a header and a line for each row, which repeats what all rows have in common."""
    common = {name: value for name, value in conditions.items() if not isinstance(value, Mapping)}
    return comma_separated(
        [(common | _of(row) | {CHECKSUM: " ".join(row.tokens_sha256)}, {**row.figures, **whole}) for row in rows]
    )


def json_lines(conditions: Conditions, whole: Whole, rows: "Sequence[LengthRow]") -> list[str]:
    """Return one line."""
    rows_as_json = [_of(row) | {CHECKSUM: row.tokens_sha256, "figures": figures_as_json(row.figures)} for row in rows]
    return [json.dumps({**conditions, "figures": figures_as_json(whole), "rows": rows_as_json})]


def _of(row: "LengthRow") -> dict[str, object]:
    lengths = row.lengths
    return {"test": lengths.name, "prompt_tokens": lengths.prompt_tokens, "max_new_tokens": lengths.new_tokens}


LINES: "dict[str, Callable[[Conditions, Whole, Sequence[LengthRow]], list[str]]]" = {
    "md": markdown_lines,
    "csv": csv_lines,
    "json": json_lines,
}


def markdown(rows: Sequence[TableRow]) -> list[str]:
    """Return the lines of a table, where a figure is its median, mean and standard deviation."""
    cells = [{**{name: _escaped(value) for name, value in of.items()}, **_medians(figures)} for of, figures in rows]
    numbers = {_heading(name, figure) for name, figure in rows[0][1].items()}
    columns = [[name, *(row[name] for row in cells)] for name in cells[0]]
    lines = zip(*(_aligned(column, column[0] in numbers) for column in columns), strict=True)
    return [f"| {' | '.join(line)} |" for line in lines]


def _aligned(column: Sequence[str], to_the_right: bool) -> list[str]:
    width = max(map(len, column))
    rule = "-" * (width - 1) + (":" if to_the_right else "-")
    heading, *values = [cell.rjust(width) if to_the_right else cell.ljust(width) for cell in column]
    return [heading, rule, *values]


def comma_separated(rows: Sequence[TableRow]) -> list[str]:
    """Return the lines of a CSV file, where a figure is three columns: median, mean and std."""
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


def _escaped(value: object) -> str:
    return str(value).replace("|", "\\|")


def _columns(figures: Mapping[str, Figure]) -> dict[str, float]:
    columns = {}
    for name, figure in figures.items():
        words = f"{name} {figure.unit}".replace(" / ", " over ").replace("/", " per ")
        column = re.sub(r"\W+", "_", words)
        for statistic in ("median", "mean", "std"):
            columns[f"{column}_{statistic}"] = round(getattr(figure, statistic), 6)
    return columns
