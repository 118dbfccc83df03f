"""The partial download of a file, kept on disk so that a later run can resume it.

It is beside the file, under a name made of the checksum, so that a part of another version is never resumed. If a
source sends the file from its first byte again, the bytes go to a second part, and the longer of the two is kept: a
login page does not cost the gigabytes already there. One process at a time uses them, under the lock of that name.

Nothing but its checksum, which comes last, limits what a source may send for a file of unknown size. So beside the part
of such a file stands where it came from, and it is dropped when that source says that its file is another.
"""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.lock import if_free
from omz_model_tools.common.own_names import create_own, open_own, own_size
from omz_model_tools.common.publish import publish_file
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.model import ModelFile, Source
from omz_model_tools.download.sources import Delivery, Version

OURS = re.compile(r"\.([0-9a-f]{32})\.(part|anew\.part|origin\.part|lock)")
LONGEST_ORIGIN = 1 << 16  # bytes


@dataclass(frozen=True)
class PartPaths:
    """The paths of a file's parts, and of their lock."""

    folder: Path
    stem: str

    @classmethod
    def of(cls, destination: Path, file: ModelFile) -> "PartPaths":
        return cls(destination.parent, file.checksum.digest[:32])

    @property
    def part(self) -> Path:
        return self.folder / f".{self.stem}.part"

    @property
    def anew(self) -> Path:
        return self.folder / f".{self.stem}.anew.part"

    @property
    def origin(self) -> Path:
        """The path of what says where the part came from."""
        return self.folder / f".{self.stem}.origin.part"

    @property
    def lock(self) -> Path:
        return self.folder / f".{self.stem}.lock"

    def size(self) -> int:
        return max(own_size(self.part), own_size(self.anew))

    def keep_longer_part(self) -> None:
        """Keep only the longer of the two parts."""
        if own_size(self.anew) > own_size(self.part):
            self.origin.unlink(missing_ok=True)  # of the other
            self.anew.replace(self.part)
        self.anew.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the parts of an earlier run, unless another process uses them or they may not be removed."""
        with contextlib.suppress(OSError):
            parts = (self.part, self.anew, self.origin)
            if any(path.exists() for path in (*parts, self.lock)):
                with if_free(self.lock) as free:
                    if free:
                        for path in parts:
                            path.unlink(missing_ok=True)


def remove_stale_parts(folder: Path, known: Collection[PartPaths]) -> None:
    """Remove the parts and locks in a folder that are not among the `known`."""
    if folder.is_dir():
        found = {PartPaths(folder, match[1]) for path in folder.iterdir() if (match := OURS.fullmatch(path.name))}
        for paths in found - set(known):
            paths.clear()


class Partial:
    """The open part of a file: its bytes are, so far, the beginning of the file."""

    def __init__(self, paths: PartPaths, file: ModelFile) -> None:
        self._file = file
        self._paths = paths
        paths.keep_longer_part()
        self._held = _HashedPart(paths.part, file)

    @property
    def path(self) -> Path:
        return self._paths.part

    @property
    def size(self) -> int:
        return self._held.size

    def is_whole(self) -> bool:
        return self.size > 0 and self._held.matches()

    def is_disowned_by(self, source: Source, delivery: Delivery) -> bool:
        """Whether the part came from this source, which now says that its file is another."""
        if self._file.size is not None or not self.size:
            return False
        version = _version_from(self._paths.origin, source)
        return version is not None and (delivery.ends_before or version.contradicts(delivery.version))

    def drop(self) -> None:
        """Forget the bytes so far."""
        self._held.drop()
        self._paths.origin.unlink(missing_ok=True)

    @contextlib.contextmanager
    def receiving(self, source: Source, delivery: Delivery) -> Iterator["_HashedPart"]:
        """Yield where to add the bytes of a source, which start at the end of the part, or at 0.

        VerificationError at the end unless the file is complete and its checksum matches; wrong bytes are dropped.
        """
        assert delivery.start in (0, self.size)
        if delivery.start == self.size:
            if not self.size:
                self._note_origin(source, delivery.version)
            yield self._held
            self._held.check()
            return
        anew = _HashedPart(self._paths.anew, self._file)
        try:
            yield anew
            anew.check()
        finally:
            if self._choose(anew):
                self._note_origin(source, delivery.version)

    def _choose(self, anew: "_HashedPart") -> bool:
        """Keep one of the two parts; True for the new one."""
        anew.close()
        if not anew.matches() and own_size(self._paths.anew) <= own_size(self._paths.part):
            self._paths.anew.unlink()
            return False
        self._held.close()
        self._paths.origin.unlink(missing_ok=True)
        self._paths.anew.replace(self._paths.part)
        self._held = _HashedPart(self._paths.part, self._file, anew)
        return True

    def _note_origin(self, source: Source, version: Version) -> None:
        if self._file.size is None:
            record = {"source": str(source), "length": version.length, "etag": version.etag}
            with create_own(self._paths.origin) as stream:
                stream.write(json.dumps(record).encode()[:LONGEST_ORIGIN])

    def publish(self, destination: Path) -> None:
        self._held.sync()
        self._held.close()
        self._paths.origin.unlink(missing_ok=True)
        publish_file(self.path, destination)

    def close(self) -> None:
        self._held.close()
        if own_size(self.path) == 0:
            self.path.unlink(missing_ok=True)
            self._paths.origin.unlink(missing_ok=True)

    def kept(self) -> str:
        """Say how much is kept, and where, for an error line."""
        whole = "" if self._file.size is None else f" of {self._file.size}"
        return f"kept: {self.path.stat().st_size}{whole} bytes in {self.path}; the same command goes on from there"


def _version_from(origin: Path, source: Source) -> Version | None:
    """Return what a source said of its file when the part began; None where the part did not come from it."""
    if not 0 < own_size(origin) <= LONGEST_ORIGIN:
        return None
    # Cut, or none of ours: nothing is known.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        record = json.loads(origin.read_bytes())
        if record["source"] == str(source):
            return Version(record["length"], record["etag"])
    return None


class _HashedPart:
    """A file that bytes are appended to, and the hash of its content."""

    def __init__(self, path: Path, file: ModelFile, known: "_HashedPart | None" = None) -> None:
        """`known`: the same bytes, already hashed under another name."""
        self._file = file
        self._stream = os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND), "a+b", buffering=0)  # closed by close()
        self._hash: verify.IncrementalHash = verify.IncrementalHash(file) if known is None else known._hash
        if known is None:
            self._hash_existing()

    @property
    def size(self) -> int:
        return self._hash.size

    def matches(self) -> bool:
        return self._hash.matches()

    def add(self, chunk: bytes) -> None:
        """Append; TooLong, and the part is emptied, where that exceeds the size of the file."""
        with self._dropped_if_wrong():
            self._hash.add(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._stream.write(rest) :]

    def check(self) -> None:
        with self._dropped_if_wrong():
            self._hash.check()

    def sync(self) -> None:
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()

    def _hash_existing(self) -> None:
        """Hash the bytes that are there, which may be the beginning of the file."""
        try:
            self._stream.seek(0)
            while chunk := self._stream.read(verify.CHUNK):
                self._hash.add(chunk)
        except verify.TooLong:
            self.drop()
        if self.size == self._file.size and not self.matches():
            self.drop()

    def drop(self) -> None:
        self._stream.truncate(0)
        self._hash = verify.IncrementalHash(self._file)

    @contextlib.contextmanager
    def _dropped_if_wrong(self) -> Iterator[None]:
        try:
            yield
        except (verify.TooLong, verify.HashMismatch):
            self.drop()
            raise
