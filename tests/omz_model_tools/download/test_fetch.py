"""At every moment a file is the old one, the verified new one, or absent; whole transcripts."""

import hashlib
import os
import shlex
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omz_model_tools.common.lock import if_free
from omz_model_tools.descriptor.model import Checksum, FileSource, HttpSource
from omz_model_tools.download.cache import Cache
from omz_model_tools.download.fetch import SourceFailure, failure_report
from omz_model_tools.download.retry import PROGRESS
from omz_model_tools.download.sources import Unavailable
from support.downloads import DIGEST, HEADING, PART, TRUE, Run, Script, Scripted, download, names, toy
from support.hub import Answer, Endless, Hub
from support.model_tree import file_entry
from support.unprivileged import without_power, world_readable_folder

LOCK = f".{DIGEST[:32]}.lock"


def lay(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def by_hand(place: Path, url: str) -> str:
    return f"##########      by hand: curl --fail --location --create-dirs --output {shlex.quote(str(place))} {url}\n"


def test_a_file_arrives(tmp_path: Path, hub: Hub, place: Path) -> None:
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    assert place.read_bytes() == TRUE
    assert names(place.parent) == ["x.bin"]
    assert run == Run(True, f"{HEADING}========== Downloading {place}\n\n", "", [])
    assert place.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_empty_file_arrives(tmp_path: Path, hub: Hub) -> None:
    assert download(tmp_path, file_entry("x", b"", hub.serve("x", Answer(b"")))).success
    assert (tmp_path / "out/public/toy/x").read_bytes() == b""
    assert names(tmp_path / "out/public/toy") == ["x"]


def test_what_is_there_and_true_is_not_fetched_again(tmp_path: Path, hub: Hub, place: Path) -> None:
    before = lay(place, TRUE).stat()
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    line = f"========== Retained {place} (already there, checksum matches)\n\n"
    assert run == Run(True, HEADING + line, "", [])
    assert hub.requests == []
    assert (place.stat().st_ino, place.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_an_earlier_run_left_beside_a_true_file_goes(tmp_path: Path, hub: Hub, place: Path) -> None:
    lay(place, TRUE)
    lay(place.with_name(PART), TRUE[:9])
    lay(place.with_name(LOCK), b"")
    assert download(tmp_path, toy(hub.url("x"))).success
    assert names(place.parent) == ["x.bin"]


@pytest.mark.parametrize("old", [b"", TRUE[:-1], TRUE + b"!", TRUE[:-1] + b"!"])
def test_what_is_there_but_not_true_is_replaced(tmp_path: Path, hub: Hub, place: Path, old: bytes) -> None:
    lay(place, old)
    assert download(tmp_path, toy(hub.serve("x", Answer(TRUE)))).success
    assert place.read_bytes() == TRUE


def test_a_file_beside_the_descriptor_and_no_size(tmp_path: Path, place: Path) -> None:
    lay(tmp_path / "models/public/toy/beside.bin", TRUE)
    assert download(tmp_path, toy({"$type": "file", "path": "beside.bin"}, size=None)).success
    assert place.read_bytes() == TRUE


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("length", [1, 20_000, len(TRUE) - 1])
def test_a_part_is_gone_on_with(tmp_path: Path, hub: Hub, place: Path, length: int, sized: bool) -> None:
    lay(place.with_name(PART), TRUE[:length])
    lay(place.with_name(LOCK), b"")
    changed = {} if sized else {"size": None}
    assert download(tmp_path, toy(hub.publish("x", Answer(TRUE)), **changed)).success
    assert hub.ranges("x") == hub.ranges("cdn/x") == [f"bytes={length}-"]
    assert place.read_bytes() == TRUE
    assert names(place.parent) == ["x.bin"]


@pytest.mark.parametrize("sized", [True, False])
def test_a_part_that_is_the_whole_needs_no_network(tmp_path: Path, hub: Hub, place: Path, sized: bool) -> None:
    lay(place.with_name(PART), TRUE)
    assert download(tmp_path, toy(hub.url("x"), **({} if sized else {"size": None}))).success
    assert hub.requests == []
    assert place.read_bytes() == TRUE
    assert names(place.parent) == ["x.bin"]


@pytest.mark.parametrize("part", [TRUE + b"!", TRUE[:-1] + b"!", b""])
def test_a_part_that_cannot_become_the_file_is_dropped(tmp_path: Path, hub: Hub, place: Path, part: bytes) -> None:
    lay(place.with_name(PART), part)
    assert download(tmp_path, toy(hub.serve("x", Answer(TRUE)))).success
    assert hub.ranges("x") == [None]
    assert place.read_bytes() == TRUE


def test_a_part_that_is_not_true_costs_one_more_try_and_not_the_file(tmp_path: Path, hub: Hub, place: Path) -> None:
    lay(place.with_name(PART), b"?" * 9)
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    assert run.success
    assert run.delays == [1]
    assert hub.ranges("x") == ["bytes=9-", None]
    assert run.err.startswith(f'########## Error: Hash mismatch for "{place}"\n')
    assert place.read_bytes() == TRUE


@pytest.mark.parametrize(
    "answer",
    [
        Answer(TRUE, ranges=False),
        Answer(TRUE, content_range=""),
        Answer(TRUE, content_range="bytes 0-{last}/{total}"),
        Answer(TRUE, content_range="bytes {first}-{last}/7"),
        Answer(TRUE, shift=3),
        Answer(TRUE, gzip=True),
        Answer(TRUE[:5]),
    ],
)
def test_a_server_that_cannot_go_on_begins_anew(tmp_path: Path, hub: Hub, place: Path, answer: Answer) -> None:
    """In the same try; the last answers 416, as if the file were another."""
    lay(place.with_name(PART), TRUE[:9])
    run = download(tmp_path, toy(hub.serve("x", answer, Answer(TRUE))))
    assert run == Run(True, f"{HEADING}========== Downloading {place}\n\n", "", [])
    assert place.read_bytes() == TRUE
    assert hub.ranges("x") == (["bytes=9-"] if not answer.ranges else ["bytes=9-", None])


PAGE = b"<html>Log in</html>"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(PAGE, ranges=False),
        Answer(PAGE, ranges=False, length=False),
        Answer(PAGE, ranges=False, chunked=True),
        Answer(TRUE, ranges=False, cut=10_000),
        Answer(TRUE, ranges=False, length=False, cut=10_000),
        Answer(TRUE[::-1], ranges=False),
    ],
)
@pytest.mark.parametrize("sized", [True, False])
def test_who_begins_again_with_less_costs_no_part(
    tmp_path: Path, hub: Hub, place: Path, answer: Answer, sized: bool
) -> None:
    lay(place.with_name(PART), TRUE[:20_000])
    url = hub.serve("x", answer)
    entry = toy(url) if sized else toy(url, size=None)
    assert not download(tmp_path, entry, num_attempts=2).success
    assert place.with_name(PART).read_bytes() == TRUE[:20_000]
    assert names(place.parent) == [PART]


def test_a_cut_is_gone_on_from_where_it_was(tmp_path: Path, hub: Hub, place: Path) -> None:
    url = hub.serve("x", Answer(TRUE, cut=10_000), Answer(TRUE, cut=10_000), Answer(TRUE))
    run = download(tmp_path, toy(url), num_attempts=3)
    assert run.success
    assert hub.ranges("x") == [None, "bytes=10000-", "bytes=20000-"]
    assert run.delays == [1, 2]
    assert place.read_bytes() == TRUE


def test_a_part_of_one_source_is_gone_on_with_at_the_next(tmp_path: Path, hub: Hub, place: Path) -> None:
    first, second = hub.serve("a", Answer(TRUE, cut=10_000)), hub.serve("b", Answer(TRUE))
    assert download(tmp_path, toy(first, second)).success
    assert hub.ranges("b") == ["bytes=10000-"]
    assert place.read_bytes() == TRUE


def test_a_hash_mismatch_in_open_model_zoos_words(tmp_path: Path, hub: Hub, place: Path) -> None:
    lay(place, b"old")
    url = hub.serve("x", Answer(b"?" * len(TRUE)))
    run = download(tmp_path, toy(url))
    assert run.out == f"{HEADING}========== Downloading {place}\n\n"
    assert run.err == (
        f'########## Error: Hash mismatch for "{place}"\n'
        f"##########      Expected: {DIGEST}\n"
        f"##########      Actual:   {hashlib.sha256(b'?' * len(TRUE)).hexdigest()}\n"
        f"##########      Source:   {url}\n"
        f"########## Error: {place}: could not be downloaded\n"
        f"##########      {url}: hash mismatch (1 attempt)\n" + by_hand(place, url)
    )
    assert not run.success
    assert place.read_bytes() == b"old"
    assert names(place.parent) == ["x.bin"]


PART_KEPT = "kept: {} of 32000 bytes"
FAULTS = {
    "404": (Answer(status=404), "HTTP status 404 Not Found", 1, 0),
    "403": (Answer(status=403), "HTTP status 403 Forbidden", 1, 0),
    "503": (Answer(status=503), "HTTP status 503 Service Unavailable", 4, 0),
    "429": (Answer(status=429), "HTTP status 429 Too Many Requests", 4, 0),
    "silent": (Answer(silent=True), "connection failed: Remote end closed connection without response", 4, 0),
    "short": (Answer(TRUE[:-7]), "expected a file of 32000 B, got one of 31993 B", 2, 0),
    "short, no length": (
        Answer(TRUE, cut=9, length=False, ranges=False),
        "file is shorter (9 B) than expected (32000 B)",
        4,
        9,
    ),
    "long": (Answer(TRUE + b"!"), "expected a file of 32000 B, got one of 32001 B", 2, 0),
    "long, no length": (Answer(TRUE + b"!", length=False), "file is longer than expected (32000 B)", 2, 0),
    "page": (Answer(b"<html>Log in</html>"), "expected a file of 32000 B, got one of 19 B", 2, 0),
    "another": (Answer(b"?" * len(TRUE)), "hash mismatch", 2, 0),
}


@pytest.mark.parametrize("error", FAULTS)
def test_a_server_that_misbehaves(tmp_path: Path, hub: Hub, place: Path, error: str) -> None:
    answer, reason, attempts, kept = FAULTS[error]
    url = hub.serve("x", answer)
    run = download(tmp_path, toy(url), num_attempts=4)
    assert not run.success
    failures, last = run.err.split(f"########## Error: {place}: could not be downloaded\n")
    if reason != "hash mismatch":
        assert failures == f"########## Error: {url} -> {place}: {reason}\n" * attempts
    line = f"##########      {PART_KEPT.format(kept)} in {place.with_name(PART)}; the same command goes on from there\n"
    count = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    assert last == f"##########      {url}: {reason} ({count})\n{line if kept else ''}{by_hand(place, url)}"
    waits = "".join(f"Will retry in {delay} seconds...\n" for delay in (1, 2, 4)[: attempts - 1])
    assert run.out == f"{HEADING}========== Downloading {place}\n{waits}\n"
    assert run.delays == [1, 2, 4][: attempts - 1]
    assert len(hub.requests) == attempts
    assert names(place.parent) == ([PART] if kept else [])


def test_a_temporary_failure_passes(tmp_path: Path, hub: Hub, place: Path) -> None:
    answers = [Answer(status=503), Answer(TRUE, cut=100), Answer(b"?" * len(TRUE)), Answer(TRUE)]
    assert download(tmp_path, toy(hub.serve("x", *answers)), num_attempts=4).success
    assert hub.ranges("x") == [None, None, "bytes=100-", None]
    assert place.read_bytes() == TRUE


def test_delays_grow_and_stop_growing(tmp_path: Path, hub: Hub) -> None:
    url = hub.serve("x", Answer(status=500))
    assert download(tmp_path, toy(url), num_attempts=8).delays == [1, 2, 4, 8, 16, 30, 30]
    assert download(tmp_path, toy(url), num_attempts=4, random=lambda: 0.0).delays == [0.5, 1, 2]


@pytest.mark.parametrize(
    ("value", "delays", "words"),
    [
        ("3", [3, 3], "HTTP status 429 Too Many Requests"),
        (
            "121",
            [],
            "HTTP status 429 Too Many Requests; it asks to wait 121 seconds, more than the 120 that are waited",
        ),
    ],
)
def test_a_server_that_asks_for_patience(
    tmp_path: Path, hub: Hub, place: Path, value: str, delays: list[float], words: str
) -> None:
    url = hub.serve("x", Answer(status=429, headers={"Retry-After": value}))
    run = download(tmp_path, toy(url), num_attempts=3)
    assert run.delays == delays
    assert run.err.splitlines()[0] == f"########## Error: {url} -> {place}: {words}"


def test_attempts_that_make_progress_are_not_counted(tmp_path: Path) -> None:
    """Each brings one mebibyte more, then the connection breaks; the last brings the rest."""
    true = bytes(4 * PROGRESS)
    broken = Unavailable("the connection broke", temporary=True)
    scripts = [Script((true[: PROGRESS * count],), broken) for count in (1, 2, 3)]
    sources = Scripted({"https://a/b": [*scripts, Script((true,))]})
    run = download(tmp_path, file_entry("x", true, "https://a/b"), open=sources.open)
    assert run.success
    assert sources.asked == [("https://a/b", PROGRESS * count) for count in range(4)]
    assert run.delays == [1, 1, 1]


def test_a_source_that_always_brings_the_same_is_given_up(tmp_path: Path) -> None:
    true = bytes(4 * PROGRESS)
    script = Script((true[: 2 * PROGRESS],), Unavailable("the connection broke", temporary=True), resumes=False)
    sources = Scripted({"https://a/b": [script]})
    assert not download(tmp_path, file_entry("x", true, "https://a/b"), open=sources.open, num_attempts=3).success
    assert len(sources.asked) == 4


def test_sources_are_tried_in_order(tmp_path: Path, hub: Hub, place: Path) -> None:
    bad, wrong, good, spare = (
        hub.serve("bad", Answer(status=404)),
        hub.serve("wrong", Answer(b"?" * len(TRUE))),
        hub.serve("good", Answer(TRUE)),
        hub.serve("spare", Answer(TRUE)),
    )
    run = download(tmp_path, toy(bad, wrong, good, spare))
    assert run.success
    assert place.read_bytes() == TRUE
    assert hub.asked() == ["/bad", "/wrong", "/good"]
    assert [line for line in run.err.splitlines() if "Error" in line] == [
        f"########## Error: {bad} -> {place}: HTTP status 404 Not Found",
        f'########## Error: Hash mismatch for "{place}"',
    ]


def test_a_mirror_is_asked_first(tmp_path: Path, hub: Hub, place: Path) -> None:
    other = hub.serve("other", Answer(TRUE))
    entry = toy(other, "https://huggingface.co/gpt2/resolve/main/x")
    mirror = hub.url("mirror")
    hub.serve("mirror/gpt2/resolve/main/x", Answer(status=404))
    run = download(tmp_path, entry, mirror=mirror)
    assert run.success
    assert hub.asked() == ["/mirror/gpt2/resolve/main/x", "/other"]


def test_offline_says_where_the_file_was_not(tmp_path: Path, hub: Hub, place: Path) -> None:
    url, cache = hub.url("x"), Cache(tmp_path / "cache")
    run = download(tmp_path, toy({"$type": "file", "path": "y"}, url), cache=cache, offline=True)
    beside = tmp_path / "models/public/toy/y"
    assert not run.success
    assert run.err == (
        f"########## Error: {beside} -> {place}: No such file or directory\n"
        f"########## Error: {place}: could not be downloaded\n"
        f"##########      {cache.entry(Checksum('sha256', DIGEST))}: not in the cache\n"
        f"##########      {beside}: No such file or directory (1 attempt)\n"
        f"##########      {url}: not used (--offline)\n" + by_hand(place, url)
    )
    assert hub.requests == []
    assert names(place.parent) == []


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("hard", [False, True])
def test_links_at_our_names_are_not_followed(tmp_path: Path, hub: Hub, place: Path, hard: bool) -> None:
    cache = Cache(tmp_path / "cache")
    entry = cache.entry(Checksum("sha256", DIGEST))
    ours = [place.with_name(name) for name in (PART, PART.replace(".part", ".anew.part"), LOCK)]
    ours += [entry.with_name(f".{entry.name}{kind}") for kind in (".part", ".lock")]
    theirs = [lay(tmp_path / f"theirs/{i}", TRUE[: 20_000 + i]) for i in range(len(ours))]
    for path, foreign in zip(ours, theirs, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.hardlink_to if hard else path.symlink_to)(foreign)
    assert download(tmp_path, toy(hub.serve("x", Answer(TRUE))), cache=cache).success
    assert hub.ranges("x") == [None]
    assert [path.read_bytes() for path in theirs] == [TRUE[: 20_000 + i] for i in range(len(ours))]
    for path in (place, entry):
        assert (path.read_bytes(), path.is_symlink(), names(path.parent)) == (TRUE, False, [path.name])


def test_words_of_a_server_cannot_paint_the_terminal(tmp_path: Path, hub: Hub) -> None:
    raw = b"HTTP/1.1 404 \x1b[2Jgone\x07\r\nX-Error-Message: \x9b31m\r\nContent-Length: 0\r\n\r\n"
    run = download(tmp_path, toy(hub.serve("x", Answer(raw=raw))))
    assert "HTTP status 404 \\x1b[2Jgone\\x07: \\x9b31m" in run.err
    assert "".join(run.err.split()).isprintable()


def test_the_cache_is_filled_and_used(tmp_path: Path, hub: Hub, place: Path) -> None:
    cache = Cache(tmp_path / "cache")
    entry = toy(hub.serve("x", Answer(TRUE)))
    assert download(tmp_path, entry, cache=cache).success
    assert cache.entry(Checksum("sha256", DIGEST)).read_bytes() == TRUE
    place.unlink()
    assert download(tmp_path, entry, cache=cache, offline=True).success
    assert place.read_bytes() == TRUE
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (TRUE[:-1] + b"?", "hash mismatch"),
        (TRUE[:-1], "expected a file of 32000 B, got one of 31999 B"),
    ],
)
@pytest.mark.parametrize("part", [0, 20_000])
def test_a_damaged_cache_entry_is_replaced_and_costs_no_part(
    tmp_path: Path, hub: Hub, place: Path, damaged: bytes, why: str, part: int
) -> None:
    cache = Cache(tmp_path / "cache")
    entry = lay(cache.entry(Checksum("sha256", DIGEST)), damaged)
    lay(place.with_name(PART), TRUE[:part])
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))), cache=cache)
    assert run.success
    assert hub.ranges("x") == [f"bytes={part}-" if part else None]
    assert run.err == (f"########## Warning: {entry}: damaged in the cache: {why}; it is removed and fetched again\n")
    assert entry.read_bytes() == place.read_bytes() == TRUE


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path, hub: Hub, place: Path) -> None:
    folder = lay(tmp_path / "cache", b"a file")
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))), cache=Cache(folder))
    assert run.success
    line = f"{folder}/sha256/{DIGEST[:2]}: Not a directory; not everything is kept in the cache"
    assert run.err == f"########## Warning: {line}\n"
    assert place.read_bytes() == TRUE


def test_failures_of_the_cache_are_reported_once(tmp_path: Path, hub: Hub) -> None:
    folder = lay(tmp_path / "cache", b"a file")
    entries = [file_entry(name, TRUE + name.encode(), hub.serve(name, Answer(TRUE + name.encode()))) for name in "xyz"]
    assert download(tmp_path, *entries, cache=Cache(folder)).err.count("Warning") == 1


def test_a_folder_in_the_place_of_a_cache_entry_is_reported(tmp_path: Path, hub: Hub, place: Path) -> None:
    cache = Cache(tmp_path / "cache")
    entry = cache.entry(Checksum("sha256", DIGEST))
    entry.mkdir(parents=True)
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))), cache=cache)
    assert run.success
    line = "expected a file or nothing, got a folder; not everything is kept in the cache"
    assert run.err == f"########## Warning: {entry}: {line}\n"


def test_two_files_of_the_same_content_at_once(tmp_path: Path, hub: Hub, place: Path) -> None:
    """The second waits for the first, without a report."""
    url = hub.serve("x", Answer(TRUE, drip=(8000, 0.1)))
    run = download(tmp_path, *(file_entry(f"sub/{name}.bin", TRUE, url) for name in "xy"), jobs=2)
    assert run.success
    assert "Waiting" not in run.out
    assert names(place.parent) == ["x.bin", "y.bin"]


def test_a_file_that_may_not_be_read_is_replaced(hub: Hub) -> None:
    with world_readable_folder() as folder:
        folder.chmod(0o777)
        with without_power():
            path = lay(folder / "out/public/toy/sub/x.bin", TRUE)
            path.chmod(0)
            run = download(folder, toy(hub.serve("x", Answer(TRUE))))
            assert (run.success, run.err, path.read_bytes()) == (True, "", TRUE)


def test_who_waits_for_another_says_so_and_finds_the_file(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.parent.mkdir(parents=True)
    holding = if_free(place.with_name(LOCK))  # which other threads take for another process
    holding.__enter__()
    served = hub.serve("x", Answer(TRUE))

    def free_space(folder: Path) -> int:
        pytest.fail("nothing was to be fetched")

    def finish() -> None:
        lay(place, TRUE)
        holding.__exit__(None, None, None)

    timer = threading.Timer(0.3, finish)
    timer.start()
    run = download(tmp_path, toy(served), free_space=free_space)
    timer.join()
    assert run == Run(
        True,
        f"{HEADING}========== Downloading {place}\nWaiting for another omz_downloader at work on this file...\n"
        f"========== Retained {place} (already there, checksum matches)\n\n",
        "",
        [],
    )
    assert names(place.parent) == ["x.bin"]


def test_too_little_space_is_reported_before_the_first_byte(tmp_path: Path, hub: Hub, place: Path) -> None:
    lay(place.with_name(PART), TRUE[:10_000])
    entry = toy(hub.serve("x", Answer(TRUE)))
    run = download(tmp_path, entry, free_space=lambda folder: 21_999)
    assert run.err == (
        f"########## Error: {place}: expected 1 MB free, got 0 MB; make room, or choose another folder with -o\n"
    )
    assert hub.requests == []
    assert names(place.parent) == [PART]
    assert download(tmp_path, entry, free_space=lambda folder: 22_000).success


GARBAGE = Endless(b"\x1b[2J, and no end")


def nearly_full(folder: Path, room: int) -> Callable[[Path], int]:
    """The free space of a disk that had `room` bytes before anything was below `folder`."""
    return lambda _: room - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class TestAFileOfUnknownSize:
    @pytest.mark.parametrize("answer", [Answer(GARBAGE, chunked=True), Answer(GARBAGE, length=False)])
    def test_a_body_without_end_is_cut_at_the_most_that_the_file_can_have(
        self, tmp_path: Path, hub: Hub, place: Path, answer: Answer
    ) -> None:
        entry = toy(hub.serve("x", answer), hub.serve("y", Answer(TRUE)), size=None, max_size=40_000)
        run = download(tmp_path, entry, num_attempts=5)
        assert "file is longer than expected (40000 B)" in run.err
        assert hub.asked() == ["/x", "/x", "/y"]
        assert place.read_bytes() == TRUE
        assert names(place.parent) == ["x.bin"]

    def test_a_length_above_it_is_refused_before_the_body(self, tmp_path: Path, hub: Hub, place: Path) -> None:
        entry = toy(hub.serve("x", Answer(GARBAGE, hold=0)), size=None, max_size=40_000)
        run = download(tmp_path, entry)
        assert "file is longer than expected (40000 B)" in run.err
        assert names(place.parent) == []

    @pytest.mark.parametrize("answer", [Answer(GARBAGE, chunked=True), Answer(GARBAGE, length=False)])
    def test_a_body_without_end_does_not_fill_the_disk(
        self, tmp_path: Path, hub: Hub, place: Path, answer: Answer
    ) -> None:
        room = 4_000_000
        entry = toy(hub.serve("x", answer), hub.serve("y", Answer(TRUE, chunked=True)), size=None)
        run = download(tmp_path, entry, num_attempts=5, free_space=nearly_full(tmp_path / "out", room))
        words = "does not say how long its file is, and less than 2 MB are free; make room, or choose another folder"
        assert words in run.err
        assert hub.asked() == ["/x", "/y"]
        assert place.read_bytes() == TRUE
        assert names(place.parent) == ["x.bin"]

    def test_a_part_is_not_lost_by_it(self, tmp_path: Path, hub: Hub, place: Path) -> None:
        lay(place.with_name(PART), TRUE[:9])
        entry = toy(hub.serve("x", Answer(GARBAGE, chunked=True, ranges=False)), size=None)
        assert not download(tmp_path, entry, free_space=nearly_full(tmp_path / "out", 4_000_000)).success
        assert place.with_name(PART).read_bytes() == TRUE[:9]

    def test_too_little_space_for_the_length_that_a_source_tells(self, tmp_path: Path, hub: Hub, place: Path) -> None:
        lay(place.with_name(PART), TRUE[:10_000])
        entry = toy(hub.serve("x", Answer(TRUE)), size=None)
        run = download(tmp_path, entry, free_space=lambda folder: 21_999)
        assert "expected 1 MB free, got 0 MB; make room, or choose another folder with -o" in run.err
        assert names(place.parent) == [PART]
        assert download(tmp_path, entry, free_space=lambda folder: 22_000).success

    @pytest.mark.parametrize("etag", [None, '"true"'])
    def test_garbage_that_its_source_no_longer_has_does_not_block_the_file(
        self, tmp_path: Path, hub: Hub, place: Path, etag: str | None
    ) -> None:
        """A connection so bad that each run gets less than the garbage: by the longer part, it would stay for ever."""
        garbage = b"?" * (9 if etag else 2) * len(TRUE)
        headers = {"ETag": etag} if etag else {}
        entry = toy(hub.serve("x", Answer(garbage, cut=29_000, headers={"ETag": '"garbage"'})), size=None)
        assert not download(tmp_path, entry).success
        assert place.with_name(PART).read_bytes() == garbage[:29_000]
        hub.serve("x", Answer(TRUE, cut=10_000, headers=headers))
        assert not download(tmp_path, entry).success
        assert place.with_name(PART).read_bytes() == TRUE[:10_000]
        hub.serve("x", Answer(TRUE, headers=headers))
        assert download(tmp_path, entry).success
        assert hub.ranges("x") == [None, "bytes=29000-", None, "bytes=10000-"]
        assert names(place.parent) == ["x.bin"]

    def test_garbage_longer_than_the_file(self, tmp_path: Path, hub: Hub, place: Path) -> None:
        entry = toy(hub.serve("x", Answer(b"?" * 99_999, cut=40_000, chunked=True)), size=None)
        assert not download(tmp_path, entry).success
        hub.serve("x", Answer(TRUE, cut=10_000, chunked=True))  # 416 where the garbage ends
        assert not download(tmp_path, entry).success
        assert place.with_name(PART).read_bytes() == TRUE[:10_000]

    def test_another_source_does_not_disown_a_part(self, tmp_path: Path, hub: Hub, place: Path) -> None:
        first, second = hub.serve("x", Answer(TRUE, cut=20_000)), hub.url("y")
        assert not download(tmp_path, toy(first, size=None)).success
        hub.serve("y", Answer(TRUE[:99], cut=50))
        assert not download(tmp_path, toy(second, size=None)).success
        assert place.with_name(PART).read_bytes() == TRUE[:20_000]


def test_a_place_that_is_taken_by_a_folder(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.mkdir(parents=True)
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    assert run.err == f"########## Error: {place}: expected a file or nothing, got a folder; move it away\n"
    assert hub.requests == []


def test_a_folder_that_is_taken_by_a_file(tmp_path: Path, hub: Hub, place: Path) -> None:
    lay(place.parent, b"mine")
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    assert run.err == f"########## Error: {place.parent}: File exists\n"
    assert place.parent.read_bytes() == b"mine"


def test_the_longest_name_and_one_that_is_too_long(tmp_path: Path, hub: Hub) -> None:
    url = hub.serve("x", Answer(TRUE))
    assert download(tmp_path, file_entry("x" * 255, TRUE, url)).success
    run = download(tmp_path, file_entry("x" * 256, TRUE, url))
    path = tmp_path / "out" / "public" / "toy" / ("x" * 256)
    assert run.err == f"########## Error: {path}: File name too long\n"


@pytest.mark.parametrize("beside", [{}, {LOCK: b""}, {LOCK: b"", PART: TRUE[:9]}])
def test_no_permission(hub: Hub, beside: dict[str, bytes]) -> None:
    with world_readable_folder() as folder:
        place = lay(folder / "out" / "public" / "toy" / "sub" / "x.bin", b"old")
        for name, content in beside.items():
            lay(place.with_name(name), content)
        (folder / "models/public/toy").mkdir(parents=True)
        for path in (folder / "models/public/toy", *place.parents[:3]):
            path.chmod(0o777)
        place.parent.chmod(0o555)
        with without_power():
            run = download(folder, toy(hub.serve("x", Answer(TRUE))))
        assert run.err == f"########## Error: {place}: Permission denied\n"
        assert place.read_bytes() == b"old"
        assert hub.requests == []


def test_a_true_file_in_a_folder_without_permission(hub: Hub) -> None:
    with world_readable_folder() as folder:
        place = lay(folder / "out" / "public" / "toy" / "sub" / "x.bin", TRUE)
        lay(place.with_name(LOCK), b"")
        (folder / "models/public/toy").mkdir(parents=True)
        (folder / "models/public/toy").chmod(0o777)
        with without_power():
            assert download(folder, toy(hub.url("x"))).success


CHUNKS = st.lists(st.sampled_from([b"The poem", b" was", b" written by", b"?"]), max_size=5)
SCRIPTS = st.lists(
    st.builds(
        Script,
        CHUNKS.map(tuple),
        st.none() | st.booleans().map(lambda temporary: Unavailable("the connection broke", temporary)),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None)
@given(st.lists(SCRIPTS, min_size=1, max_size=3), st.booleans(), st.booleans(), st.none() | st.binary(max_size=30))
def test_whatever_sources_do_the_file_is_the_old_or_the_verified_one(
    tmp_path_factory: pytest.TempPathFactory, plans: list[list[Script]], had: bool, sized: bool, part: bytes | None
) -> None:
    """Each source gives its chunks, then breaks or not; the invariant is issue 4's, in small."""
    true = b"The poem was written by"
    root = tmp_path_factory.mktemp("faults")
    urls = [f"https://source.invalid/{number}" for number in range(len(plans))]
    target = root / "out" / "public" / "toy" / "x"
    mark = hashlib.sha256(true).hexdigest()[:32]
    if had:
        lay(target, b"old")
    if part is not None:
        lay(target.with_name(f".{mark}.part"), part)
    sources = Scripted(dict(zip(urls, plans, strict=True)))
    entry = file_entry("x", true, urls, **({} if sized else {"size": None}))
    run = download(root, entry, num_attempts=2, open=sources.open)
    first = plans[0][0]
    if part is None and b"".join(first.chunks) == true and first.failure is None:
        assert run.success
    assert target.exists() == (had or run.success)
    if target.exists():
        assert target.read_bytes() == (true if run.success else b"old")
    left = set(names(target.parent)) - {"x"}
    assert left <= (set() if run.success else {f".{mark}.part", f".{mark}.origin.part"})
    assert all((target.parent / name).stat().st_size for name in left)


def test_the_words() -> None:
    failures = [
        SourceFailure(FileSource(Path("/m/x")), "No such file or directory", 1),
        SourceFailure(HttpSource("https://a/x?b=c&d"), "HTTP status 503", 5),
        SourceFailure(HttpSource("https://b/x"), "not used (--offline)", 0),
    ]
    assert failure_report(Path("/my models/it's"), Path("/cache/ab/cd"), failures, "kept: 1 of 2 bytes") == [
        "/my models/it's: could not be downloaded",
        "/cache/ab/cd: not in the cache",
        "/m/x: No such file or directory (1 attempt)",
        "https://a/x?b=c&d: HTTP status 503 (5 attempts)",
        "https://b/x: not used (--offline)",
        "kept: 1 of 2 bytes",
        "by hand: curl --fail --location --create-dirs --output '/my models/it'\"'\"'s' 'https://a/x?b=c&d'",
    ]


def test_without_a_url_there_is_nothing_to_do_by_hand() -> None:
    assert failure_report(Path("x"), None, [SourceFailure(FileSource(Path("y")), "no", 1)], None) == [
        "x: could not be downloaded",
        "y: no (1 attempt)",
    ]
