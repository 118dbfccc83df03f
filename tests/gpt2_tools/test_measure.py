"""gpt2_tools.measure: figures by hand, real processes, this process's memory."""

import sys

import numpy as np
import pytest

from gpt2_tools.measure import Figure, own_memory, run_process
from gpt2_tools.problem import Problem


def test_a_figure_quotes_its_median_and_shows_its_spread():
    figure = Figure("ms", (3.0, 1.0, 10.0, 2.0))
    assert figure.median == 2.5
    assert figure.text() == "2.5 ms (1 .. 10)"
    assert figure.as_json() == {"median": 2.5, "min": 1.0, "max": 10.0, "runs": 4, "unit": "ms"}
    assert Figure("s", (0.25,)).text() == "0.25 s"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a process's peak memory")
def test_a_process_is_measured_whole():
    ours = np.ones(40_000_000)  # what we hold is not the child's
    small = run_process([sys.executable, "-c", "pass"])
    large = run_process([sys.executable, "-c", "import time; block = b'x' * 100_000_000; time.sleep(0.3)"])
    assert large.seconds > 0.3
    assert small.peak_mb < 50 < ours.nbytes / 2**20
    assert 80 < large.peak_mb - small.peak_mb < 140


def test_a_process_that_fails_is_a_problem_with_its_last_word():
    with pytest.raises(Problem, match=r"exit code 3: no good$"):
        run_process([sys.executable, "-c", "import sys; print('first\\nno good', file=sys.stderr); sys.exit(3)"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_is_taken_is_seen():
    before = own_memory()
    block = np.ones(25_000_000)  # 200 MB
    after = own_memory()
    assert after["resident"] - before["resident"] == pytest.approx(block.nbytes / 2**20, abs=20)
    assert after["private"] - before["private"] == pytest.approx(block.nbytes / 2**20, abs=20)
