"""The rows of a table with texts and labels: CSV with or without a header, JSON lines, parquet."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from gpt2_tools.common.problem import Problem
from gpt2_tools.common.text_stream import byte_chunks, decoded, lines, without_mark
from gpt2_tools.finetune.data.documents import Chunks, csv_rows, json_rows, refuse_surrogates
from omz_model_tools.common import disk_problems, one_line

PARQUET = ".parquet"
TABLES = (".csv", ".jsonl", PARQUET)
TEXT, LABEL = "text", "label"
"""The columns that are read unless others are named."""
ROWS_AT_ONCE = 1024
LISTED = 10
"""Columns that an error lists."""


class Row(NamedTuple):
    """A text and its label, as they stand in a table; either may be empty. number: of the line, or parquet's row."""

    text: str
    label: str
    number: int


@dataclass(frozen=True)
class Columns:
    """The columns of text and label: names, or numbers from 1 of a CSV file without a header."""

    text: str = TEXT
    label: str = LABEL

    @property
    def pair(self) -> tuple[str, str]:
        """Both."""
        return self.text, self.label

    def __post_init__(self) -> None:
        """Raise Problem if they are one column."""
        if self.text == self.label:
            raise Problem(f"--text_column, --label_column: expected two columns, got {self.text} for both")


def place(path: Path, number: int) -> str:
    """Return where a row stands, in words."""
    return f"{path}: {'row' if path.suffix.lower() == PARQUET else 'line'} {number}"


def read_rows(path: Path, columns: Columns, chunks: Chunks = byte_chunks) -> Iterator[Row]:
    """Yield the rows of a table. Raises Problem, with the line, for what cannot be read."""
    kind = path.suffix.lower()
    if kind == PARQUET:
        return _parquet_rows(path, columns)
    text = lines(without_mark(decoded(path, chunks(path))))
    return _csv_rows(path, text, columns) if kind == ".csv" else _json_rows(path, text, columns)


def _csv_rows(path: Path, text: Iterable[str], columns: Columns) -> Iterator[Row]:
    rows = csv_rows(path, text)
    opening = next(rows, None)
    if opening is None:
        return
    first = opening[1]
    has_header = set(columns.pair) <= set(first)
    text_at, label_at = map(first.index, columns.pair) if has_header else _numbered(path, first, columns)
    for number, row in rows if has_header else chain([opening], rows):
        if len(row) != len(first):
            raise Problem(f"{place(path, number)}: expected {len(first)} columns, as in the first row, got {len(row)}")
        yield Row(row[text_at], row[label_at].strip(), number)


def _numbered(path: Path, first: list[str], columns: Columns) -> tuple[int, int]:
    """Return where text and label stand in a file whose first row is no header with both."""
    if all(column.isdecimal() for column in columns.pair):
        for column in columns.pair:
            if not 1 <= int(column) <= len(first):
                raise Problem(f"{path}: expected a column {column}, counted from 1, got {len(first)} columns")
        return int(columns.text) - 1, int(columns.label) - 1
    raise _absent(path, first, columns, "; in a file without a header give both columns' numbers, from 1")


def _absent(where: object, found: list[str], columns: Columns, more: str = "") -> Problem:
    absent = columns.text if columns.text not in found else columns.label
    flag = "--text_column" if absent == columns.text else "--label_column"
    shown = ", ".join(one_line(name)[:40] for name in found[:LISTED]) + (", ..." if len(found) > LISTED else "")
    return Problem(f"{where}: expected a column {absent!r} ({flag}), got {shown or 'none'}{more}")


def _json_rows(path: Path, text: Iterable[str], columns: Columns) -> Iterator[Row]:
    for number, found in json_rows(path, text):
        if not isinstance(found, dict):
            raise Problem(f"{place(path, number)}: expected an object with {columns.text!r} and {columns.label!r}")
        if not set(columns.pair) <= found.keys():
            raise _absent(place(path, number), list(found), columns)
        row = _row(path, number, found[columns.text], found[columns.label])
        for value in (row.text, row.label):
            refuse_surrogates(path, number, value)
        yield row


def _parquet_rows(path: Path, columns: Columns) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        raise Problem(f"{path}: needs pyarrow, which is not installed: pip install pyarrow") from None
    with disk_problems(path):
        try:
            with path.open("rb") as file:
                table: Any = parquet.ParquetFile(file)
                names = table.schema_arrow.names
                if not set(columns.pair) <= set(names):
                    raise _absent(path, names, columns)
                number = 0
                for batch in table.iter_batches(ROWS_AT_ONCE, columns=list(columns.pair)):
                    for text, label in zip(*(batch.column(name).to_pylist() for name in columns.pair), strict=True):
                        number += 1
                        yield _row(path, number, text, label)
        except ArrowException as error:
            raise Problem(
                f"{path}: expected a parquet file, got another or a broken one: {one_line(error)[:80]}"
            ) from None


def _row(path: Path, number: int, text: Any, label: Any) -> Row:
    """Return the row of two values of JSON or parquet; null is empty."""
    if text is not None and not isinstance(text, str):
        raise Problem(f"{place(path, number)}: expected a string as text, got {one_line(repr(text))[:40]}")
    return Row(text or "", _label(path, number, label), number)


def _label(path: Path, number: int, value: Any) -> str:
    """Return a label as text: 1 and 1.0 as 1, true as true, null and NaN as none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    raise Problem(f"{place(path, number)}: expected a text or a number as label, got {one_line(repr(value))[:40]}")
