"""download: models in their order, files at once, one transcript; kills, Ctrl-C, full disks of a real process."""

import gzip
import io
import json
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from downloads import HEADING, PART, TRUE, download, names, toy
from hub import Answer, Hub
from hypothesis import given, settings
from hypothesis import strategies as st
from model_tree import descriptor, file_entry, write_model

from omz_model_tools.catalogue import load_models
from omz_model_tools.descriptor import ModelFile
from omz_model_tools.download import LOCK, Downloader
from omz_model_tools.lock import exclusive
from omz_model_tools.problem import Problem
from omz_model_tools.progress import Nothing
from omz_model_tools.report import Events, Report
from omz_model_tools.tasks import Task


def test_a_file_that_cannot_be_had_ends_the_model(tmp_path: Path, hub: Hub) -> None:
    first = file_entry("a", b"a", hub.serve("a", Answer(b"a")))
    second = file_entry("b", b"b", hub.serve("b", Answer(status=404)))
    third = file_entry("c", b"c", hub.serve("c", Answer(b"c", hold=0)))
    run = download(tmp_path, first, second, third)
    assert not run.success
    assert "/c" not in run.out
    assert (tmp_path / "out/public/toy/a").read_bytes() == b"a"
    assert not (tmp_path / "out/public/toy/b").exists()


def test_parts_and_locks_of_other_versions_go(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.parent.mkdir(parents=True)
    ours, held = "0" * 32, "1" * 32
    for name in (f".{ours}.part", f".{ours}.lock", f".{held}.part", ".mine.part", f"{ours}.part"):
        place.with_name(name).write_bytes(b"?")
    with exclusive(place.with_name(f".{held}.lock"), lambda: None):
        assert download(tmp_path, toy(hub.serve("x", Answer(TRUE)))).success
        assert names(place.parent) == [f".{held}.lock", f".{held}.part", ".mine.part", f"{ours}.part", "x.bin"]


class Models:
    """What a downloader of models a, b, … says, whose files do as they are told."""

    def __init__(self, tmp_path: Path, *plan: tuple[str, int]) -> None:
        for name, count in plan:
            files = [file_entry(f"{name}{number}", b"x", "https://a/b") for number in range(count)]
            write_model(tmp_path, name, descriptor(*files))
        self.models = load_models([tmp_path])
        self.out, self.err = io.StringIO(), io.StringIO()
        self.kind: type[Report] = Report

    def run(self, provide: Callable[[ModelFile, Path, Task], bool], jobs: int) -> list[str]:
        report = self.kind(self.out, self.err)
        return Downloader(Path("out"), provide, report, Nothing(), jobs).download(self.models)


def test_so_many_at_once_over_all_models_and_no_more(tmp_path: Path) -> None:
    models = Models(tmp_path, ("a", 2), ("b", 3))
    together = threading.Barrier(3)
    running, most = [], []

    def provide(file: ModelFile, place: Path, task: Task) -> bool:
        running.append(file)
        most.append(len(running))
        if str(file.name) in ("a0", "a1", "b0"):
            together.wait(20)
        running.remove(file)
        return True

    assert models.run(provide, jobs=3) == []
    assert max(most) == 3


FILES = st.tuples(st.sampled_from(["arrives", "fails", "problem"]), st.lists(st.sampled_from("xyz"), max_size=3))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(FILES, min_size=1, max_size=3), min_size=1, max_size=3), st.integers(2, 9))
def test_the_transcript_is_the_same_however_many_are_under_way(
    tmp_path_factory: pytest.TempPathFactory, plans: list[list[tuple[str, list[str]]]], jobs: int
) -> None:
    root = tmp_path_factory.mktemp("models")
    plan = {f"{name}{at}": files[at] for name, files in zip("abc", plans, strict=False) for at in range(len(files))}

    def provide(file: ModelFile, place: Path, task: Task) -> bool:
        outcome, words = plan[str(file.name)]
        for word in words:
            task.talk.error(word) if word == "x" else task.talk.line(word)
        if outcome == "problem":
            raise Problem(f"{place}: no")
        return outcome == "arrives"

    said = []
    for count in (1, jobs):
        models = Models(root, *((name, len(files)) for name, files in zip("abc", plans, strict=False)))
        said.append((models.run(provide, count), models.out.getvalue(), models.err.getvalue()))
    assert said[0] == said[1]
    good = [all(outcome == "arrives" for outcome, _ in files) for files in plans]
    assert said[0][0] == [name for name, whole in zip("abc", good, strict=False) if not whole]


def test_a_bug_in_a_thread_is_a_bug(tmp_path: Path) -> None:
    def provide(file: ModelFile, place: Path, task: Task) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Models(tmp_path, ("a", 2)).run(provide, jobs=2)


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_events_of_open_model_zoo(tmp_path: Path, hub: Hub, jobs: int) -> None:
    (tmp_path / "out/public/toy").mkdir(parents=True)
    (tmp_path / "out/public/toy/a").write_bytes(b"a")
    first = file_entry("a", b"a", hub.url("a"))
    second = file_entry("sub/b", TRUE, hub.serve("b", Answer(TRUE)))
    third = file_entry("c", b"c", hub.serve("c", Answer(status=404)), size=None)
    fourth = file_entry("d", b"d", hub.serve("d", Answer(b"d")))
    run = download(tmp_path, first, second, third, fourth, kind=Events, jobs=jobs)
    events = [json.loads(line) for line in run.out.splitlines()]
    toy = {"model": "toy"}
    a, b, c = ({"model": "toy", "model_file": name} for name in ("a", "sub/b", "c"))
    assert events == [
        {"$type": "model_download_begin", **toy, "num_files": 4},
        {"$type": "model_file_download_begin", **a, "size": 1},
        {"$type": "model_file_download_end", **a, "successful": True},
        {"$type": "model_file_download_begin", **b, "size": 32000},
        {"$type": "model_file_download_progress", **b, "size": 32000},
        {"$type": "model_file_download_end", **b, "successful": True},
        {"$type": "model_file_download_begin", **c, "size": None},
        {"$type": "model_file_download_end", **c, "successful": False},
        {"$type": "model_download_end", **toy, "successful": False},
    ]
    assert run.err.startswith(f"########## Error: {hub.url('c')} -> ")


def test_progress_is_told_on_the_way(tmp_path: Path) -> None:
    models = Models(tmp_path, ("a", 1))
    models.kind = Events
    told = threading.Event()

    class Listening(io.StringIO):
        def write(self, text: str) -> int:
            if '"size": 10' in text:
                told.set()
            return super().write(text)

    models.out = Listening()

    def provide(file: ModelFile, place: Path, task: Task) -> bool:
        task.gauge.begin(5)
        task.gauge.reach(10)
        assert told.wait(20)
        task.gauge.reach(30)
        return True

    assert models.run(provide, jobs=1) == []
    sizes = [
        event["size"] for event in map(json.loads, models.out.getvalue().splitlines()) if "progress" in event["$type"]
    ]
    assert sizes == [10, 30]


def archive(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


UNPACK = [{"$type": "unpack_archive", "file": "x.tar.gz", "format": "gztar"}]


def test_postprocessing_follows_and_is_not_done_twice(tmp_path: Path, hub: Hub) -> None:
    packed = archive("inside.txt", b"The sea")
    entry = file_entry("x.tar.gz", packed, hub.serve("x", Answer(packed)))
    folder = tmp_path / "out/public/toy"
    run = download(tmp_path, entry, postprocessing=UNPACK)
    heading = f"{HEADING}========== Downloading {folder}/x.tar.gz\n\n"
    assert (run.out, run.err) == (f"{heading}========== Unpacking {folder}/x.tar.gz\n\n", "")
    assert (folder / "inside.txt").read_bytes() == b"The sea"
    assert not (folder / "x.tar.gz").exists()
    again = download(tmp_path, entry, postprocessing=UNPACK)
    line = f"========== Retained {folder}/x.tar.gz (already there and postprocessed)\n\n"
    assert (again.out, again.err) == (f"{HEADING}{line}\n", "")
    assert len(hub.requests) == 1
    assert LOCK not in names(folder)
    events = download(tmp_path, entry, postprocessing=UNPACK, kind=Events).out
    assert [json.loads(line)["$type"] for line in events.splitlines()][-3:] == [
        "model_postprocessing_begin",
        "model_postprocessing_end",
        "model_download_end",
    ]


def test_postprocessing_that_fails_fails_the_model(tmp_path: Path, hub: Hub) -> None:
    entry = file_entry("x.tar.gz", b"no archive", hub.serve("x", Answer(b"no archive")))
    run = download(tmp_path, entry, postprocessing=UNPACK)
    assert not run.success
    assert run.err.startswith("########## Error: ")


PROGRAM = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from omz_model_tools.cli.downloader import downloader
    sys.exit(downloader(["--all", "-o", sys.argv[1], *sys.argv[3:]], [Path(sys.argv[2])]))
    """
)


def start(tmp_path: Path, *arguments: str, before: str = "") -> subprocess.Popen[str]:
    """The command itself, in a process of its own, on the tree in tmp_path/models."""
    places = [str(tmp_path / "out"), str(tmp_path / "models")]
    command = [sys.executable, "-W", "error", "-c", before + PROGRAM, *places, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("jobs", ["1", "4"])
def test_ctrl_c_keeps_what_was_there_and_what_came(tmp_path: Path, hub: Hub, place: Path, had: bool, jobs: str) -> None:
    if had:
        place.parent.mkdir(parents=True)
        place.write_bytes(b"old")
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE, hold=20_000)))))
    with start(tmp_path, "--jobs", jobs) as process:
        assert hub.holding.wait(20)
        _wait_for(place.with_name(PART), 20_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "Interrupted\n")
    assert out == f"{HEADING}========== Downloading {place}\n"
    assert names(place.parent) == [PART, *["x.bin"] * had]
    assert place.with_name(PART).read_bytes() == TRUE[:20_000]
    assert not had or place.read_bytes() == b"old"


def _wait_for(path: Path, size: int) -> None:
    """Until the file is so long: what the server sent may still be on its way."""
    waited = threading.Event()
    for _ in range(2000):
        if path.exists() and path.stat().st_size == size:
            return
        waited.wait(0.01)
    pytest.fail(f"{path} did not grow to {size}")


def test_a_killed_run_is_gone_on_with(tmp_path: Path, hub: Hub, place: Path) -> None:
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.url("x"))))
    hub.serve("x", Answer(TRUE, hold=20_000), Answer(TRUE))
    with start(tmp_path) as first:
        assert hub.holding.wait(20)
        _wait_for(place.with_name(PART), 20_000)
        first.kill()
        first.communicate()
    with start(tmp_path) as second:
        assert second.communicate(timeout=20)[1] == ""
    assert hub.ranges("x") == [None, "bytes=20000-"]
    assert place.read_bytes() == TRUE
    assert names(place.parent) == ["x.bin"]


def test_a_full_disk(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(b"old")
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE)))))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
    with start(tmp_path, before=limit) as process:
        out, err = process.communicate(timeout=20)
    part = place.with_name(PART)
    assert process.returncode == 1
    assert out == f"{HEADING}========== Downloading {place}\n\nFAILED:\ntoy\n"
    assert err == (
        f"########## Error: {place}: File too large; "
        f"kept: 10000 of 32000 bytes in {part}; the same command goes on from there\n"
    )
    assert part.read_bytes() == TRUE[:10_000]
    assert place.read_bytes() == b"old"
    with start(tmp_path) as process:
        assert process.communicate(timeout=20)[1] == ""
    assert place.read_bytes() == TRUE
    assert hub.ranges("x") == [None, "bytes=10000-"]


def test_two_at_once(tmp_path: Path, hub: Hub, place: Path) -> None:
    """The first is held in the middle; the second waits for it, then finds the file there."""
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE, hold=20_000)))))
    with start(tmp_path) as first:
        assert hub.holding.wait(20)
        with start(tmp_path) as second:
            assert second.stdout is not None
            lines = [second.stdout.readline() for _ in range(4)]
            assert lines[-1] == "Waiting for another omz_downloader at work on this file...\n"
            hub.release()
            out, err = second.communicate(timeout=20)
        assert first.communicate(timeout=20)[1] == ""
    assert (first.returncode, second.returncode) == (0, 0)
    assert (out, err) == (f"========== Retained {place} (already there, checksum matches)\n\n", "")
    assert place.read_bytes() == TRUE
    assert names(place.parent) == ["x.bin"]
    assert len(hub.requests) == 1


def test_a_reader_that_leaves_in_the_middle(tmp_path: Path, hub: Hub, place: Path) -> None:
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE, hold=20_000)))))
    with start(tmp_path) as process:
        assert hub.holding.wait(20)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        hub.release()
        err = process.communicate(timeout=20)[1]
    assert (process.returncode, err) == (141, "")
    assert names(place.parent) == ["x.bin"]
    assert place.stat().st_size == len(TRUE)
