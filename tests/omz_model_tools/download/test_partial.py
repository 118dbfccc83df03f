"""The bytes of a part on disk are those that were hashed; wrong bytes are not kept."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.common.lock import exclusive
from omz_model_tools.descriptor.model import Checksum, HttpSource, ModelFile
from omz_model_tools.descriptor.verify import HashMismatch, TooLong, TooShort
from omz_model_tools.download.partial import Partial, PartPaths, remove_stale_parts
from omz_model_tools.download.sources import Delivery, Version

CONTENT = b"The poem was written by"
SOURCE, OTHER = HttpSource("http://a"), HttpSource("http://b")


def described(content: bytes = CONTENT, sized: bool = True) -> ModelFile:
    checksum = Checksum("sha256", hashlib.sha256(content).hexdigest())
    return ModelFile(PurePosixPath("x"), len(content) if sized else None, checksum, (HttpSource("http://a"),))


@contextlib.contextmanager
def opened(folder: Path, sized: bool = True) -> Iterator[Partial]:
    place = PartPaths.of(folder / "x", described())
    with contextlib.closing(Partial(place, described(sized=sized))) as part:
        yield part


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_name_is_of_the_checksum(tmp_path: Path) -> None:
    place = PartPaths.of(tmp_path / "x", described())
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (place.part.name, place.lock.name) == (f".{digest[:32]}.part", f".{digest[:32]}.lock")
    assert place.part.parent == place.lock.parent == tmp_path


def test_from_nothing_to_a_published_file(tmp_path: Path) -> None:
    with opened(tmp_path) as part:
        with part.receiving(SOURCE, Delivery(0, iter([]))) as growing:
            growing.add(CONTENT[:5])
            assert part.path.read_bytes() == CONTENT[:5]
            growing.add(CONTENT[5:])
        part.publish(tmp_path / "x")
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_what_is_there_is_taken_up(tmp_path: Path) -> None:
    receive(tmp_path, CONTENT[:5], TooShort)
    with opened(tmp_path) as part:
        assert (part.size, part.is_whole()) == (5, False)
        assert part.kept() == f"kept: 5 of 23 bytes in {part.path}; the same command goes on from there"
        with part.receiving(SOURCE, Delivery(5, iter([]))) as growing:
            growing.add(CONTENT[5:])
        assert part.is_whole()


def receive(folder: Path, content: bytes, failure: type[Exception], sized: bool = True) -> None:
    """From the first byte on, whatever is there, in a process of its own."""
    with (
        opened(folder, sized) as part,
        pytest.raises(failure),
        part.receiving(SOURCE, Delivery(0, iter([]))) as growing,
    ):
        growing.add(content)


def held(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


class TestWhatBeginsAgain:
    """A source that cannot go on gives the first byte again, and perhaps something else."""

    @pytest.mark.parametrize("sized", [True, False])
    def test_a_login_page_costs_nothing(self, tmp_path: Path, sized: bool) -> None:
        receive(tmp_path, CONTENT[:9], TooShort)
        receive(tmp_path, b"<html>", TooShort if sized else HashMismatch, sized)
        assert held(tmp_path) == [CONTENT[:9]]

    def test_the_longer_one_stays(self, tmp_path: Path) -> None:
        for count, most in ((9, 9), (5, 9), (11, 11)):
            receive(tmp_path, CONTENT[:count], TooShort)
            assert held(tmp_path) == [CONTENT[:most]]

    @pytest.mark.parametrize(("content", "failure"), [(CONTENT[::-1], HashMismatch), (CONTENT + b"!", TooLong)])
    def test_another_file_costs_nothing(self, tmp_path: Path, content: bytes, failure: type[Exception]) -> None:
        receive(tmp_path, CONTENT[:9], TooShort)
        receive(tmp_path, content, failure)
        assert held(tmp_path) == [CONTENT[:9]]

    @pytest.mark.parametrize("sized", [True, False])
    @pytest.mark.parametrize("garbled", [b"?" * 5, b"?" * 22, b"?" * 40])
    def test_the_true_file_replaces_what_is_garbled(self, tmp_path: Path, garbled: bytes, sized: bool) -> None:
        place = PartPaths.of(tmp_path / "x", described())
        place.part.write_bytes(garbled)
        with opened(tmp_path, sized) as part:
            with part.receiving(SOURCE, Delivery(0, iter([]))) as growing:
                growing.add(CONTENT)
            assert part.is_whole()
            part.publish(tmp_path / "x")
        assert held(tmp_path) == [CONTENT]

    @pytest.mark.parametrize(("part", "anew"), [(5, 9), (9, 5), (0, 9), (9, 0)])
    def test_a_killed_process_leaves_two_and_the_longer_is_gone_on_with(
        self, tmp_path: Path, part: int, anew: int
    ) -> None:
        place = PartPaths.of(tmp_path / "x", described())
        place.part.write_bytes(CONTENT[:part])
        place.anew.write_bytes(CONTENT[:anew])
        assert place.size() == 9
        with opened(tmp_path) as taken_up:
            assert taken_up.size == 9
        assert held(tmp_path) == [CONTENT[:9]]

    def test_a_break_in_the_middle_keeps_the_longer(self, tmp_path: Path) -> None:
        receive(tmp_path, CONTENT[:5], TooShort)
        with opened(tmp_path) as part:
            with pytest.raises(KeyboardInterrupt), part.receiving(SOURCE, Delivery(0, iter([]))) as growing:  # noqa: PT012
                growing.add(CONTENT[:9])
                raise KeyboardInterrupt
            with part.receiving(SOURCE, Delivery(9, iter([]))) as growing:
                growing.add(CONTENT[9:])
            assert part.is_whole()


@pytest.mark.parametrize("sized", [True, False])
def test_a_whole_part_is_seen_to_be_whole(tmp_path: Path, sized: bool) -> None:
    PartPaths.of(tmp_path / "x", described()).part.write_bytes(CONTENT)
    with opened(tmp_path, sized) as part:
        assert part.is_whole()


@pytest.mark.parametrize("found", [CONTENT + b"!", CONTENT[:-1] + b"!"])
def test_a_part_that_cannot_be_true_is_dropped(tmp_path: Path, found: bytes) -> None:
    PartPaths.of(tmp_path / "x", described()).part.write_bytes(found)
    with opened(tmp_path) as part:
        assert part.size == 0
    assert names(tmp_path) == []


@pytest.mark.parametrize(("content", "failure"), [(CONTENT[::-1], HashMismatch), (CONTENT + b"!", TooLong)])
def test_wrong_bytes_do_not_stay(tmp_path: Path, content: bytes, failure: type[Exception]) -> None:
    receive(tmp_path, content, failure)
    assert names(tmp_path) == []


class TestWhereAPartOfUnknownSizeCameFrom:
    @staticmethod
    def begin(folder: Path, source: HttpSource, version: Version, count: int, *, sized: bool = False) -> None:
        """As far as `count` bytes, then the process ends."""
        with (
            opened(folder, sized) as part,
            contextlib.suppress(KeyboardInterrupt),
            part.receiving(source, Delivery(0, iter([]), version)) as growing,
        ):
            growing.add(CONTENT[:count])
            raise KeyboardInterrupt

    @pytest.mark.parametrize(
        ("source", "version", "ends_before", "disowned"),
        [
            (SOURCE, Version(23, '"a"'), False, False),
            (SOURCE, Version(), False, False),
            (SOURCE, Version(23, '"b"'), False, True),
            (SOURCE, Version(24, '"a"'), False, True),
            (SOURCE, Version(), True, True),
            (OTHER, Version(24, '"b"'), True, False),
        ],
    )
    def test_only_its_source_disowns_it(
        self, tmp_path: Path, source: HttpSource, version: Version, ends_before: bool, disowned: bool
    ) -> None:
        self.begin(tmp_path, SOURCE, Version(23, '"a"'), 5)
        with opened(tmp_path, sized=False) as part:
            assert part.is_disowned_by(source, Delivery(5, iter([]), version, ends_before)) == disowned
            part.drop()
        assert names(tmp_path) == []

    def test_it_is_that_of_the_part_that_is_kept(self, tmp_path: Path) -> None:
        self.begin(tmp_path, SOURCE, Version(23, '"a"'), 9)
        self.begin(tmp_path, OTHER, Version(23, '"b"'), 5)  # shorter: not kept
        changed = Delivery(9, iter([]), Version(24))
        with opened(tmp_path, sized=False) as part:
            assert (part.is_disowned_by(SOURCE, changed), part.is_disowned_by(OTHER, changed)) == (True, False)
        self.begin(tmp_path, OTHER, Version(23, '"b"'), 11)
        with opened(tmp_path, sized=False) as part:
            assert (part.is_disowned_by(SOURCE, changed), part.is_disowned_by(OTHER, changed)) == (False, True)

    def test_of_a_part_that_a_killed_process_left_nothing_is_known(self, tmp_path: Path) -> None:
        self.begin(tmp_path, SOURCE, Version(23, '"a"'), 5)
        PartPaths.of(tmp_path / "x", described()).anew.write_bytes(CONTENT[:9])
        with opened(tmp_path, sized=False) as part:
            assert not part.is_disowned_by(SOURCE, Delivery(9, iter([]), Version(24)))

    @pytest.mark.parametrize(
        "found",
        [
            b"",
            b"{",
            b"[]",
            b"[" * 60_000,
            b'{"source": "http://a", "length": 23, "etag": null}' + b" " * 70_000,
            b'{"source": "http://a"}',
            b"\xff",
        ],
    )
    def test_a_damaged_record_says_nothing(self, tmp_path: Path, found: bytes) -> None:
        self.begin(tmp_path, SOURCE, Version(23, '"a"'), 5)
        PartPaths.of(tmp_path / "x", described()).origin.write_bytes(found)
        with opened(tmp_path, sized=False) as part:
            assert not part.is_disowned_by(SOURCE, Delivery(5, iter([]), Version(24)))

    def test_a_file_whose_size_is_known_needs_none(self, tmp_path: Path) -> None:
        self.begin(tmp_path, SOURCE, Version(23, '"a"'), 5, sized=True)
        paths = PartPaths.of(tmp_path / "x", described())
        assert names(tmp_path) == [paths.part.name]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9))))
def test_disk_and_hash_agree(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int]]) -> None:
    """Chunks, some of which begin anew; then it is opened again."""
    folder = tmp_path_factory.mktemp("part")
    most = 0
    with opened(folder) as part:
        for anew, count in steps:
            start = 0 if anew else most
            end = min(start + count, len(CONTENT))
            with contextlib.suppress(TooShort), part.receiving(SOURCE, Delivery(start, iter([]))) as growing:
                growing.add(CONTENT[start:end])
            most = max(most, end)
            assert part.size == most
            assert part.path.read_bytes() == CONTENT[:most]
    with opened(folder) as part:
        assert part.size == most
        assert part.is_whole() == (most == len(CONTENT))


def test_strangers_are_ours_known_to_nobody_and_held_by_nobody(tmp_path: Path) -> None:
    known, stranger, held = (PartPaths(tmp_path, digit * 32) for digit in "012")
    foreign = [".x.part", f".{'0' * 31}.part", f".{'0' * 33}.lock", f".{'G' * 32}.part", f"{'0' * 32}.part"]
    for path in (
        known.part,
        known.lock,
        stranger.part,
        stranger.anew,
        stranger.origin,
        stranger.lock,
        held.part,
        *map(tmp_path.joinpath, foreign),
    ):
        path.write_bytes(b"?")
    with exclusive(held.lock, lambda: None):
        remove_stale_parts(tmp_path, [known])
        expected = [known.part.name, known.lock.name, held.part.name, held.lock.name, *foreign]
        assert names(tmp_path) == sorted(expected)


def test_a_folder_that_is_not_there_has_no_strangers(tmp_path: Path) -> None:
    remove_stale_parts(tmp_path / "nowhere", [])
