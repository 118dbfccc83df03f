"""Text as a stream: strict UTF-8 that names line and byte, its lines, and pieces that are encoded one by one."""

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpt2_tools.common.problem import Problem
from omz_model_tools.common import disk_problems, read_file

CHUNK = 2**20
"""Bytes of a file that are read at a time."""
CUT = re.compile(r"(?<=[!-~])[ \n]")
"""Where a text can be split without changing its tokens: before white space that does not follow white space."""
UNSPACED = 2**20
"""Characters without such a place after which a text, as of a script without spaces, is split before a line break."""


def byte_chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file. Raises Problem for one that cannot be read."""
    read_file(path, 0)  # which refuses a pipe or a device
    with disk_problems(path), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def decoded(path: Path, chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the text of a file's bytes. Raises Problem, with line and byte, where they are not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    begin, line, line_begin = 0, 1, 0  # of the bytes that are decoded next; where their line began
    for chunk in _with_end(chunks):
        try:
            yield decoder.decode(chunk or b"", final=chunk is None)
        except UnicodeDecodeError as error:
            raw, start = error.object, error.start
            begin -= len(raw) - len(chunk or b"")  # the first bytes of a character may come from the chunk before
            line += raw.count(b"\n", 0, start)
            newline = raw.rfind(b"\n", 0, start)
            place = begin + start - line_begin if newline < 0 else start - newline - 1
            got = f"0x{raw[start]:02x} as byte {place + 1} of line {line} (byte {begin + start + 1} of the file)"
            raise Problem(f"{path}: expected UTF-8, got {got}") from None
        if chunk is not None:
            line += chunk.count(b"\n")
            line_begin = begin + chunk.rfind(b"\n") + 1 if b"\n" in chunk else line_begin
            begin += len(chunk)


def _with_end(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    yield from chunks
    yield None


def without_mark(chunks: Iterable[str]) -> Iterator[str]:
    """Yield a text without the byte order mark that Windows' editors begin it with."""
    mark = "\ufeff"
    for chunk in chunks:
        yield chunk.removeprefix(mark)
        mark = "" if chunk else mark


def lines(chunks: Iterable[str]) -> Iterator[str]:
    r"""Yield the lines of a text, each but the last with its "\n"."""
    begun = ""
    for chunk in chunks:
        *whole, begun = (begun + chunk).split("\n")
        for line in whole:
            yield f"{line}\n"
    if begun:
        yield begun


def pieces(text: str, size: int) -> Iterator[str]:
    """Split a text where its tokens do not change, at the first such position after `size` characters."""
    start = 0
    while start < len(text):
        cut = CUT.search(text, start + size)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end


def streamed_pieces(chunks: Iterable[str], size: int) -> Iterator[str]:
    """Split a text of any length so, which comes in chunks; of a script without spaces see UNSPACED."""
    begun = ""
    for chunk in chunks:
        *whole, begun = list(pieces(begun + chunk, size)) or [""]
        yield from whole
        if len(begun) > UNSPACED:
            end = begun.rfind("\n", 1)
            end = end if end > 0 else len(begun)
            yield begun[:end]
            begun = begun[end:]
    if begun:
        yield begun
