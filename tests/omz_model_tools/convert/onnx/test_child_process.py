"""A child process: its output, its exit code, and that it ends with its parent, kill -9 included."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from omz_model_tools.convert.onnx.child_process import LastLineHeld, run
from support import HANGS_AFTER, until


def python(program: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(program)]


def test_lines_of_both_streams_in_order_and_the_exit_code():
    lines: list[str] = []
    program = "import sys; print('one'); print('two', file=sys.stderr); print('', 'three'); sys.exit(7)"
    assert run(python(program), lines.append) == 7
    assert lines == ["one", "two", " three"]


def test_what_is_no_text_and_no_whole_line():
    lines: list[str] = []
    assert run(python(r"import sys; sys.stdout.buffer.write(b'a\xff\nend')"), lines.append) == 0
    assert lines == ["a\\xff", "end"]


def test_a_signal_is_an_exit_code_as_of_a_shell():
    assert run(python("import os; os.kill(os.getpid(), 9)"), print) == 128 + 9


def test_a_program_that_is_not_there(tmp_path):
    lines: list[str] = []
    assert run([str(tmp_path / "nothing")], lines.append) == 127
    assert lines == [f"{tmp_path}/nothing: cannot be run: No such file or directory"]


def test_it_has_no_stdin_and_the_environment_it_is_given():
    lines: list[str] = []
    program = "import os, sys; print(repr(sys.stdin.read()), os.environ['WORD'])"
    assert run(python(program), lines.append, {"WORD": "given"}) == 0
    assert lines == ["'' given"]


def test_what_it_leaves_behind_does_not_keep_us_waiting():
    lines: list[str] = []
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    started = time.monotonic()
    assert run(python(program), lines.append) == 0
    assert time.monotonic() - started < HANGS_AFTER


def test_the_last_line_is_held_back():
    said: list[str] = []
    lines = LastLineHeld(said.append)
    lines.release()
    for line in ("one", "", "three"):
        lines(line)
    assert (said, lines.last) == (["one", ""], "three")
    lines.release()
    assert (said, lines.last) == (["one", "", "three"], None)


PARENT = """
import sys
from omz_model_tools.convert.onnx.child_process import run
child = [sys.executable, "-c", "import os, time; print(os.getpid()); time.sleep(600)"]
try:
    run(child, lambda line: print(line, flush=True))
except KeyboardInterrupt:
    sys.exit("interrupted")
"""


def test_it_can_tidy_up_when_we_are_interrupted(tmp_path):
    program = f"""
        import pathlib, time
        try:
            print("ready")
            time.sleep({HANGS_AFTER})
        finally:
            pathlib.Path({str(tmp_path / "tidy")!r}).touch()
    """

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(python(program), interrupt)
    assert (tmp_path / "tidy").exists()


def test_one_that_does_not_listen_is_killed():
    children: list[int] = []

    def interrupt(line: str) -> None:
        children.append(int(line))
        raise KeyboardInterrupt

    program = "import os, signal, time; signal.signal(2, signal.SIG_IGN); print(os.getpid()); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        run(python(program), interrupt)
    assert not is_alive(children[0])


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_dies_with_us(sign):
    with subprocess.Popen(python(PARENT), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(sign)
        _, err = parent.communicate(timeout=HANGS_AFTER)
    assert err == ("interrupted\n" if sign == signal.SIGINT else "")
    until(lambda: not is_alive(child))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
