"""Is this file what its descriptor says? Size and checksum, of a stream or on disk; it knows no network."""

import hashlib
from pathlib import Path

from omz_model_tools.descriptor import ModelFile

CHUNK = 1 << 20


class Untrue(Exception):
    """The bytes are not those of the descriptor."""

    def lines(self, path: Path) -> list[str]:
        """What to tell the user about the file at `path`: one line, then details."""
        return [f"{path}: {self}"]


class TooLong(Untrue):
    def __init__(self, expected: int) -> None:
        super().__init__(f"file is longer than expected ({expected} B)")


class TooShort(Untrue):
    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"file is shorter ({actual} B) than expected ({expected} B)")


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
        self._size = 0
        self._hash = hashlib.new(file.checksum.algorithm)

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._file.size is not None and self._size > self._file.size:
            raise TooLong(self._file.size)
        self._hash.update(chunk)

    def check(self) -> None:
        """To be called after the last byte."""
        if self._file.size is not None and self._size < self._file.size:
            raise TooShort(self._file.size, self._size)
        actual = self._hash.hexdigest()
        if actual != self._file.checksum.digest:
            raise HashMismatch(self._file.checksum.digest, actual)


def check(path: Path, file: ModelFile) -> None:
    """Raise Untrue unless `path` holds exactly the described bytes; a wrong size is told without reading."""
    size = path.stat().st_size
    if file.size is not None and size < file.size:
        raise TooShort(file.size, size)
    if file.size is not None and size > file.size:
        raise TooLong(file.size)
    tally = Tally(file)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            tally.add(chunk)
    tally.check()
