"""omz_downloader as real processes: killed at any moment, interrupted, several at once; the next run goes on.

The file at its place is always a true one or none, and what a killed run leaves is used up by the next.
"""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from omz_model_tools.cli.downloader import downloader
from omz_model_tools.download.sources import TIMEOUT
from support import HANGS_AFTER, until
from support.hub import Answer, Hub, Noise
from support.model_tree import descriptor, file_entry, write_model

COMMAND = Path(sysconfig.get_path("scripts")) / "omz_downloader"
BODY = Noise(3_000_000)[:]
OURS = re.compile(r"\.[0-9a-f]{32}\.(part|lock)")  # what may lie in a model's folder beside its files

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
pytestmark = posix_only


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes of a test, which end with it whatever becomes of it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def describe(tree: Path, **files: tuple[bytes, str]) -> Path:
    """A tree with one model, toy, of these files: (content, URL)."""
    entries = [file_entry(name, content, url) for name, (content, url) in files.items()]
    write_model(tree, "toy", descriptor(*entries))
    return tree


def start(tree: Path, out: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """Start the command on toy; all it says goes to a file beside `out`, `said` gives it."""
    command = [COMMAND, "--models_dir", tree, "--name", "toy", "-o", out, *arguments]
    number = sum(path.name.startswith("said.") for path in out.parent.iterdir())
    with (out.parent / f"said.{number}").open("xb") as sink:
        return subprocess.Popen([str(part) for part in command], stdout=sink, stderr=sink)


def said(out: Path) -> list[str]:
    return [path.read_text() for path in sorted(out.parent.glob("said.*"))]


def again(tree: Path, out: Path, *arguments: object) -> int:
    """Run the command to its end, here."""
    return downloader(["--name", "toy", "-o", str(out), *map(str, arguments)], [tree])


def part(out: Path, content: bytes) -> Path:
    return out / "public/toy" / f".{hashlib.sha256(content).hexdigest()[:32]}.part"


def there(out: Path) -> list[str]:
    """All names in toy's folder, hidden ones too."""
    folder = out / "public/toy"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def holds(path: Path, size: int) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_size == size
    return False


@pytest.mark.parametrize("arrived", [1, 70_000, 1_500_000, len(BODY) - 1])
def test_a_killed_download_goes_on_where_it_stopped(
    tmp_path: Path, hub: Hub, started: list[subprocess.Popen[bytes]], arrived: int
) -> None:
    tree, out = describe(tmp_path / "models", x=(BODY, hub.publish("x", Answer(BODY, hold=arrived)))), tmp_path / "out"
    started.append(start(tree, out))
    until(lambda: holds(part(out, BODY), arrived))  # what arrived is on the disk, though no more comes
    started[0].send_signal(signal.SIGKILL)
    assert started[0].wait(HANGS_AFTER) == -signal.SIGKILL
    assert part(out, BODY).read_bytes() == BODY[:arrived]
    assert "x" not in there(out)

    hub.publish("x", Answer(BODY))
    assert again(tree, out) == 0
    assert hub.ranges("cdn/x") == [None, f"bytes={arrived}-"]
    assert (out / "public/toy/x").read_bytes() == BODY
    assert there(out) == ["x"]


def test_a_part_that_was_garbled_meanwhile_is_not_published(
    tmp_path: Path, hub: Hub, started: list[subprocess.Popen[bytes]]
) -> None:
    tree, out = describe(tmp_path / "models", x=(BODY, hub.publish("x", Answer(BODY, hold=9000)))), tmp_path / "out"
    started.append(start(tree, out))
    until(lambda: holds(part(out, BODY), 9000))
    started[0].kill()
    started[0].wait(HANGS_AFTER)
    with part(out, BODY).open("r+b") as left:
        left.write(b"?" * 100)
    hub.publish("x", Answer(BODY))
    assert again(tree, out) == 0
    assert hub.ranges("cdn/x") == [None, "bytes=9000-", None]
    assert (out / "public/toy/x").read_bytes() == BODY
    assert there(out) == ["x"]


AT_STEP = """
    import io, os, signal, sys, threading
    from pathlib import Path
    from omz_model_tools.cli.downloader import downloader
    import omz_model_tools.download.downloader, omz_model_tools.download.fetch, omz_model_tools.download.sources

    DISK = {"open", "write", "truncate", "ftruncate", "fsync", "replace", "rename", "link", "unlink", "remove"}
    DISK |= {"mkdir", "rmdir", "sendfile", "copy_file_range", "chmod", "utime"}

    def is_step(function):
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None)
        ours = module in ("posix", "io", "_io") or isinstance(owner, io.FileIO | io.BufferedWriter | io.BufferedRandom)
        return ours and function.__name__ in DISK

    def run(step, tree, out, cache):
        seen = 0

        def kill(frame, event, function):
            nonlocal seen
            if event == "c_call" and is_step(function):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        threading.setprofile(kill)
        sys.setprofile(kill)
        return downloader(["--name", "toy", "-o", out, "--cache_dir", cache], [Path(tree)])

    for line in sys.stdin:
        step, *places = line.split()
        process = os.fork()
        if process == 0:
            os._exit(run(int(step), *places))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture
def killed_at(started: list[subprocess.Popen[bytes]]) -> Callable[..., int]:
    """A function that runs the command, killed right before its step-th touch of the disk; its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(AT_STEP)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    started.append(process)

    def run(step: int, tree: Path, out: Path, cache: Path) -> int:
        process.stdin.write(f"{step} {tree} {out} {cache}\n".encode())
        process.stdin.flush()
        return int(process.stdout.readline())

    return run


@pytest.mark.parametrize("before", [None, b"the old true one", b"half of a fi"])
def test_killed_before_every_single_step_on_the_disk(
    tmp_path: Path, hub: Hub, killed_at: Callable[..., int], before: bytes | None
) -> None:
    body = BODY[:5000]
    tree = describe(tmp_path / "models", x=(body, hub.publish("x", Answer(body))))
    for step in range(1, 300):
        out, cache = tmp_path / f"out{step}", tmp_path / f"cache{step}"
        if before is not None:
            (out / "public/toy").mkdir(parents=True)
            (out / "public/toy/x").write_bytes(before)
        code = killed_at(step, tree, out, cache)
        place = out / "public/toy/x"
        assert (place.read_bytes() if place.exists() else None) in (before, body)
        assert all(OURS.fullmatch(name) for name in there(out) if name != "x"), there(out)
        hold_only_true_entries(cache)
        assert again(tree, out, "--cache_dir", cache) == 0
        assert place.read_bytes() == body
        assert there(out) == ["x"]
        assert len(hold_only_true_entries(cache)) == 1
        if code == 0:
            assert step > 20  # it saw the steps it is about
            return
        assert code == -signal.SIGKILL
    pytest.fail("300 steps for a file of 5000 bytes")


def hold_only_true_entries(cache: Path) -> list[Path]:
    """Every file of a cache is at its own checksum, <algorithm>/<2 digits>/<rest>, or is a hidden temporary one."""
    entries = [path for path in cache.rglob("*") if path.is_file() and not path.name.startswith(".")]
    for path in entries:
        algorithm, first, rest = path.relative_to(cache).parts
        assert hashlib.new(algorithm, path.read_bytes()).hexdigest() == first + rest
    return entries


def test_killed_at_random_moments(tmp_path: Path, hub: Hub, started: list[subprocess.Popen[bytes]]) -> None:
    names, out, tree = [f"f{number}" for number in range(6)], tmp_path / "out", tmp_path / "models"

    def version(number: int) -> dict[str, bytes]:
        return {name: Noise(20_000, number * 10 + at)[:] for at, name in enumerate(names)}

    def publish(contents: dict[str, bytes]) -> None:
        describe(tree, **{name: (body, hub.publish(name, Answer(body))) for name, body in contents.items()})

    publish(version(0))
    begin = time.monotonic()
    first = start(tree, out)
    assert first.wait(HANGS_AFTER) == 0, said(out)
    duration = time.monotonic() - begin
    killed = 0
    for number in range(1, 17):
        old, new = version(number - 1), version(number)
        publish(new)
        started.append(start(tree, out))
        with suppress(subprocess.TimeoutExpired):
            started[-1].wait(random.uniform(0.3, 1) * duration)  # before that, Python itself starts
        started[-1].kill()
        killed += started[-1].wait(HANGS_AFTER) == -signal.SIGKILL
        for name in names:
            assert (out / "public/toy" / name).read_bytes() in (old[name], new[name])
        assert all(OURS.fullmatch(name) for name in there(out) if name not in names), there(out)
        assert again(tree, out) == 0
        assert {name: (out / "public/toy" / name).read_bytes() for name in names} == new
        assert there(out) == names
    assert killed


def test_control_c_while_four_downloads_stall(tmp_path: Path, hub: Hub, started: list[subprocess.Popen[bytes]]) -> None:
    bodies = {f"f{number}": BODY[number : number + 5000] for number in range(5)}
    files = {name: (body, hub.publish(name, Answer(body, hold=1000))) for name, body in bodies.items()}
    tree, out = describe(tmp_path / "models", **files), tmp_path / "out"
    started.append(start(tree, out, "-j", "4"))
    running = list(bodies.values())[:4]
    until(lambda: all(holds(part(out, body), 1000) for body in running))
    started[0].send_signal(signal.SIGINT)
    assert started[0].wait(TIMEOUT[1] / 2) == 130  # it does not wait for what has stalled
    assert said(out)[0].endswith("\nInterrupted\n")
    assert "Traceback" not in said(out)[0]
    assert there(out) == sorted(part(out, body).name for body in running)
    assert all(part(out, body).read_bytes() == body[:1000] for body in running)

    for name, body in bodies.items():
        hub.publish(name, Answer(body))
    assert again(tree, out, "-j", "4") == 0
    for name in list(bodies)[:4]:
        assert hub.ranges(f"cdn/{name}") == [None, "bytes=1000-"]
    assert there(out) == sorted(bodies)
    assert all((out / "public/toy" / name).read_bytes() == body for name, body in bodies.items())


@pytest.mark.parametrize("count", [2, 8])
def test_several_at_once_fetch_a_file_once(
    tmp_path: Path, hub: Hub, started: list[subprocess.Popen[bytes]], count: int
) -> None:
    tree, out = describe(tmp_path / "models", x=(BODY, hub.publish("x", Answer(BODY, hold=9000)))), tmp_path / "out"
    started.extend(start(tree, out) for _ in range(count))
    until(lambda: hub.held == 1 and sum("Waiting" in text for text in said(out)) == count - 1)
    hub.release()
    assert [process.wait(HANGS_AFTER) for process in started] == [0] * count, said(out)
    assert hub.ranges("cdn/x") == [None]
    assert (out / "public/toy/x").read_bytes() == BODY
    assert there(out) == ["x"]
    assert sorted(text.count("Waiting") for text in said(out)) == [0] + [1] * (count - 1)


def test_who_waits_goes_on_where_a_killed_one_stopped(
    tmp_path: Path, hub: Hub, started: list[subprocess.Popen[bytes]]
) -> None:
    tree, out = describe(tmp_path / "models", x=(BODY, hub.publish("x", Answer(BODY, hold=9000)))), tmp_path / "out"
    started.append(start(tree, out))
    until(lambda: holds(part(out, BODY), 9000))
    started.append(start(tree, out))
    until(lambda: "Waiting" in said(out)[1])
    hub.publish("x", Answer(BODY))
    started[0].kill()
    assert started[1].wait(HANGS_AFTER) == 0, said(out)
    assert hub.ranges("cdn/x") == [None, "bytes=9000-"]
    assert (out / "public/toy/x").read_bytes() == BODY
    assert there(out) == ["x"]


def test_another_version_leaves_a_running_download_alone(
    tmp_path: Path, hub: Hub, started: list[subprocess.Popen[bytes]]
) -> None:
    old, new, out = BODY[:9000], BODY[1:9001], tmp_path / "out"
    slow = describe(tmp_path / "old", x=(old, hub.publish("old", Answer(old, hold=4000))))
    fast = describe(tmp_path / "new", x=(new, hub.publish("new", Answer(new))))
    started.append(start(slow, out))
    until(lambda: holds(part(out, old), 4000))
    assert again(fast, out) == 0
    assert (out / "public/toy/x").read_bytes() == new
    assert part(out, old).read_bytes() == old[:4000]
    hub.release()
    assert started[0].wait(HANGS_AFTER) == 0, said(out)
    assert (out / "public/toy/x").read_bytes() == old
    assert there(out) == ["x"]
    assert hub.ranges("cdn/old") == [None]
