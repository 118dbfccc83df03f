"""figures: figures by hand, real processes, this process's memory."""

import sys

import numpy as np
import pytest

from gpt2_tools.benchmark.figures import Figure, Repeats, checksum, own_memory, own_peak_memory, run_process
from gpt2_tools.common.problem import Problem


def test_a_figure_quotes_its_median_and_shows_its_spread():
    figure = Figure("ms", (3.0, 1.0, 10.0, 2.0))
    assert figure.median == 2.5
    assert figure.text() == "2.5 ms (1 .. 10)"
    told = {"median": 2.5, "min": 1.0, "max": 10.0, "mean": 4.0, "std": 4.0825, "runs": 4, "unit": "ms"}
    assert figure.as_json() == told  # the squares from the mean are 1, 9, 36, 4; 50 / 3 = 4.0825^2
    assert Figure("s", (0.25,)).text() == "0.25 s"
    assert Figure("s", (0.25,)).std == 0


def test_what_warms_up_does_not_count():
    numbers = iter(range(9))
    assert Repeats(2, 3).of(lambda: next(numbers)) == [2, 3, 4]
    assert next(numbers) == 5


def test_a_checksum_is_that_of_the_numbers_with_spaces_between():
    """As printf '1 22 333' | sha256sum has it."""
    assert checksum([1, 22, 333]) == "dd42855f03ee838e8ac7b0a10fb2f1efb7bb17a51eb4041f67f4be84bc4c5bfd"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_stays_when_memory_is_let_go():
    block = np.ones(25_000_000)
    held = own_memory()["resident"]
    del block
    assert own_peak_memory()["peak"] >= held - 1


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
