"""A file that is not all there yet: the part of it on disk, from this run or one that was killed.

It lies beside the file's place under a name made of the checksum, so that a part of another version is never
gone on with. Where a source begins at the first byte again, its bytes gather in a second file, and the longer of
the two stays: a login page costs nobody the gigabytes that are there. It knows no network. One process at a time,
with the lock of the same name.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.lock import if_free
from omz_model_tools.common.publish import publish_file
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.model import ModelFile

OURS = re.compile(r"\.([0-9a-f]{32})\.(part|anew\.part|lock)")


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
    def anew(self) -> Path:
        return self.folder / f".{self.stem}.anew.part"

    @property
    def lock(self) -> Path:
        return self.folder / f".{self.stem}.lock"

    def size(self) -> int:
        return max(_size(self.part), _size(self.anew))

    def keep_the_longer(self) -> None:
        """Of the two, where there are two."""
        if _size(self.anew) > _size(self.part):
            self.anew.replace(self.part)
        self.anew.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what an earlier run left, unless a process is at work on it or it may not be removed."""
        with contextlib.suppress(OSError):
            if any(path.exists() for path in (self.part, self.anew, self.lock)):
                with if_free(self.lock) as free:
                    if free:
                        self.part.unlink(missing_ok=True)
                        self.anew.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def clear_strangers(folder: Path, known: Collection[Place]) -> None:
    """Remove the parts and locks in a folder that belong to none of the `known`."""
    if folder.is_dir():
        found = {Place(folder, match[1]) for path in folder.iterdir() if (match := OURS.fullmatch(path.name))}
        for place in found - set(known):
            place.clear()


class Partial:
    """The part, open: what it holds may still become the true file."""

    def __init__(self, place: Place, file: ModelFile) -> None:
        self._file = file
        self._place = place
        place.keep_the_longer()
        self._held = _Growing(place.part, file)

    @property
    def path(self) -> Path:
        return self._place.part

    @property
    def size(self) -> int:
        return self._held.size

    def is_whole(self) -> bool:
        return self.size > 0 and self._held.is_true()

    @contextlib.contextmanager
    def receiving(self, start: int) -> Iterator["_Growing"]:
        """What a source gives from the byte `start` on is to be added to this: from where the part ends, or from 0.

        At its end Untrue unless all bytes are there and true; only those that may still become a true file are kept.
        """
        assert start in (0, self.size)
        if start == self.size:
            yield self._held
            self._held.check()
            return
        anew = _Growing(self._place.anew, self._file)
        try:
            yield anew
            anew.check()
        finally:
            self._choose(anew)

    def _choose(self, anew: "_Growing") -> None:
        anew.close()
        if anew.is_true() or _size(self._place.anew) > _size(self._place.part):
            self._held.close()
            self._place.anew.replace(self._place.part)
            self._held = _Growing(self._place.part, self._file, anew)
        else:
            self._place.anew.unlink()

    def publish(self, destination: Path) -> None:
        self._held.sync()
        self._held.close()
        publish_file(self.path, destination)

    def close(self) -> None:
        self._held.close()
        if self.path.exists() and self.path.stat().st_size == 0:
            self.path.unlink()

    def kept(self) -> str:
        """In words, for one who has to go without the rest for now."""
        whole = "" if self._file.size is None else f" of {self._file.size}"
        return f"kept: {self.path.stat().st_size}{whole} bytes in {self.path}; the same command goes on from there"


class _Growing:
    """A file that bytes are added to, and the hash of what it holds."""

    def __init__(self, path: Path, file: ModelFile, known: "_Growing | None" = None) -> None:
        """`known`: the same bytes, hashed under another name."""
        self._file = file
        self._stream = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by close()
        self._tally: verify.Tally = verify.Tally(file) if known is None else known._tally
        if known is None:
            self._take_up()

    @property
    def size(self) -> int:
        return self._tally.size

    def is_true(self) -> bool:
        return self._tally.is_true()

    def add(self, chunk: bytes) -> None:
        """TooLong, and nothing is kept, where it does not fit."""
        with self._dropped_if_untrue():
            self._tally.add(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._stream.write(rest) :]

    def check(self) -> None:
        with self._dropped_if_untrue():
            self._tally.check()

    def sync(self) -> None:
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()

    def _take_up(self) -> None:
        """What is there is the beginning of the file, for all one can know before its end."""
        try:
            self._stream.seek(0)
            while chunk := self._stream.read(verify.CHUNK):
                self._tally.add(chunk)
        except verify.TooLong:
            self._drop()
        if self.size == self._file.size and not self.is_true():
            self._drop()

    def _drop(self) -> None:
        self._stream.truncate(0)
        self._tally = verify.Tally(self._file)

    @contextlib.contextmanager
    def _dropped_if_untrue(self) -> Iterator[None]:
        try:
            yield
        except (verify.TooLong, verify.HashMismatch):
            self._drop()
            raise
