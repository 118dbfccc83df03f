"""Rows of several lengths in the forms that gpt2_benchmark prints: Markdown, CSV, JSON. It measures nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gpt2_tools.benchmark.engine.workload import CHECKSUM, LengthRow
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.report import figure_lines, figures_as_json
from gpt2_tools.benchmark.row_formats import comma_separated, markdown

Said = Mapping[str, object]
Whole = Mapping[str, Figure]

SHOWN = (
    "first token",
    "time per token",
    "throughput",
    "decode / as memory allows",
    "tokenization",
    "detokenization",
)
"""Of the figures of a row those in the table for people; the others are in CSV and JSON."""
CHARACTERS = 12
"""Of a checksum, to tell texts apart in the table for people."""


def markdown_lines(said: Said, whole: Whole, rows: Sequence[LengthRow]) -> list[str]:
    """Return the table, the figures of the whole run, and the line of JSON."""
    table = markdown(
        [
            (
                {
                    "model": Path(str(said["model"])).stem,
                    "back end": said["back_end"],
                    "threads": said["threads"],
                    "precision": said["inference_precision"],
                    "test": row.lengths.name,
                    "tokens": " ".join(one[:CHARACTERS] for one in row.tokens_sha256),
                },
                {name: row.figures[name] for name in SHOWN if name in row.figures},
            )
            for row in rows
        ]
    )
    return [*table, "", *figure_lines(whole), "", *json_lines(said, whole, rows)]


def csv_lines(said: Said, whole: Whole, rows: Sequence[LengthRow]) -> list[str]:
    """Return a line of names and one for each row, with what the rows have in common in each."""
    common = {name: value for name, value in said.items() if not isinstance(value, Mapping)}
    return comma_separated(
        [(common | _of(row) | {CHECKSUM: " ".join(row.tokens_sha256)}, {**row.figures, **whole}) for row in rows]
    )


def json_lines(said: Said, whole: Whole, rows: Sequence[LengthRow]) -> list[str]:
    """Return one line."""
    told = [_of(row) | {CHECKSUM: row.tokens_sha256, "figures": figures_as_json(row.figures)} for row in rows]
    return [json.dumps({**said, "figures": figures_as_json(whole), "rows": told})]


def _of(row: LengthRow) -> dict[str, object]:
    lengths = row.lengths
    return {"test": lengths.name, "prompt_tokens": lengths.prompt_tokens, "max_new_tokens": lengths.new_tokens}


LINES: dict[str, Callable[[Said, Whole, Sequence[LengthRow]], list[str]]] = {
    "md": markdown_lines,
    "csv": csv_lines,
    "json": json_lines,
}
