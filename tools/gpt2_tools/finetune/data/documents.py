"""The documents of a data set: of text files, a folder of them, CSV, JSON lines, and gpt-2-simple's .npz of tokens."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.text import END_OF_TEXT
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.text_stream import byte_chunks, decoded, lines, streamed_pieces, without_mark
from omz_model_tools.common import disk_problems

PIECE = 2**14
"""Characters, or a few more, that are encoded at a time."""
TEXT_FIELD = "text"
"""The field of a JSON line that is read unless --text_column names another."""
TABLES = (".csv", ".jsonl")
TOKENS = ".npz"
LONGEST_FIELD = 2**31 - 1
"""Characters of a CSV field; Python's own limit is 131072."""

Chunks = Callable[[Path], Iterable[bytes]]
"""Reads a file; given so that progress can be shown."""


class Piece(NamedTuple):
    """A part of a document, and whether the document ends with it."""

    text: str
    ends: bool


def is_table(path: Path) -> bool:
    """Return whether a file has columns."""
    return path.suffix.lower() in TABLES


def is_tokens(path: Path) -> bool:
    """Return whether a file has tokens, not a text."""
    return path.suffix.lower() == TOKENS


def find_files(dataset: Path, ours: Sequence[Path] = ()) -> list[Path]:
    """Return the files of a data set: the file itself, or every .txt in the folder and below it, by name.

    ours: folders that are left out where they lie below it. Raises Problem if there is none.
    """
    if dataset.is_dir():
        texts = sorted(path for path in dataset.rglob("*") if path.suffix.lower() == ".txt" and path.is_file())
        below = {path.resolve() for path in ours if dataset.resolve() in path.resolve().parents}
        files = [path for path in texts if below.isdisjoint(path.resolve().parents)]
        if not files:
            raise Problem(f"{dataset}: expected text files (*.txt) in this folder, got none")
    else:
        files = [dataset]
    for path in files:
        with disk_problems(path):
            if not path.stat().st_size:
                raise Problem(f"{path}: is empty; expected a text to train on")
    return files


def read_pieces(path: Path, column: str | None = None, chunks: Chunks = byte_chunks) -> Iterator[Piece]:
    """Yield a file's documents in pieces that can be encoded one by one.

    A row of a table is a document; so is a text file, or each part of it between `<|endoftext|>`.
    Raises Problem, with the line, for what cannot be read.
    """
    text = without_mark(decoded(path, chunks(path)))
    kind = path.suffix.lower()
    if kind == ".csv":
        documents = _csv_documents(path, lines(text), column)
    elif kind == ".jsonl":
        documents = _json_documents(path, lines(text), column or TEXT_FIELD)
    else:
        yield from _text_pieces(text)
        return
    for document in documents:
        yield from _text_pieces([document])


def read_tokens(path: Path, vocab_size: int) -> Iterator[npt.NDArray[np.int64]]:  # -> each [N]
    """Yield the token arrays of an .npz that gpt-2-simple's encode_dataset wrote. Raises Problem for any other."""
    expected = "expected an .npz with arrays of token ids, as gpt-2-simple writes it"
    with disk_problems(path):
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                for name in arrays.files:
                    tokens = arrays[name]
                    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
                        raise Problem(f"{path}: {expected}, got {name} of {tokens.dtype} {list(tokens.shape)}")
                    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocab_size:
                        wrong = int(tokens.min() if tokens.min() < 0 else tokens.max())
                        raise Problem(f"{path}: has the token id {wrong}; the model has {vocab_size} tokens")
                    yield tokens.astype(np.int64)
        except (ValueError, EOFError, KeyError, AttributeError) as error:  # AttributeError: a single .npy
            raise Problem(f"{path}: {expected}, got another file ({' '.join(str(error).split())[:80]})") from None
        except Exception as error:
            if type(error).__name__ in ("BadZipFile", "error"):  # zipfile's and zlib's
                raise Problem(f"{path}: {expected}, got a broken file: {error}") from None
            raise


def _text_pieces(chunks: Iterable[str]) -> Iterator[Piece]:
    """Yield the pieces of the documents between `<|endoftext|>`, of which the last needs none after it."""
    begun = False  # whether there is a document that has not ended
    for piece in streamed_pieces(chunks, PIECE):
        *whole, last = piece.split(END_OF_TEXT)
        for text in whole:
            if text or begun:
                yield Piece(text, True)
            begun = False
        if last:
            yield Piece(last, False)
            begun = True
    if begun:
        yield Piece("", True)


def csv_rows(path: Path, rows: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that a row ends in, and its cells, of each that is not blank.

    Raises Problem for what is not CSV.
    """
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(rows, strict=True)
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        raise Problem(f"{path}: line {reader.line_num}: is not CSV: {error}") from None


def json_rows(path: Path, rows: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line that is not blank. Raises Problem for what is not JSON."""
    for number, row in enumerate(rows, 1):
        if row.strip():
            try:
                yield number, json.loads(row)
            except (ValueError, RecursionError) as error:
                raise Problem(f"{path}: line {number}: is not JSON: {error}") from None


def refuse_surrogates(path: Path, number: int, text: str) -> None:
    """Raise Problem for a text of a JSON line that is not Unicode."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Problem(f"{path}: line {number}: expected Unicode characters, got a lone surrogate")


def _csv_documents(path: Path, lines: Iterable[str], column: str | None) -> Iterator[str]:
    rows = csv_rows(path, lines)
    _, header = next(rows, (0, []))
    if column is not None and column not in header:
        raise Problem(f"{path}: expected a column {column!r}, got {', '.join(header) or 'none'}")
    index = 0 if column is None else header.index(column)
    for number, row in rows:
        if len(row) <= index:
            raise Problem(f"{path}: line {number}: expected {index + 1} columns or more, got {len(row)}")
        if row[index]:
            yield row[index]


def _json_documents(path: Path, lines: Iterable[str], field: str) -> Iterator[str]:
    for number, found in json_rows(path, lines):
        text = found.get(field) if isinstance(found, dict) else None
        if not isinstance(text, str):
            raise Problem(f'{path}: line {number}: expected an object with a string under "{field}"')
        refuse_surrogates(path, number, text)
        if text:
            yield text
