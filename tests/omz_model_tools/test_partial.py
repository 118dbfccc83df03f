"""partial: the bytes so far, on disk and hashed, are the same bytes; untrue ones do not stay."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.descriptor import Checksum, HttpSource, ModelFile
from omz_model_tools.lock import exclusive
from omz_model_tools.partial import Partial, Place, clear_strangers
from omz_model_tools.verify import HashMismatch, TooLong, TooShort

CONTENT = b"The poem was written by"


def described(content: bytes = CONTENT, sized: bool = True) -> ModelFile:
    checksum = Checksum("sha256", hashlib.sha256(content).hexdigest())
    return ModelFile(PurePosixPath("x"), len(content) if sized else None, checksum, (HttpSource("http://a"),))


@contextlib.contextmanager
def opened(folder: Path, sized: bool = True) -> Iterator[Partial]:
    place = Place.of(folder / "x", described())
    with contextlib.closing(Partial(place, described(sized=sized))) as part:
        yield part


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_name_is_of_the_checksum(tmp_path: Path) -> None:
    place = Place.of(tmp_path / "x", described())
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (place.part.name, place.lock.name) == (f".{digest[:32]}.part", f".{digest[:32]}.lock")
    assert place.part.parent == place.lock.parent == tmp_path


def test_from_nothing_to_a_published_file(tmp_path: Path) -> None:
    with opened(tmp_path) as part:
        part.put(0, CONTENT[:5])
        assert part.path.read_bytes() == CONTENT[:5]
        part.put(5, CONTENT[5:])
        part.check()
        part.publish(tmp_path / "x")
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_what_is_there_is_taken_up(tmp_path: Path) -> None:
    with opened(tmp_path) as part:
        part.put(0, CONTENT[:5])
    with opened(tmp_path) as part:
        assert (part.size, part.is_whole()) == (5, False)
        assert part.kept() == f"kept: 5 of 23 bytes in {part.path}; the same command goes on from there"
        with pytest.raises(TooShort):
            part.check()
        part.put(5, CONTENT[5:])
        assert part.is_whole()


@pytest.mark.parametrize("sized", [True, False])
def test_a_whole_part_is_seen_to_be_whole(tmp_path: Path, sized: bool) -> None:
    Place.of(tmp_path / "x", described()).part.write_bytes(CONTENT)
    with opened(tmp_path, sized) as part:
        assert part.is_whole()


@pytest.mark.parametrize("found", [CONTENT + b"!", CONTENT[:-1] + b"!"])
def test_a_part_that_cannot_be_true_is_dropped(tmp_path: Path, found: bytes) -> None:
    Place.of(tmp_path / "x", described()).part.write_bytes(found)
    with opened(tmp_path) as part:
        assert part.size == 0
    assert names(tmp_path) == []


def test_untrue_bytes_do_not_stay(tmp_path: Path) -> None:
    with opened(tmp_path) as part:
        part.put(0, CONTENT)
        with pytest.raises(TooLong):
            part.put(len(CONTENT), b"!")
        assert part.size == 0
        part.put(0, CONTENT[::-1])
        with pytest.raises(HashMismatch):
            part.check()
        assert (part.size, part.path.stat().st_size) == (0, 0)
    assert names(tmp_path) == []


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9))))
def test_disk_and_hash_agree(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int]]) -> None:
    """Chunks, some of which begin anew; then it is opened again."""
    folder = tmp_path_factory.mktemp("part")
    expected = b""
    with opened(folder) as part:
        for anew, count in steps:
            expected = b"" if anew else expected
            chunk = CONTENT[len(expected) : len(expected) + count]
            part.put(len(expected), chunk)
            expected += chunk
            assert part.size == len(expected)
            assert part.path.read_bytes() == expected
    with opened(folder) as part:
        assert part.size == len(expected)
        assert part.is_whole() == (expected == CONTENT)


def test_strangers_are_ours_known_to_nobody_and_held_by_nobody(tmp_path: Path) -> None:
    known, stranger, held = (Place(tmp_path, digit * 32) for digit in "012")
    foreign = [".x.part", f".{'0' * 31}.part", f".{'0' * 33}.lock", f".{'G' * 32}.part", f"{'0' * 32}.part"]
    for path in (known.part, known.lock, stranger.part, stranger.lock, held.part, *map(tmp_path.joinpath, foreign)):
        path.write_bytes(b"?")
    with exclusive(held.lock, lambda: None):
        clear_strangers(tmp_path, [known])
        expected = [known.part.name, known.lock.name, held.part.name, held.lock.name, *foreign]
        assert names(tmp_path) == sorted(expected)


def test_a_folder_that_is_not_there_has_no_strangers(tmp_path: Path) -> None:
    clear_strangers(tmp_path / "nowhere", [])
