"""Verify a file against its descriptor: size and checksum, on disk or while its bytes arrive."""

import hashlib
import stat
from pathlib import Path
from typing import BinaryIO

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor.model import ModelFile

CHUNK = 1 << 20


class VerificationError(Exception):
    """File does not match its descriptor."""

    def lines(self, path: Path) -> list[str]:
        """Return the error line for the file at `path`, then its details."""
        return [f"{path}: {self}"]


class MissingFile(VerificationError):
    def __init__(self) -> None:
        super().__init__("expected a downloaded file, got none")


class UnreadableFile(VerificationError):
    def __init__(self) -> None:
        super().__init__("expected a file that may be read, got one that may not")


class TooLong(VerificationError):
    def __init__(self, expected: int) -> None:
        super().__init__(f"file is longer than expected ({expected} B)")


class TooShort(VerificationError):
    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"file is shorter ({actual} B) than expected ({expected} B)")


class WrongLength(VerificationError):
    """The length that a source announces, before its first byte, is another."""

    def __init__(self, expected: int, announced: int) -> None:
        super().__init__(f"expected a file of {expected} B, got one of {announced} B")


class HashMismatch(VerificationError):
    def __init__(self, expected: str, actual: str) -> None:
        super().__init__("hash mismatch")
        self.expected = expected
        self.actual = actual

    def lines(self, path: Path) -> list[str]:
        return [f'Hash mismatch for "{path}"', f"Expected: {self.expected}", f"Actual:   {self.actual}"]


class IncrementalHash:
    """Size and hash of a file's bytes as they arrive."""

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        self._hash = hashlib.new(file.checksum.algorithm)
        self.size = 0

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        check_length(self.size, self._file)
        self._hash.update(chunk)

    def check(self) -> None:
        """Raise VerificationError unless the bytes so far are the whole file."""
        if self._file.size is not None and self.size < self._file.size:
            raise TooShort(self._file.size, self.size)
        if not self.matches():
            raise HashMismatch(self._file.checksum.digest, self._hash.hexdigest())

    def matches(self) -> bool:
        """Whether the bytes so far have the checksum of the file."""
        return self._hash.hexdigest() == self._file.checksum.digest


def check_length(size: int, file: ModelFile) -> None:
    """Raise TooLong for more bytes than the file can have."""
    if file.longest is not None and size > file.longest:
        raise TooLong(file.longest)


def check(path: Path, file: ModelFile) -> None:
    """Raise VerificationError unless `path` has the described bytes; a wrong size is found without reading them."""
    size = path.stat().st_size
    if file.size is not None and size < file.size:
        raise TooShort(file.size, size)
    check_length(size, file)
    hashed = IncrementalHash(file)
    with _opened(path) as stream:
        while chunk := stream.read(CHUNK):
            hashed.add(chunk)
    hashed.check()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except PermissionError:
        raise UnreadableFile from None


def find_error(path: Path, file: ModelFile) -> VerificationError | None:
    """Return why the file at `path` does not match its descriptor, or None if it does; Problem for what is no file."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            got = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise Problem(f"{path}: expected a file or nothing, got {got}; move it away")
        check(path, file)
    except (FileNotFoundError, NotADirectoryError):
        return MissingFile()
    except VerificationError as error:
        return error
    return None


def matches(path: Path, file: ModelFile) -> bool:
    """Whether the file at `path` is exactly the described one."""
    return find_error(path, file) is None
