"""Is this file what its descriptor says? Size and checksum, of a stream or on disk; it knows no network."""

import hashlib
import stat
from pathlib import Path
from typing import BinaryIO

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.model import ModelFile

CHUNK = 1 << 20


class Untrue(Exception):
    """The bytes are not those of the descriptor."""

    def lines(self, path: Path) -> list[str]:
        """What to tell the user about the file at `path`: one line, then details."""
        return [f"{path}: {self}"]


class Missing(Untrue):
    def __init__(self) -> None:
        super().__init__("expected a downloaded file, got none")


class Unreadable(Untrue):
    def __init__(self) -> None:
        super().__init__("expected a file that may be read, got one that may not")


class TooLong(Untrue):
    def __init__(self, expected: int) -> None:
        super().__init__(f"file is longer than expected ({expected} B)")


class TooShort(Untrue):
    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"file is shorter ({actual} B) than expected ({expected} B)")


class WrongLength(Untrue):
    """What a source announces, before it gave a byte."""

    def __init__(self, expected: int, announced: int) -> None:
        super().__init__(f"expected a file of {expected} B, got one of {announced} B")


class HashMismatch(Untrue):
    def __init__(self, expected: str, actual: str) -> None:
        super().__init__("hash mismatch")
        self.expected = expected
        self.actual = actual

    def lines(self, path: Path) -> list[str]:
        return [f'Hash mismatch for "{path}"', f"Expected: {self.expected}", f"Actual:   {self.actual}"]


class Tally:
    """Counts and hashes a file as its bytes come by."""

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        self._hash = hashlib.new(file.checksum.algorithm)
        self.size = 0

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._file.size is not None and self.size > self._file.size:
            raise TooLong(self._file.size)
        self._hash.update(chunk)

    def check(self) -> None:
        """To be called after the last byte."""
        if self._file.size is not None and self.size < self._file.size:
            raise TooShort(self._file.size, self.size)
        if not self.is_true():
            raise HashMismatch(self._file.checksum.digest, self._hash.hexdigest())

    def is_true(self) -> bool:
        """Whether what came by so far is the whole file."""
        return self._hash.hexdigest() == self._file.checksum.digest


def check(path: Path, file: ModelFile) -> None:
    """Raise Untrue unless `path` holds exactly the described bytes; a wrong size is told without reading."""
    size = path.stat().st_size
    if file.size is not None and size < file.size:
        raise TooShort(file.size, size)
    if file.size is not None and size > file.size:
        raise TooLong(file.size)
    tally = Tally(file)
    with _opened(path) as stream:
        while chunk := stream.read(CHUNK):
            tally.add(chunk)
    tally.check()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except PermissionError:
        raise Unreadable from None


def fault(path: Path, file: ModelFile) -> Untrue | None:
    """What is wrong with what lies at `path`, or nothing; a folder there is a Problem."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise Problem(f"{path}: expected a file or nothing, got a folder; move it away")
        check(path, file)
    except (FileNotFoundError, NotADirectoryError):
        return Missing()
    except Untrue as untrue:
        return untrue
    return None


def is_true(path: Path, file: ModelFile) -> bool:
    """Whether exactly the described bytes lie at `path`."""
    return fault(path, file) is None
