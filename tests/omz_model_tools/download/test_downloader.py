"""Models in their order, files in parallel, one transcript; kills, Ctrl-C and full disks of a real process."""

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
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omz_model_tools.common.lock import exclusive, if_free
from omz_model_tools.common.problem import Problem
from omz_model_tools.common.report import Events, Report
from omz_model_tools.descriptor.model import ModelFile
from omz_model_tools.download.downloader import LOCK, Downloader
from omz_model_tools.download.progress import NoDisplay
from omz_model_tools.download.tasks import Task
from support import HANGS_AFTER, until
from support.downloads import HEADING, PART, TRUE, download, names, toy
from support.hub import Answer, Hub
from support.model_tree import descriptor, file_entry, load_models, write_model


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
    """What a downloader of models a, b, … says, whose files are fetched as given."""

    def __init__(self, tmp_path: Path, *plan: tuple[str, int]) -> None:
        for name, count in plan:
            files = [file_entry(f"{name}{number}", b"x", "https://a/b") for number in range(count)]
            write_model(tmp_path, name, descriptor(*files))
        self.models = load_models([tmp_path])
        self.out, self.err = io.StringIO(), io.StringIO()
        self.kind: type[Report] = Report

    def run(self, fetch: Callable[[ModelFile, Path, Task], bool], jobs: int) -> list[str]:
        report = self.kind(self.out, self.err)
        return Downloader(Path("out"), fetch, report, NoDisplay(), jobs).download(self.models)


def test_so_many_at_once_over_all_models_and_no_more(tmp_path: Path) -> None:
    models = Models(tmp_path, ("a", 2), ("b", 3))
    together = threading.Barrier(3)
    running, most = [], []

    def fetch(file: ModelFile, place: Path, task: Task) -> bool:
        running.append(file)
        most.append(len(running))
        if str(file.name) in ("a0", "a1", "b0"):
            together.wait(HANGS_AFTER)
        running.remove(file)
        return True

    assert models.run(fetch, jobs=3) == []
    assert max(most) == 3


FILES = st.tuples(st.sampled_from(["arrives", "fails", "problem"]), st.lists(st.sampled_from("xyz"), max_size=3))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(FILES, min_size=1, max_size=3), min_size=1, max_size=3), st.integers(2, 9))
def test_the_transcript_is_the_same_however_many_are_under_way(
    tmp_path_factory: pytest.TempPathFactory, plans: list[list[tuple[str, list[str]]]], jobs: int
) -> None:
    root = tmp_path_factory.mktemp("models")
    plan = {f"{name}{at}": files[at] for name, files in zip("abc", plans, strict=False) for at in range(len(files))}

    def fetch(file: ModelFile, place: Path, task: Task) -> bool:
        outcome, words = plan[str(file.name)]
        for word in words:
            task.messages.error(word) if word == "x" else task.messages.line(word)
        if outcome == "problem":
            raise Problem(f"{place}: no")
        return outcome == "arrives"

    said = []
    for count in (1, jobs):
        models = Models(root, *((name, len(files)) for name, files in zip("abc", plans, strict=False)))
        said.append((models.run(fetch, count), models.out.getvalue(), models.err.getvalue()))
    assert said[0] == said[1]
    good = [all(outcome == "arrives" for outcome, _ in files) for files in plans]
    assert said[0][0] == [name for name, whole in zip("abc", good, strict=False) if not whole]


def test_a_bug_in_a_thread_is_a_bug(tmp_path: Path) -> None:
    def fetch(file: ModelFile, place: Path, task: Task) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Models(tmp_path, ("a", 2)).run(fetch, jobs=2)


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


def test_progress_is_reported_during_the_transfer(tmp_path: Path) -> None:
    models = Models(tmp_path, ("a", 1))
    models.kind = Events
    reported = threading.Event()

    class Listening(io.StringIO):
        def write(self, text: str) -> int:
            if '"size": 10' in text:
                reported.set()
            return super().write(text)

    models.out = Listening()

    def fetch(file: ModelFile, place: Path, task: Task) -> bool:
        task.progress.begin(5)
        task.progress.reach(10)
        assert reported.wait(HANGS_AFTER)
        task.progress.reach(30)
        return True

    assert models.run(fetch, jobs=1) == []
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


def postprocessing_events(successful: bool) -> list[dict[str, Any]]:
    """Return the events of a download and its postprocessing, in Open Model Zoo's order."""
    return [
        {"$type": "model_download_end", "model": "toy", "successful": True},
        {"$type": "model_postprocessing_begin", "model": "toy"},
        {"$type": "model_postprocessing_end", "model": "toy", "successful": successful},
    ]


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
    assert [json.loads(line) for line in events.splitlines()][-3:] == postprocessing_events(successful=True)


def test_postprocessing_that_fails_fails_the_model(tmp_path: Path, hub: Hub) -> None:
    entry = file_entry("x.tar.gz", b"no archive", hub.serve("x", Answer(b"no archive")))
    run = download(tmp_path, entry, postprocessing=UNPACK)
    assert not run.success
    assert run.err.startswith("########## Error: ")
    events = download(tmp_path, entry, postprocessing=UNPACK, kind=Events).out
    assert [json.loads(line) for line in events.splitlines()][-3:] == postprocessing_events(successful=False)


def replacing(name: str) -> list[dict[str, str]]:
    """A step that leaves the size of the file alone."""
    return [{"$type": "regex_replace", "file": name, "pattern": "!", "replacement": "?"}]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"The sea?!")])
def test_a_file_that_is_fetched_anew_is_postprocessed_anew(
    tmp_path: Path, hub: Hub, damage: Callable[[Path], object]
) -> None:
    entry = file_entry("x", b"The sea!", hub.serve("x", Answer(b"The sea!")))
    path = tmp_path / "out/public/toy/x"
    for _ in range(2):
        assert download(tmp_path, entry, postprocessing=replacing("x")).success
        assert path.read_bytes() == b"The sea?"
        damage(path)


@pytest.mark.parametrize("name", ["inside.txt", "plain", "x", "x.orig"])
def test_what_verify_rejects_is_made_again(tmp_path: Path, hub: Hub, name: str) -> None:
    contents = {"a.tar.gz": archive("inside.txt", b"The sea"), "plain": b"as it is", "x": b"!"}
    entries = [file_entry(name, content, hub.serve(name, Answer(content))) for name, content in contents.items()]
    steps = [{**UNPACK[0], "file": "a.tar.gz"}, *replacing("x")]
    folder = tmp_path / "out/public/toy"
    assert download(tmp_path, *entries, postprocessing=steps).success
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / name).write_bytes(bytes([before[name][0] ^ 1]) + before[name][1:])
    assert download(tmp_path, *entries, postprocessing=steps).success
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_archive_that_a_killed_run_left_beside_its_files_goes(tmp_path: Path, hub: Hub) -> None:
    packed = archive("inside.txt", b"The sea")
    entry = file_entry("x.tar.gz", packed, hub.serve("x", Answer(packed)))
    folder = tmp_path / "out/public/toy"
    assert download(tmp_path, entry, postprocessing=UNPACK).success
    (folder / "x.tar.gz").write_bytes(packed)
    assert download(tmp_path, entry, postprocessing=UNPACK).success
    assert not (folder / "x.tar.gz").exists()
    assert len(hub.requests) == 1


def postprocessed(tmp_path: Path, *names: str) -> Path:
    """Describe models of one file, text, and one step each; returns where they come to lie."""
    for name in names:
        write_model(tmp_path, name, descriptor(file_entry("x", b"!", "https://a/b"), postprocessing=replacing("x")))
    return tmp_path / "out/public"


def running(tmp_path: Path, *names: str, arrives: bool = True) -> tuple[threading.Thread, io.StringIO]:
    """A downloader of these models, in this order, all at once; and what it says."""
    models = {model.name: model for model in load_models([tmp_path])}
    out = io.StringIO()

    def fetch(file: ModelFile, place: Path, task: Task) -> bool:
        if arrives:
            place.write_bytes(b"!")
        return arrives

    work = Downloader(tmp_path / "out", fetch, Report(out, io.StringIO()), NoDisplay(), jobs=9)
    thread = threading.Thread(target=work.download, args=([models[name] for name in names],), daemon=True)
    thread.start()
    return thread, out


def test_who_waits_for_a_model_keeps_no_later_one_from_others(tmp_path: Path) -> None:
    """Or else two with the same models in different orders could wait for each other for ever."""
    public = postprocessed(tmp_path, "a", "b")
    (public / "a").mkdir(parents=True)
    with if_free(public / "a" / LOCK):  # which a thread takes for another process
        first, out = running(tmp_path, "a", "b")
        until(lambda: "Waiting for another omz_downloader at work on this model" in out.getvalue())
        second, _ = running(tmp_path, "b", "a")
        until((public / "b/.postprocessed.json").exists)
        assert first.is_alive()
        assert second.is_alive()
    for thread in (first, second):
        thread.join(HANGS_AFTER)
        assert not thread.is_alive()
    assert [(public / name / "x").read_bytes() for name in "ab"] == [b"?", b"?"]


def test_a_model_that_failed_is_free_for_others(tmp_path: Path) -> None:
    public = postprocessed(tmp_path, "a", "b")
    (public / "b").mkdir(parents=True)
    with if_free(public / "b" / LOCK):
        first, out = running(tmp_path, "a", "b", arrives=False)
        until(lambda: "Waiting for another omz_downloader at work on this model" in out.getvalue())
        second, _ = running(tmp_path, "a")
        second.join(HANGS_AFTER)
        assert not second.is_alive()
    first.join(HANGS_AFTER)
    assert not first.is_alive()


def test_a_run_that_fails_leaves_no_empty_folders(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "out").mkdir()
    entry = file_entry("sub/x", b"x", hub.serve("x", Answer(status=404)))
    assert not download(tmp_path, entry).success
    assert names(tmp_path / "out") == []
    (tmp_path / "out/public/toy/mine").mkdir(parents=True)
    assert not download(tmp_path, entry).success
    assert names(tmp_path / "out/public/toy") == ["mine"]


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
        assert hub.holding.wait(HANGS_AFTER)
        _wait_for(place.with_name(PART), 20_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=HANGS_AFTER)
    assert (process.returncode, err) == (130, "Interrupted\n")
    assert out == f"{HEADING}========== Downloading {place}\n"
    assert names(place.parent) == [PART, *["x.bin"] * had]
    assert place.with_name(PART).read_bytes() == TRUE[:20_000]
    assert not had or place.read_bytes() == b"old"


def _wait_for(path: Path, size: int) -> None:
    """Until the file is so long: what the server sent may still be on its way."""
    until(lambda: path.exists() and path.stat().st_size == size)


def test_ctrl_c_ends_an_endless_pattern(tmp_path: Path, hub: Hub, place: Path) -> None:
    text = b"a" * 60 + b"b"
    step = {"$type": "regex_replace", "file": "x", "pattern": "(a+)+$", "replacement": ""}
    entry = file_entry("x", text, hub.serve("x", Answer(text)))
    write_model(tmp_path / "models", "toy", descriptor(entry, postprocessing=[step]))
    # Ctrl-C may come before the pattern is tried, between the opening of a file and its `with`: it is closed unasked.
    with start(tmp_path, before="import warnings; warnings.simplefilter('ignore', ResourceWarning)\n") as process:
        assert process.stdout is not None
        while "Replacing text in" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=HANGS_AFTER)[1]
    assert (process.returncode, err) == (130, "Interrupted\n")
    assert names(tmp_path / "out/public/toy") == ["x"]


def test_a_killed_run_is_gone_on_with(tmp_path: Path, hub: Hub, place: Path) -> None:
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.url("x"))))
    hub.serve("x", Answer(TRUE, hold=20_000), Answer(TRUE))
    with start(tmp_path) as first:
        assert hub.holding.wait(HANGS_AFTER)
        _wait_for(place.with_name(PART), 20_000)
        first.kill()
        first.communicate()
    with start(tmp_path) as second:
        assert second.communicate(timeout=HANGS_AFTER)[1] == ""
    assert hub.ranges("x") == [None, "bytes=20000-"]
    assert place.read_bytes() == TRUE
    assert names(place.parent) == ["x.bin"]


@pytest.mark.without_coverage
def test_a_full_disk(tmp_path: Path, hub: Hub, place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(b"old")
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE)))))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
    with start(tmp_path, before=limit) as process:
        out, err = process.communicate(timeout=HANGS_AFTER)
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
        assert process.communicate(timeout=HANGS_AFTER)[1] == ""
    assert place.read_bytes() == TRUE
    assert hub.ranges("x") == [None, "bytes=10000-"]


def test_two_at_once(tmp_path: Path, hub: Hub, place: Path) -> None:
    """The first is held in the middle; the second waits for it, then finds the file there."""
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE, hold=20_000)))))
    with start(tmp_path) as first:
        assert hub.holding.wait(HANGS_AFTER)
        with start(tmp_path) as second:
            assert second.stdout is not None
            lines = [second.stdout.readline() for _ in range(4)]
            assert lines[-1] == "Waiting for another omz_downloader at work on this file...\n"
            hub.release()
            out, err = second.communicate(timeout=HANGS_AFTER)
        assert first.communicate(timeout=HANGS_AFTER)[1] == ""
    assert (first.returncode, second.returncode) == (0, 0)
    assert (out, err) == (f"========== Retained {place} (already there, checksum matches)\n\n", "")
    assert place.read_bytes() == TRUE
    assert names(place.parent) == ["x.bin"]
    assert len(hub.requests) == 1


def test_a_reader_that_leaves_in_the_middle(tmp_path: Path, hub: Hub, place: Path) -> None:
    write_model(tmp_path / "models", "toy", descriptor(toy(hub.serve("x", Answer(TRUE, hold=20_000)))))
    with start(tmp_path) as process:
        assert hub.holding.wait(HANGS_AFTER)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        hub.release()
        err = process.communicate(timeout=HANGS_AFTER)[1]
    assert (process.returncode, err) == (141, "")
    assert names(place.parent) == ["x.bin"]
    assert place.stat().st_size == len(TRUE)
