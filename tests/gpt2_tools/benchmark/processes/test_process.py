"""process: real processes, and the memory of this one."""

import mmap
import sys

import numpy as np
import pytest

from gpt2_tools.benchmark.processes.process import own_memory, own_peak_memory, run_process
from gpt2_tools.common.problem import Problem


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_stays_when_memory_is_let_go():
    block = np.ones(25_000_000)
    held = own_memory()["resident"]
    del block
    assert own_peak_memory()["peak"] >= held - 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not report a process's peak memory")
def test_a_process_is_measured_whole():
    ours = np.ones(40_000_000)  # what we hold is not the child's
    small = run_process([sys.executable, "-c", "pass"])
    large = run_process([sys.executable, "-c", "import time; block = b'x' * 100_000_000; time.sleep(0.3)"])
    assert large.seconds > 0.3
    assert small.peak_mb < 50 < ours.nbytes / 2**20
    assert 80 < large.peak_mb - small.peak_mb < 140


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not report a process's CPU time")
def test_the_cpu_time_of_a_process_is_that_of_its_threads_and_not_of_its_waiting():
    burn = "import time\nwhile time.thread_time() < 0.3: pass"
    waits = f"import time; time.sleep(0.6)\n{burn}"
    threads = f"from threading import Thread\nfor _ in range(2): Thread(target=exec, args=({burn!r}, {{}})).start()"
    one, two = (run_process([sys.executable, "-c", code]) for code in (waits, threads))
    assert 0.3 <= one.cpu_seconds < one.seconds - 0.5
    assert two.cpu_seconds >= 0.6


def test_a_process_that_fails_is_a_problem_with_its_last_word():
    with pytest.raises(Problem, match=r"exit code 3: no good$"):
        run_process([sys.executable, "-c", "import sys; print('first\\nno good', file=sys.stderr); sys.exit(3)"])


def test_a_command_that_is_not_installed_is_a_problem(tmp_path):
    with pytest.raises(Problem, match=f"^{tmp_path}/nothing: cannot be run: FileNotFoundError: "):
        run_process([str(tmp_path / "nothing")])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_is_taken_is_seen():
    before = own_memory()
    block = np.frombuffer(mmap.mmap(-1, 200 << 20), np.uint8)  # new, whatever the heap has free in a long process
    block[...] = 1
    after = own_memory()
    assert after["resident"] - before["resident"] == pytest.approx(block.nbytes / 2**20, abs=20)
    assert after["private"] - before["private"] == pytest.approx(block.nbytes / 2**20, abs=20)
