"""File locks exclude other processes and threads, and leave no stale lock after a kill."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from omz_model_tools.common.lock import exclusive, if_free
from support import HANGS_AFTER

# Adds 1 to a number in a file in two steps, with a pause between: two at once would lose counts.
COUNTING = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from omz_model_tools.common.lock import exclusive

    number, lock = Path(sys.argv[1]), Path(sys.argv[2])
    for _ in range(20):
        with exclusive(lock, lambda: None):
            count = int(number.read_text())
            time.sleep(0.002)
            number.write_text(str(count + 1))
    """
)
HOLDING = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from omz_model_tools.common.lock import exclusive

    with exclusive(Path(sys.argv[1]), lambda: None):
        print("held", flush=True)
        sys.stdin.read()
    """
)


def test_no_count_is_lost(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    argv = [sys.executable, "-c", COUNTING, str(number), str(tmp_path / "lock")]
    running = [subprocess.Popen(argv) for _ in range(4)]
    assert [process.wait(HANGS_AFTER) for process in running] == [0] * 4
    assert number.read_text() == "80"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]


def holder(lock: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLDING, str(lock)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


# The holder unlinks its file between our opening and our locking it.
OVERTAKEN = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from omz_model_tools.common.lock import exclusive

    lock, unlinked = Path(sys.argv[1]), []

    def unlink_before_the_first_flock(event, arguments):
        if event == "fcntl.flock" and not unlinked:
            unlinked.append(lock.stat().st_ino)
            lock.unlink()

    sys.addaudithook(unlink_before_the_first_flock)
    with exclusive(lock, lambda: None):
        print(len(unlinked), lock.exists())
    """
)


def test_a_lock_on_a_file_that_is_gone_is_none(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", OVERTAKEN, str(tmp_path / "lock")]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "1 True\n"


def test_who_waits_says_so_once_and_waits_to_the_end(tmp_path: Path) -> None:
    reports: list[float] = []
    with holder(tmp_path / "lock") as process:

        def waiting() -> None:
            reports.append(time.monotonic())
            threading.Timer(0.3, process.stdin.close).start()  # type: ignore[union-attr]

        with exclusive(tmp_path / "lock", waiting):
            assert len(reports) == 1
            assert time.monotonic() - reports[0] >= 0.3
        assert process.wait(HANGS_AFTER) == 0


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path / "lock") as process:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (tmp_path / "lock").exists()
    with exclusive(tmp_path / "lock", lambda: pytest.fail("no process holds it")):
        pass
    assert not (tmp_path / "lock").exists()


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            pytest.raises(KeyboardInterrupt),
            exclusive(tmp_path / "lock", lambda: pytest.fail("the lock was kept")),
        ):
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_if_free_does_not_wait(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with holder(lock) as process:
        with if_free(lock) as mine:
            assert not mine
        assert lock.exists()
        process.communicate("")
    with if_free(lock) as mine:
        assert mine
        with if_free(lock) as second:
            assert not second
    assert not lock.exists()


def test_another_thread_is_waited_for_in_silence(tmp_path: Path) -> None:
    held = exclusive(tmp_path / "lock", lambda: None)
    held.__enter__()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            held.__exit__(None, None, None)

    with exclusive(tmp_path / "lock", lambda: pytest.fail("it is this very process"), sleep):
        assert len(slept) == 3


def test_a_folder_that_another_process_removed_is_made_again(tmp_path: Path) -> None:
    lock = tmp_path / "sub/lock"
    lock.parent.mkdir()

    def remove(_: float) -> None:
        other.__exit__(None, None, None)
        lock.parent.rmdir()

    other = if_free(lock)
    other.__enter__()
    with exclusive(lock, lambda: None, remove):
        assert lock.exists()


def test_a_lock_file_that_is_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "no/where")
    with exclusive(tmp_path / "lock", lambda: None):
        assert not (tmp_path / "lock").is_symlink()
    assert list(tmp_path.iterdir()) == []


def test_a_wait_can_be_given_up(tmp_path: Path) -> None:
    def sleep(seconds: float) -> None:
        raise InterruptedError

    with if_free(tmp_path / "lock"), pytest.raises(InterruptedError), exclusive(tmp_path / "lock", lambda: None, sleep):
        pytest.fail("two hold the lock")


def test_a_lock_file_that_someone_removed_is_no_matter(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", lambda: None):
        (tmp_path / "lock").unlink()
