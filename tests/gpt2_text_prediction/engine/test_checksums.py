"""checksums: hashed once while a file stays as it is, and again after every change; a cache costs only itself."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from gpt2_text_prediction import Problem
from gpt2_text_prediction.engine.checksums import checksum, user_cache


def later() -> float:
    """A clock by which every file has been there for long."""
    return 1e11


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights" * 300_000)
    return path


def remembered(cache: Path, digest: str) -> None:
    """Put another checksum into the only entry, so that it can be told from one that is computed."""
    (entry,) = (cache / "checksums").iterdir()
    entry.write_text(json.dumps([*json.loads(entry.read_text())[:-1], digest]))


def test_a_checksum_is_computed_once(tmp_path, file):
    cache = tmp_path / "cache"
    assert checksum(file, cache, later) == sha256(file.read_bytes())
    remembered(cache, "from the cache")
    assert checksum(file, cache, later) == "from the cache"
    assert checksum(file) == sha256(file.read_bytes())


def test_every_change_of_a_file_is_seen(tmp_path, file):
    cache, status = tmp_path / "cache", file.stat()

    def written_over() -> None:
        file.write_bytes(b"Weights" * 300_000)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as cp -p of a file of the same time

    def replaced() -> None:
        shutil.copy2(file, tmp_path / "other")
        (tmp_path / "other").replace(file)

    def longer() -> None:
        file.write_bytes(b"weights" * 300_001)

    for change in (written_over, replaced, longer):
        checksum(file, cache, later)
        remembered(cache, "from the cache")
        change()
        assert checksum(file, cache, later) == sha256(file.read_bytes())


def test_a_file_that_was_just_changed_may_change_again_in_the_same_tick(tmp_path, file):
    cache = tmp_path / "cache"
    assert checksum(file, cache, clock=lambda: file.stat().st_mtime + 1) == sha256(file.read_bytes())
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"[1, 2]", b"\xff", b"[" * 100_000])
def test_a_broken_entry_is_computed_again(tmp_path, file, content):
    cache = tmp_path / "cache"
    checksum(file, cache, later)
    (entry,) = (cache / "checksums").iterdir()
    entry.write_bytes(content)
    assert checksum(file, cache, later) == sha256(file.read_bytes())
    remembered(cache, "from the cache")
    assert checksum(file, cache, later) == "from the cache"


def test_a_cache_that_cannot_be_written_costs_only_itself(tmp_path, file):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    for cache in (blocked, Path("/proc/nowhere")):
        assert checksum(file, cache, later) == sha256(file.read_bytes())
    cache = tmp_path / "cache"
    checksum(file, cache, later)
    (entry,) = (cache / "checksums").iterdir()
    entry.unlink()
    entry.mkdir()
    assert checksum(file, cache, later) == sha256(file.read_bytes())
    assert list((cache / "checksums").iterdir()) == [entry]


def test_a_name_that_is_not_utf8_is_remembered_too(tmp_path):
    path, cache = tmp_path / os.fsdecode(b"\xff.bin"), tmp_path / "cache"
    path.write_bytes(b"weights")
    checksum(path, cache, later)
    remembered(cache, "from the cache")
    assert checksum(path, cache, later) == "from the cache"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(Problem, match=r"none\.bin: cannot be read: No such file"):
        checksum(tmp_path / "none.bin", tmp_path / "cache")


def test_the_users_cache(tmp_path):
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    assert user_cache({}, lambda: tmp_path) == tmp_path / ".cache/omz-gpt2"
    assert user_cache({"XDG_CACHE_HOME": "/elsewhere"}, nowhere) == Path("/elsewhere/omz-gpt2")
    assert user_cache({"XDG_CACHE_HOME": "relative"}, lambda: tmp_path) == tmp_path / ".cache/omz-gpt2"
    assert user_cache({}, nowhere) is None
