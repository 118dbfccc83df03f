"""interrupt: Ctrl-C in each stretch of a process."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import gpt2_text_prediction
from gpt2_text_prediction.cli.interrupt import INTERRUPTED, ends_at_once, raises

PROGRAM = """
import os, signal
from gpt2_text_prediction.cli.interrupt import end_at_once, ends_at_once, raises
def interrupt(): os.kill(os.getpid(), signal.SIGINT)
def raised():
    try:
        interrupt()
    except KeyboardInterrupt:
        return True
{body}
print("came to its end")
"""


def run(body: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "body",
    [
        "end_at_once(); interrupt()",
        "with ends_at_once(): interrupt()",
        "end_at_once()\nwith ends_at_once(): pass\ninterrupt()",
        "end_at_once()\nwith ends_at_once():\n  with raises(): assert raised()\n  interrupt()",
    ],
)
def test_it_ends_the_process_and_says_nothing(body):
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "")


@pytest.mark.parametrize(
    "body",
    [
        "with ends_at_once(): pass\nassert raised()",
        "end_at_once()\nwith ends_at_once(), raises(): assert raised()",
        "signal.signal(signal.SIGINT, signal.SIG_IGN); end_at_once(); interrupt()",  # as behind nohup, or in sh's `&`
        "seen = []; signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "with ends_at_once(), raises(): interrupt()\nassert seen",
    ],
)
def test_it_can_be_caught_and_handlers_of_others_stay(body):
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (0, "came to its end\n", "")


def test_another_thread_has_no_handlers_to_set():
    entered = []

    def enter() -> None:
        with ends_at_once(), raises():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered


def test_the_command_has_it_in_hand_before_anything_slow_is_imported():
    program = (
        "import sys, gpt2_text_prediction.cli.commands\n"
        "print({'typing', 'threading', 'argparse', 'pathlib', 'numpy'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(gpt2_text_prediction.__file__).parent.parent)}
    command = [sys.executable, "-S", "-c", program]  # no site, whose packages import what they like
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
