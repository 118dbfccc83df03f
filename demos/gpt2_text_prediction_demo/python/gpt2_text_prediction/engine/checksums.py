"""Checksums of models and other large files, remembered in the user's cache: gigabytes are hashed once."""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpt2_text_prediction.engine.model_file import check_files
from gpt2_text_prediction.problem import readable

CHUNK = 1 << 20
EXTERNAL_DATA = re.compile(rb"\x0a\x08location\x12(?:([\x01-\x7f])|([\x80-\xff])([\x01-\x7f]))")
"""The field of an ONNX tensor that names the file of its data, up to the length of the name, in one byte or two."""
SETTLED = 2.0
"""Seconds after a change of a file in which another one may leave its times as they are, on the coarsest file system.
"""


def user_cache(environment: Mapping[str, str] = os.environ, home: Callable[[], Path] = Path.home) -> Path | None:
    """Return this project's folder in the user's cache folder; None for a user who has none."""
    try:
        if sys.platform == "win32":
            caches = Path(environment.get("LOCALAPPDATA") or home() / "AppData/Local")
        elif sys.platform == "darwin":
            caches = home() / "Library/Caches"
        else:
            given = Path(environment.get("XDG_CACHE_HOME", ""))
            caches = given if given.is_absolute() else home() / ".cache"  # a relative one is to be ignored
    except RuntimeError:
        return None
    return caches / "omz-gpt2"


def model_checksums(model: Path, cache: Path | None = None) -> dict[str, Any]:
    """Return the checksums of a model's files: of the one that describes it, "model", and of the others, "weights".

    cache: see checksum. Raises Problem for a file that is missing or cannot be read.
    """
    check_files(model)
    return {"model": checksum(model, cache), "weights": [checksum(path, cache) for path in _weights(model)]}


def _weights(model: Path) -> Iterator[Path]:
    """Yield the files of a model's weights, but for the one that describes it."""
    if model.suffix == ".xml":
        yield model.with_suffix(".bin")
        return
    with readable(model):
        content = model.read_bytes()
    names = set()
    for found in EXTERNAL_DATA.finditer(content):
        length = found[1][0] if found[1] else (found[2][0] & 0x7F) | found[3][0] << 7
        names.add(content[found.end() : found.end() + length].decode(errors="replace"))
    yield from (path for path in (model.parent / name for name in sorted(names)) if path.is_file())


def checksum(path: Path, cache: Path | None = None, clock: Callable[[], float] = time.time) -> str:
    """Return the SHA-256 of a file, in hexadecimal; that of a file unchanged since the last time is not computed again.

    cache: the folder in which it is remembered, by the file's path, size, times and inode; None for none. clock:
    seconds since 1970. Raises Problem for a file that cannot be read; a cache that cannot be used costs only itself.
    """
    with readable(path):
        identity = _identity(path, path.stat())
    entry = None if cache is None else cache / "checksums" / f"{_sha256(os.fsencode(identity[0]))}.json"
    known = None if entry is None else _remembered(entry, identity)
    if known is not None:
        return known
    with readable(path), path.open("rb") as file:
        before = os.fstat(file.fileno())
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        after = os.fstat(file.fileno())
    is_settled = clock() - max(after.st_mtime, after.st_ctime) > SETTLED
    if entry is not None and is_settled and _identity(path, before) == _identity(path, after) == identity:
        _remember(entry, identity, digest.hexdigest())
    return digest.hexdigest()


def _identity(path: Path, status: os.stat_result) -> tuple[str, int, int, int, int, int]:
    """Return what changes whenever a file does; its ctime, where a copy keeps the time of another file of its size."""
    times = status.st_mtime_ns, status.st_ctime_ns
    return str(path.resolve()), status.st_size, *times, status.st_ino, status.st_dev


def _remembered(entry: Path, identity: tuple[object, ...]) -> str | None:
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(entry.read_bytes())
        if isinstance(found, list) and found[:-1] == list(identity) and isinstance(found[-1], str):
            return found[-1]
    return None


def _remember(entry: Path, identity: tuple[object, ...], digest: str) -> None:
    new = entry.with_name(f"{entry.stem}.{os.getpid()}.new")
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_text(json.dumps([*identity, digest]))
            new.replace(entry)
        finally:
            new.unlink(missing_ok=True)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
