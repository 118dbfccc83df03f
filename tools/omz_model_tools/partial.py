"""A file that is not all there yet: the part of it on disk, from this run or one that was killed.

It lies beside the file's place under a name made of the checksum, so that a part of another version is never
gone on with. It knows no network. One process at a time, with the lock of the same name.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools import verify
from omz_model_tools.descriptor import ModelFile
from omz_model_tools.lock import if_free
from omz_model_tools.publish import publish_file

OURS = re.compile(r"\.([0-9a-f]{32})\.(part|lock)")


@dataclass(frozen=True)
class Place:
    """Where the part of a file lies, and the lock that belongs to it."""

    folder: Path
    stem: str

    @classmethod
    def of(cls, destination: Path, file: ModelFile) -> "Place":
        return cls(destination.parent, file.checksum.digest[:32])

    @property
    def part(self) -> Path:
        return self.folder / f".{self.stem}.part"

    @property
    def lock(self) -> Path:
        return self.folder / f".{self.stem}.lock"

    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def clear(self) -> None:
        """Remove what an earlier run left, unless a process is at work on it or it may not be removed."""
        with contextlib.suppress(OSError):
            if self.part.exists() or self.lock.exists():
                with if_free(self.lock) as free:
                    if free:
                        self.part.unlink(missing_ok=True)


def clear_strangers(folder: Path, known: Collection[Place]) -> None:
    """Remove the parts and locks in a folder that belong to none of the `known`."""
    if folder.is_dir():
        found = {Place(folder, match[1]) for path in folder.iterdir() if (match := OURS.fullmatch(path.name))}
        for place in found - set(known):
            place.clear()


class Partial:
    """The part, open, and the hash of what it holds."""

    def __init__(self, place: Place, file: ModelFile) -> None:
        self._file = file
        self.path = place.part
        self._stream = open(place.part, "a+b", buffering=0)  # noqa: SIM115 - closed by closing()
        self._tally = verify.Tally(file)
        self._take_up()

    @property
    def size(self) -> int:
        return self._tally.size

    def put(self, position: int, chunk: bytes) -> None:
        """Add a chunk; one for the position 0 begins anew. TooLong, and nothing is kept, where it does not fit."""
        if position == 0 and self.size:
            self.drop()
        assert position == self.size
        with self._dropped_if_untrue():
            self._tally.add(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._stream.write(rest) :]

    def check(self) -> None:
        """Untrue unless all bytes are there and true; only those that may still become a true file are kept."""
        with self._dropped_if_untrue():
            self._tally.check()

    def is_whole(self) -> bool:
        return self.size > 0 and self._tally.is_true()

    def drop(self) -> None:
        self._stream.truncate(0)
        self._tally = verify.Tally(self._file)

    def publish(self, destination: Path) -> None:
        os.fsync(self._stream.fileno())
        self._stream.close()
        publish_file(self.path, destination)

    def close(self) -> None:
        self._stream.close()
        if self.path.exists() and self.path.stat().st_size == 0:
            self.path.unlink()

    def kept(self) -> str:
        """In words, for one who has to go without the rest for now."""
        whole = "" if self._file.size is None else f" of {self._file.size}"
        return f"kept: {self.path.stat().st_size}{whole} bytes in {self.path}; the same command goes on from there"

    def _take_up(self) -> None:
        """What is there is the beginning of the file, for all one can know before its end."""
        try:
            self._stream.seek(0)
            while chunk := self._stream.read(verify.CHUNK):
                self._tally.add(chunk)
        except verify.TooLong:
            self.drop()
        if self.size == self._file.size and not self._tally.is_true():
            self.drop()

    @contextlib.contextmanager
    def _dropped_if_untrue(self) -> Iterator[None]:
        try:
            yield
        except (verify.TooLong, verify.HashMismatch):
            self.drop()
            raise
