"""roofline: shares by hand; the bandwidth meter measures, is for CPUs only, and may fail to start."""

import sys

import pytest

from gpt2_tools.benchmark.engine.roofline import bandwidth_meter, bound_figures, read_by
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.common.json_process import JsonProcess
from gpt2_tools.common.problem import Problem
from support import HANGS_AFTER


def test_what_memory_allows_by_hand(tmp_path):
    ir = tmp_path / "gpt-2.xml"
    ir.with_suffix(".bin").write_bytes(bytes(1_000_000))  # 1 MB, which 0.004 GB/s read 4 times a second
    assert bound_figures([0.004, 0.008], ir, [2.0, 6.0]) == {
        "memory read": Figure("GB/s", (0.004, 0.008)),
        "decode as memory allows": Figure("tokens/s", (4.0, 8.0)),
        "decode / as memory allows": Figure("x", (0.5, 0.75)),
    }


def test_the_meter_reads():
    with bandwidth_meter("CPU", 1, pytest.fail) as meter:
        assert meter() > 0


def test_memory_of_the_cpu_bounds_no_other_device():
    with bandwidth_meter("GPU", 1, pytest.fail) as meter:
        assert meter is None


def test_a_meter_that_does_not_start_is_reported():
    said = []
    with bandwidth_meter("CPU", 0, said.append) as meter:  # no threads to read with
        assert meter is None
    (line,) = said
    assert line.startswith("memory bandwidth is not measured: ended with exit code 1: ")


def test_a_meter_that_ends_is_a_problem():
    command = [sys.executable, "-c", "print('{}', flush=True); input(); raise MemoryError('no room')"]
    line = r"memory bandwidth could not be measured: ended with exit code 1: MemoryError: no room\Z"
    with JsonProcess(command, HANGS_AFTER) as process, pytest.raises(Problem, match=line):
        read_by(process)
