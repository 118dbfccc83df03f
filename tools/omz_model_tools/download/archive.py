"""Unpack an untrusted archive below one folder, within bounds.

Only plain files and folders are unpacked, with default permissions. Anything else (links, devices, names that leave the
folder or collide on some file system, more bytes than an archive of its size may plausibly hold) refuses the whole
archive; the caller removes what was written until then.
"""

import bz2
import errno
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from omz_model_tools.common.problem import Problem, one_line
from omz_model_tools.descriptor.model import relative_name
from omz_model_tools.descriptor.schema import short_repr

CHUNK = 1 << 16  # bytes; also the longest tar header: tarfile reads a header at once, at whatever length it claims
LONGEST_NAME = 255  # bytes, of one part of a path
RATIO = 1000  # unpacked size by packed size; deflate reaches 1032 at most, for zeros
SMALL = 64 << 20  # bytes that any archive may unpack to, however small it is
MARGIN = 64 << 20  # bytes of the disk that stay free
MOST_ENTRIES = 200_000
MOST_XZ_MEMORY = 128 << 20  # bytes; xz -9 needs 65 MiB
DAMAGES = (  # what the standard library raises for bytes that are no archive
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, LookupError, OverflowError, NotImplementedError, RecursionError, MemoryError),
)


class Refused(Exception):
    """The archive is refused; the text says what was expected, and what it has."""


@dataclass(frozen=True)
class Limits:
    size: int  # bytes of all files together
    reason: str  # of that size, for the error
    entries: int = MOST_ENTRIES


def limits(packed: int, free: int) -> Limits:
    """Return the limits of an archive of `packed` bytes on a disk with `free` bytes free."""
    most = max(SMALL, RATIO * packed)
    if free - MARGIN < most:
        return Limits(max(0, free - MARGIN), f"{free} bytes are free on the disk")
    return Limits(most, f"the archive itself has {packed}")


class Names:
    """The names in use in a folder, compared as on a file system that ignores case and Unicode form."""

    def __init__(self, fixed: Iterable[PurePosixPath], reserved: re.Pattern[str]) -> None:
        """`fixed`: files that no archive may replace; `reserved`: names that no part of a path may have."""
        self._fixed = frozenset(fixed)
        self._reserved = reserved
        self._taken = {_folded(PurePosixPath()): (PurePosixPath(), True)}  # folded -> path, whether a folder
        for path in self._fixed:
            self._taken[_folded(path)] = (path, False)
            self._taken.update((_folded(folder), (folder, True)) for folder in path.parents)

    def take(self, path: PurePosixPath, is_folder: bool = False) -> None:
        """Reserve a path; Refused if it is not available. A file may be taken again, to be replaced."""
        if path in self._fixed:
            raise Refused("expected a name of its own, got that of a file of the descriptor")
        if any(self._reserved.fullmatch(part) for part in path.parts):
            raise Refused("expected a name of its own, got one that these tools keep for themselves")
        for folder in path.parents:
            self._add(folder, is_folder=True)
        self._add(path, is_folder)

    def _add(self, path: PurePosixPath, is_folder: bool) -> None:
        other, other_is_folder = self._taken.setdefault(_folded(path), (path, is_folder))
        if (other, other_is_folder) != (path, is_folder):
            kind = "folder" if other_is_folder else "file"
            raise Refused(f"expected a name of its own, got one that collides with the {kind} {short_repr(str(other))}")


@dataclass(frozen=True)
class Entry:
    name: str  # as the archive has it
    is_folder: bool
    size: int
    read: Callable[[], bytes]  # the next bytes, empty at the end; before the next entry is requested


def unpack(archive: Path, kind: str, root: Path, base: PurePosixPath, names: Names, most: Limits) -> None:
    """Write the archive's entries to root/base, all or Problem; `names` are those in use below `root`.

    `kind` is one of shutil's formats: bztar, gztar, tar, xztar, zip.
    """
    entries = _zip_entries if kind == "zip" else _tar_entries
    try:
        with _damages(kind):
            written: set[PurePosixPath] = set()
            for number, entry in enumerate(entries(archive, kind, _Budget(most))):
                if number >= most.entries:
                    raise Refused(f"expected at most {most.entries} entries, got more")
                with _about(entry.name):
                    if root / base / entry.name == archive:
                        raise Refused("expected a name of its own, got the archive's")
                    _unpack_entry(entry, root, base, names, written)
    except Refused as refused:
        raise Problem(f"{archive}: {refused}; nothing was unpacked") from refused


def _unpack_entry(entry: Entry, root: Path, base: PurePosixPath, names: Names, written: set[PurePosixPath]) -> None:
    path = base / _checked_name(entry.name)
    if path == base and entry.is_folder:
        return
    if path in written:
        raise Refused("expected one entry of this name, got two")
    names.take(path, entry.is_folder)
    if entry.is_folder:
        (root / path).mkdir(parents=True, exist_ok=True)
        return
    written.add(path)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    _write(entry, root / path)


def _checked_name(name: str) -> PurePosixPath:
    if name.rstrip("/") == "." and not name.startswith("/"):
        return PurePosixPath()
    try:
        path = relative_name(name.removeprefix("./").removesuffix("/"))
    except ValueError as error:
        raise Refused(f"expected {error}") from None
    if any(len(part.encode()) > LONGEST_NAME for part in path.parts):
        raise Refused(f"expected names of at most {LONGEST_NAME} bytes")
    return path


def _write(entry: Entry, path: Path) -> None:
    size = 0
    with path.open("wb") as out:
        while chunk := entry.read():
            out.write(chunk)
            size += len(chunk)
    if size != entry.size:
        raise Refused(f"expected {entry.size} bytes, got {size}")


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


class _Budget:
    """The bytes that may still be unpacked."""

    def __init__(self, most: Limits) -> None:
        self._limits = most
        self._left = most.size

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Refused(f"expected at most {self._limits.size} bytes ({self._limits.reason}), got more")


@contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise Refused(f"entry {short_repr(name)}: {refused}") from refused


@contextmanager
def _damages(kind: str) -> Iterator[None]:
    try:
        yield
    except DAMAGES as error:
        raise Refused(f"expected an archive ({kind}), got damaged or other bytes: {_reason(error)}") from error
    except OSError as error:
        # gzip and bz2 raise it for bad bytes, and so does a seek to a header's bad offset; others are disk errors.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise Refused(f"expected an archive ({kind}), got damaged or other bytes: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    text = one_line(error)
    return text if text.isprintable() and text else type(error).__name__


def _zip_entries(archive: Path, kind: str, budget: _Budget) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            with _about(info.orig_filename):
                _check_zip_entry(info)
            if info.is_dir():
                yield Entry(info.orig_filename, is_folder=True, size=0, read=bytes)
                continue
            with opened.open(info) as stream:
                yield Entry(info.orig_filename, is_folder=False, size=info.file_size, read=_metered(stream, budget))


def _check_zip_entry(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise Refused("expected bytes in the clear, got encrypted ones")
    # zipfile decompresses bzip2 and LZMA without a bound on memory.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused(f"expected the compression deflate or none, got method {info.compress_type}")
    if info.file_size and info.is_dir():
        raise Refused(f"expected a folder, got one of {info.file_size} bytes")
    if info.CRC and not info.file_size:  # zipfile does not read an empty entry, so it would not check it
        raise Refused("expected no bytes, got the checksum of some")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        raise Refused("expected a file or a folder, got a link or a special file")


def _metered(stream: IO[bytes], budget: _Budget) -> Callable[[], bytes]:
    def read() -> bytes:
        chunk = stream.read(CHUNK)
        budget.spend(len(chunk))
        return chunk

    return read


def _tar_entries(archive: Path, kind: str, budget: _Budget) -> Iterator[Entry]:
    with _tar_stream(archive, kind) as stream:
        forward: Any = _Forward(stream, budget)
        with tarfile.TarFile(fileobj=forward, encoding="utf-8", errors="surrogateescape") as opened:
            for member in opened:
                yield _tar_entry(opened, member)
        # tarfile reads the end of the bytes, or a bad header, as the end of the archive.
        if forward.latest != bytes(tarfile.BLOCKSIZE):
            raise Refused("expected an archive with an end, got one that is cut off or damaged")
        while forward.read(CHUNK):  # to the checksum at the end of a compressed stream
            pass


def _tar_entry(opened: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    if member.isdir():
        return Entry(member.name, is_folder=True, size=0, read=bytes)
    stream = opened.extractfile(member) if member.isfile() and not member.issparse() else None
    if stream is None:
        with _about(member.name):
            raise Refused("expected a file or a folder, got a link or a special file")
    return Entry(member.name, is_folder=False, size=member.size, read=lambda: stream.read(CHUNK))


def _tar_stream(archive: Path, kind: str) -> io.BufferedIOBase:
    if kind == "gztar":
        return gzip.open(archive)
    if kind == "bztar":
        return bz2.open(archive)
    if kind == "xztar":
        return io.BufferedReader(_Xz(archive))
    return archive.open("rb")


class _Xz(io.RawIOBase):
    """The bytes of an .xz file, as lzma.open gives them, but with a bound on memory: its dictionary may claim 4 GiB."""

    def __init__(self, archive: Path) -> None:
        self._file = archive.open("rb")
        self._stream = _xz_stream()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._stream.eof:  # streams may follow each other, with zeros between them
                packed = (self._stream.unused_data or self._file.read(CHUNK)).lstrip(b"\0")
                if not packed:
                    return 0
                self._stream = _xz_stream()
            else:
                packed = self._file.read(CHUNK) if self._stream.needs_input else b""
                if not packed and self._stream.needs_input:
                    raise EOFError("the .xz file is cut off")
            if chunk := self._stream.decompress(packed, len(buffer)):
                buffer[: len(chunk)] = chunk
                return len(chunk)

    def close(self) -> None:
        self._file.close()
        super().close()


def _xz_stream() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=MOST_XZ_MEMORY)


class _Forward:
    """A forward-only file for tarfile: bytes in order, in bounded pieces, within the budget."""

    def __init__(self, stream: io.BufferedIOBase, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._position = 0
        self.latest = b""  # the bytes of the last read

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= CHUNK:
            raise Refused(f"expected headers of at most {CHUNK} bytes, got one of {size}")
        self.latest = self._stream.read(size)
        self._position += len(self.latest)
        self._budget.spend(len(self.latest))
        return self.latest

    def seek(self, position: int) -> None:
        if position < self._position:  # such as for a negative size, which would make tarfile loop
            raise Refused("expected entries one after the other, got a header that leads back")
        while self._position < position and self.read(min(CHUNK, position - self._position)):
            pass
