"""memory.py: only what came later or was named, only what is in use, and nothing in it changes."""

import mmap
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_text_prediction.engine import huge_pages as tested
from gpt2_text_prediction.engine.huge_pages import HugePages, drop_mapped_pages, without

SIZE = 16 << 20


def taken(*advice: int, used: int = SIZE) -> np.ndarray:
    """Return memory of its own, its first part in use; Linux joins it only with memory of the same advice."""
    mapping = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for one in advice:
        mapping.madvise(one)
    memory = np.frombuffer(mapping, np.uint8)
    memory[:used] = 7
    return memory


def in_huge_pages(memory: np.ndarray) -> int:
    """Return how many bytes of the mapping that holds it are, as Linux tells."""
    return _told(memory.ctypes.data, "AnonHugePages")


def resident(mapped: mmap.mmap) -> int:
    """Return how many bytes of a mapping are in memory, as Linux tells."""
    return _told(np.frombuffer(mapped, np.uint8).ctypes.data, "Rss")


def _told(address: int, what: str) -> int:
    for piece in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)[1:]:
        first, end = (int(part, 16) for part in piece.split(maxsplit=1)[0].split("-"))
        if first <= address < end:
            return 1024 * int(re.search(rf"{what}: *(\d+) kB", piece)[1])
    raise AssertionError("no such mapping")


@pytest.fixture
def _linux():
    if sys.platform != "linux" or not tested.ENABLED.exists() or "[madvise]" not in tested.ENABLED.read_text():
        pytest.skip("huge pages come by themselves here, or not at all")
    probe = HugePages()
    memory = taken()
    if not probe.collapse():
        pytest.skip("this Linux is before 6.1")
    del memory


@pytest.mark.usefixtures("_linux")
def test_what_is_in_use_and_came_later_is_in_huge_pages_and_as_it_was():
    before = taken(mmap.MADV_DONTFORK)
    pages = HugePages()
    used, hardly_used = taken(mmap.MADV_DONTDUMP), taken(mmap.MADV_DONTFORK, mmap.MADV_DONTDUMP, used=SIZE // 2)
    collapsed = pages.collapse()
    assert collapsed >= SIZE - 2 * tested.HUGE
    assert in_huge_pages(used) >= SIZE - 2 * tested.HUGE
    assert [in_huge_pages(memory) for memory in (before, hardly_used)] == [0, 0]
    assert (used == 7).all()


def test_nothing_happens_where_it_is_forbidden(tmp_path, monkeypatch):
    enabled = tmp_path / "enabled"
    enabled.write_text("always madvise [never]\n")
    monkeypatch.setattr(tested, "ENABLED", enabled)
    pages = HugePages()
    memory = taken()
    assert pages.collapse() == 0
    assert (memory == 7).all()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked")
def test_what_is_given_back_of_a_file_is_read_again(tmp_path):
    named, other = tmp_path / "named (1)", tmp_path / "other"
    content = bytes(range(256)) * (SIZE // 256)
    for path in (named, other):
        path.write_bytes(content)
    with named.open("rb") as one, other.open("rb") as two:
        mapped = [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for file in (one, two)]
    assert [sum(memory[::4096]) for memory in mapped] == [0, 0]  # all of both is in memory now
    held = [resident(memory) for memory in mapped]
    assert drop_mapped_pages(named) == SIZE
    assert (held, [resident(memory) for memory in mapped]) == ([SIZE, SIZE], [0, SIZE])
    assert mapped[0][:] == content
    assert drop_mapped_pages(tmp_path / "nothing") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked")
def test_names_that_are_no_text_cost_nothing(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff"))
    folder.mkdir()
    path = folder / "model.bin"
    path.write_bytes(bytes(SIZE))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert sum(mapped[::4096]) == 0
    pages = HugePages()
    assert drop_mapped_pages(path) == SIZE
    pages.collapse()


@pytest.mark.parametrize("content", [None, b"\xff\xfe no map at all\n"], ids=["no /proc", "another /proc"])
def test_without_proc_nothing_happens(tmp_path, monkeypatch, content):
    for name in ("MAPS", "USED_MAPS"):
        monkeypatch.setattr(tested, name, tmp_path / name)
        if content is not None:
            (tmp_path / name).write_bytes(content)
    pages = HugePages()
    assert (drop_mapped_pages(tmp_path / "x"), pages.collapse()) == (0, 0)


def test_what_of_a_span_lies_in_no_other_by_hand():
    assert without((10, 20), []) == [(10, 20)]
    assert without((10, 20), [(12, 14), (18, 30)]) == [(10, 12), (14, 18)]
    assert without((10, 20), [(0, 11), (19, 20)]) == [(11, 19)]
    assert without((10, 20), [(0, 100)]) == []


spans = st.tuples(st.integers(0, 30), st.integers(1, 12)).map(lambda one: (one[0], one[0] + one[1]))


@given(spans, st.lists(spans, max_size=5))
def test_without_is_the_difference_of_sets(span, others):
    held = {address for start, stop in others for address in range(start, stop)}
    left = without(span, others)
    assert {address for start, stop in left for address in range(start, stop)} == set(range(*span)) - held
    assert all(first < end for first, end in left)
