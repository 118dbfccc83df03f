"""download: the file at its place is the old one, the new true one, or absent; and every word of what is said."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub import Answer, Hub
from hypothesis import given, settings
from hypothesis import strategies as st
from model_tree import descriptor, file_entry, write_model
from unprivileged import without_power, world_readable_folder

from omz_model_tools.catalogue import load_models
from omz_model_tools.descriptor import Source
from omz_model_tools.download import Downloader
from omz_model_tools.progress import silent
from omz_model_tools.report import Report
from omz_model_tools.sources import Sources, Unavailable

TRUE = b"The poem was written by the sea." * 1000
HEADING = "################|| Downloading toy ||################\n\n"


@dataclass(frozen=True)
class Run:
    success: bool
    out: str
    err: str
    delays: list[float]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the toy's one file belongs."""
    return tmp_path / "out" / "public" / "toy" / "sub" / "x.bin"


def download(tmp_path: Path, *entries: dict[str, Any], num_attempts: int = 1, **changed: Any) -> Run:
    """Download a model with these files into tmp_path/out."""
    if not (tmp_path / "models" / "public" / "toy" / "model.yml").exists():
        write_model(tmp_path / "models", "toy", descriptor(*entries, **changed))
    (model,) = load_models([tmp_path / "models"])
    out, err, delays = io.StringIO(), io.StringIO(), list[float]()
    with Sources((5, 5)) as sources:
        work = Downloader(tmp_path / "out", num_attempts, Report(out, err), sources.read, silent, delays.append)
        success = work.download(model)
    return Run(success, out.getvalue(), err.getvalue(), delays)


def toy(*sources: Any, **changed: Any) -> dict[str, Any]:
    return file_entry("sub/x.bin", TRUE, list(sources), **changed)


def only(folder: Path) -> list[str]:
    """All names in a folder, hidden ones too: a temporary file that stayed would show."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_arrives(tmp_path: Path, hub: Hub, place: Path) -> None:
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    assert place.read_bytes() == TRUE
    assert only(place.parent) == ["x.bin"]
    assert run == Run(True, f"{HEADING}========== Downloading {place}\n\n", "", [])
    assert place.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_there_and_true_is_not_fetched_again(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(TRUE)
    before = place.stat()
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    line = f"========== Retained {place} (already there, checksum matches)\n\n"
    assert run == Run(True, HEADING + line, "", [])
    assert hub.requests == []
    assert (place.stat().st_ino, place.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("old", [b"", TRUE[:-1], TRUE + b"!", TRUE[:-1] + b"!"])
def test_what_is_there_but_not_true_is_replaced(tmp_path: Path, hub: Hub, place: Path, old: bytes) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(old)
    assert download(tmp_path, toy(hub.serve("x", Answer(TRUE)))).success
    assert place.read_bytes() == TRUE


def test_a_file_beside_the_descriptor_and_no_size(tmp_path: Path, place: Path) -> None:
    source = tmp_path / "models" / "public" / "toy" / "beside.bin"
    source.parent.mkdir(parents=True)
    source.write_bytes(TRUE)
    assert download(tmp_path, toy({"$type": "file", "path": "beside.bin"}, size=None)).success
    assert place.read_bytes() == TRUE


def test_a_hash_mismatch_in_open_model_zoos_words(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(b"old")
    url = hub.serve("x", Answer(b"?" * len(TRUE)))
    run = download(tmp_path, toy(url))
    assert run.out == f"{HEADING}========== Downloading {place}\n\n"
    assert run.err == (
        f'########## Error: Hash mismatch for "{place}"\n'
        f"##########      Expected: {hashlib.sha256(TRUE).hexdigest()}\n"
        f"##########      Actual:   {hashlib.sha256(b'?' * len(TRUE)).hexdigest()}\n"
        f"##########      Source:   {url}\n"
    )
    assert not run.success
    assert place.read_bytes() == b"old"
    assert only(place.parent) == ["x.bin"]


FAULTS = {
    "404": (Answer(status=404), "HTTP status 404 Not Found", 1),
    "403": (Answer(status=403), "HTTP status 403 Forbidden", 1),
    "503": (Answer(status=503), "HTTP status 503 Service Unavailable", 4),
    "429": (Answer(status=429), "HTTP status 429 Too Many Requests", 4),
    "cut": (Answer(TRUE, cut=9), "the connection broke: IncompleteRead(9 bytes read, 31991 more expected)", 4),
    "silent": (Answer(silent=True), "connection failed: Remote end closed connection without response", 4),
    "short": (Answer(TRUE[:-7]), "file is shorter (31993 B) than expected (32000 B)", 4),
    "short, no length": (Answer(TRUE, cut=9, length=False), "file is shorter (9 B) than expected (32000 B)", 4),
    "long": (Answer(TRUE + b"!"), "file is longer than expected (32000 B)", 1),
    "page": (Answer(b"<html>Log in</html>"), "file is shorter (19 B) than expected (32000 B)", 4),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_misbehaves(tmp_path: Path, hub: Hub, place: Path, fault: str) -> None:
    answer, reason, attempts = FAULTS[fault]
    url = hub.serve("x", answer)
    run = download(tmp_path, toy(url), num_attempts=4)
    assert not run.success
    assert run.err == f"########## Error: {url} -> {place}: {reason}\n" * attempts
    assert (
        run.out
        == f"{HEADING}========== Downloading {place}\n"
        + "".join(f"Will retry in {delay} seconds...\n" for delay in (1, 2, 4)[: attempts - 1])
        + "\n"
    )
    assert run.delays == [1, 2, 4][: attempts - 1]
    assert len(hub.requests) == attempts
    assert only(place.parent) == []


def test_a_hash_mismatch_is_tried_once_more_only(tmp_path: Path, hub: Hub) -> None:
    assert not download(tmp_path, toy(hub.serve("x", Answer(b"?" * len(TRUE)))), num_attempts=9).success
    assert len(hub.requests) == 2


def test_a_passing_trouble_passes(tmp_path: Path, hub: Hub, place: Path) -> None:
    answers = [Answer(status=503), Answer(TRUE, cut=100), Answer(b"?" * len(TRUE)), Answer(TRUE)]
    assert download(tmp_path, toy(hub.serve("x", *answers)), num_attempts=4).success is False
    hub.serve("x", Answer(status=503), Answer(TRUE, cut=100), Answer(TRUE))
    assert download(tmp_path, toy(hub.url("x")), num_attempts=4).success
    assert place.read_bytes() == TRUE


def test_delays_grow_and_stop_growing(tmp_path: Path, hub: Hub) -> None:
    run = download(tmp_path, toy(hub.serve("x", Answer(status=500))), num_attempts=8)
    assert run.delays == [1, 2, 4, 8, 10, 10, 10]


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


def test_a_file_that_cannot_be_had_ends_the_model(tmp_path: Path, hub: Hub) -> None:
    first = file_entry("a", b"a", hub.serve("a", Answer(b"a")))
    second = file_entry("b", b"b", hub.serve("b", Answer(status=404)))
    third = file_entry("c", b"c", hub.serve("c", Answer(b"c")))
    assert not download(tmp_path, first, second, third).success
    assert hub.asked() == ["/a", "/b"]
    assert only(tmp_path / "out" / "public" / "toy") == ["a"]


def test_postprocessing_is_refused_before_anything_is_fetched(tmp_path: Path, hub: Hub) -> None:
    steps = [{"$type": "unpack_archive", "file": "sub/x.bin", "format": "zip"}]
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))), postprocessing=steps)
    path = tmp_path / "models" / "public" / "toy" / "model.yml"
    assert run == Run(
        False,
        HEADING + "\n",
        f'########## Error: {path}: "postprocessing": expected none, got 1 steps, which this omz_downloader '
        "does not carry out; nothing was fetched\n",
        [],
    )
    assert hub.requests == []
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken_by_a_folder(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.mkdir(parents=True)
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    assert run.err == f"########## Error: {place}: expected a file or nothing, got a folder; move it away\n"
    assert hub.requests == []


def test_a_folder_that_is_taken_by_a_file(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.parents[1].mkdir(parents=True)
    place.parent.write_bytes(b"mine")
    run = download(tmp_path, toy(hub.serve("x", Answer(TRUE))))
    assert run.err == f"########## Error: {place.parent}: File exists\n"
    assert place.parent.read_bytes() == b"mine"


def test_a_name_that_is_too_long(tmp_path: Path, hub: Hub) -> None:
    run = download(tmp_path, file_entry("x" * 300, TRUE, hub.serve("x", Answer(TRUE))))
    path = tmp_path / "out" / "public" / "toy" / ("x" * 300)
    assert run.err == f"########## Error: {path}: File name too long\n"


def test_no_permission(hub: Hub) -> None:
    entry = toy(hub.serve("x", Answer(TRUE)))
    with world_readable_folder() as folder:
        write_model(folder / "models", "toy", descriptor(entry))
        place = folder / "out" / "public" / "toy" / "sub" / "x.bin"
        place.parent.mkdir(parents=True)
        place.write_bytes(b"old")
        place.parent.chmod(0o555)
        with without_power():
            run = download(folder, entry)
        assert run.err == f"########## Error: {place}: Permission denied\n"
        assert place.read_bytes() == b"old"
        assert hub.requests == []


def test_progress_sees_every_byte(tmp_path: Path, place: Path) -> None:
    seen: list[tuple[str, int | None, int]] = []

    class Watch:
        def __init__(self, title: str, size: int | None) -> None:
            self._what = (title, size)

        def __enter__(self) -> Any:
            return lambda count: seen.append((*self._what, count))

        def __exit__(self, *error: object) -> None:
            seen.append((*self._what, -1))

    def read(source: Source) -> Generator[bytes, None, None]:
        yield TRUE[:10]
        yield TRUE[10:]

    write_model(tmp_path, "toy", descriptor(toy("https://a/b")))
    (model,) = load_models([tmp_path])
    report = Report(io.StringIO(), io.StringIO())
    assert Downloader(tmp_path / "out", 1, report, read, Watch, lambda delay: pytest.fail("no source failed")).download(
        model
    )
    assert seen == [("x.bin", 32000, 10), ("x.bin", 32000, 31990), ("x.bin", 32000, -1)]


CHUNKS = st.lists(st.sampled_from([b"The poem", b" was", b" written by", b"?"]), max_size=5)


@settings(deadline=None)
@given(st.lists(st.tuples(CHUNKS, st.booleans(), st.booleans()), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_whatever_sources_do_the_file_is_old_or_true(
    tmp_path_factory: pytest.TempPathFactory, plans: list[tuple[list[bytes], bool, bool]], had: bool, sized: bool
) -> None:
    """Each source gives its chunks, then breaks or not; the invariant is issue 4's, in small."""
    true = b"The poem was written by"
    root = tmp_path_factory.mktemp("faults")
    urls = [f"https://source.invalid/{number}" for number in range(len(plans))]
    entry = file_entry("x", true, urls, **({} if sized else {"size": None}))
    write_model(root, "toy", descriptor(entry))
    (model,) = load_models([root])

    def read(source: Source) -> Generator[bytes, None, None]:
        chunks, breaks, passing = plans[int(str(source)[-1])]
        yield from chunks
        if breaks:
            raise Unavailable("the connection broke", passing)

    target = root / "out" / "public" / "toy" / "x"
    if had:
        target.parent.mkdir(parents=True)
        target.write_bytes(b"old")
    work = Downloader(root / "out", 2, Report(io.StringIO(), io.StringIO()), read, silent, lambda delay: None)
    possible = any(b"".join(chunks) == true and not breaks for chunks, breaks, _ in plans)
    assert work.download(model) == possible
    assert only(target.parent) == ["x"] * (had or possible)
    if had or possible:
        assert target.read_bytes() == (true if possible else b"old")


PROGRAM = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from omz_model_tools.cli.downloader import downloader
    sys.exit(downloader(["--all", "-o", sys.argv[1]], [Path(sys.argv[2])]))
    """
)


def start(tmp_path: Path, before: str = "") -> subprocess.Popen[str]:
    """The command itself, in a process of its own, on the tree in tmp_path/models."""
    command = [sys.executable, "-W", "error", "-c", before + PROGRAM, str(tmp_path / "out"), str(tmp_path / "models")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("had", [True, False])
def test_ctrl_c_keeps_what_was_there(tmp_path: Path, hub: Hub, place: Path, had: bool) -> None:
    if had:
        place.parent.mkdir(parents=True)
        place.write_bytes(b"old")
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE, hold=20_000)))))
    with start(tmp_path) as process:
        assert hub.holding.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "Interrupted\n")
    assert out == f"{HEADING}========== Downloading {place}\n"
    assert only(place.parent) == ["x.bin"] * had
    assert not had or place.read_bytes() == b"old"


def test_a_full_disk(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(b"old")
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE)))))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
    with start(tmp_path, limit) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert out == f"{HEADING}========== Downloading {place}\n\nFAILED:\ntoy\n"
    assert err == f"########## Error: {place}: File too large\n"
    assert only(place.parent) == ["x.bin"]
    assert place.read_bytes() == b"old"


def test_two_at_once(tmp_path: Path, hub: Hub, place: Path) -> None:
    """The first is held in the middle; the second passes it by; then the first finds its connection cut."""
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.url("x"))))
    hub.serve("x", Answer(TRUE, hold=20_000), Answer(TRUE))
    with start(tmp_path) as first:
        assert hub.holding.wait(20)
        with start(tmp_path) as second:
            assert second.communicate(timeout=20)[1] == ""
        assert place.read_bytes() == TRUE
        hub.release()
        assert first.communicate(timeout=20)[1] == ""
    assert (first.returncode, second.returncode) == (0, 0)
    assert place.read_bytes() == TRUE
    assert only(place.parent) == ["x.bin"]
