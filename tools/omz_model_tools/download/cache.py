"""Cache of verified files, addressed by checksum and shared between models and runs.

An entry is FOLDER/sha256/ab/cdef…, and appears by rename. Readers verify what they take out.
"""

import errno
import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.own_names import create_own
from omz_model_tools.common.publish import publish_file
from omz_model_tools.descriptor.model import Checksum


@dataclass(frozen=True)
class Cache:
    folder: Path
    _failed: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def is_first_failure(self) -> bool:
        """Return True on the first call only, so that the warning is printed once."""
        return self._failed.acquire(blocking=False)

    def entry(self, checksum: Checksum) -> Path:
        return self.folder / checksum.algorithm / checksum.digest[:2] / checksum.digest[2:]

    def find(self, checksum: Checksum) -> Path | None:
        """Return the entry; None if there is none, or the folder may not be read."""
        entry = self.entry(checksum)
        return entry if os.path.isfile(entry) else None  # noqa: PTH113 - Path.is_file raises PermissionError

    def put(self, file: Path, checksum: Checksum) -> None:
        """Add a copy of a verified file; OSError if it cannot be written."""
        entry = self.entry(checksum)
        if entry.is_dir():
            raise IsADirectoryError(errno.EISDIR, "expected a file or nothing, got a folder", str(entry))
        if entry.exists():
            return
        entry.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(entry.with_name(f".{entry.name}.lock"), waiting=lambda: None):
            part = entry.with_name(f".{entry.name}.part")
            try:
                _copy(file, part)
                publish_file(part, entry)
            finally:
                part.unlink(missing_ok=True)


def _copy(file: Path, copy: Path) -> None:
    with file.open("rb") as source, create_own(copy) as out:
        shutil.copyfileobj(source, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
