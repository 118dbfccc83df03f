"""A cache entry is complete or absent, whoever else writes it."""

import hashlib
import threading
from pathlib import Path

import pytest

from omz_model_tools.descriptor.model import Checksum
from omz_model_tools.download.cache import Cache

CONTENT = b"The poem was written by" * 1000
CHECKSUM = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    return path


def all_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_entry_lies_under_its_checksum(file: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new" / "cache")
    cache.put(file, CHECKSUM)
    digest = CHECKSUM.digest
    assert all_in(cache.folder) == [f"sha256/{digest[:2]}/{digest[2:]}"]
    assert cache.entry(CHECKSUM).read_bytes() == CONTENT
    assert cache.entry(CHECKSUM).stat().st_ino != file.stat().st_ino


def test_an_entry_that_is_there_is_left_alone(file: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.put(file, CHECKSUM)
    before = cache.entry(CHECKSUM).stat()
    cache.put(file, CHECKSUM)
    assert cache.entry(CHECKSUM).stat().st_ino == before.st_ino


def test_what_a_killed_run_left_is_written_over(file: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    entry = cache.entry(CHECKSUM)
    entry.parent.mkdir(parents=True)
    entry.with_name(f".{entry.name}.part").write_bytes(CONTENT * 2)
    entry.with_name(f".{entry.name}.lock").write_bytes(b"")
    cache.put(file, CHECKSUM)
    assert entry.read_bytes() == CONTENT
    assert len(all_in(cache.folder)) == 1


def test_many_at_once(file: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    threads = [threading.Thread(target=cache.put, args=(file, CHECKSUM)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.entry(CHECKSUM).read_bytes() == CONTENT
    assert len(all_in(cache.folder)) == 1


def test_nothing_stays_of_a_copy_that_failed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(FileNotFoundError):
        cache.put(tmp_path / "nowhere", CHECKSUM)
    assert all_in(cache.folder) == []
