"""memory_bandwidth: the rate is that of the fastest read, by the test's clock."""

import json
import subprocess
import sys

from gpt2_tools.benchmark.engine import memory_bandwidth
from gpt2_tools.benchmark.engine.memory_bandwidth import MemoryReader


def test_the_quickest_read_counts():
    ticks = iter([0.0, 2.0, 10.0, 10.5, 20.0, 21.0])
    reader = MemoryReader(2, megabytes=4, clock=lambda: next(ticks))
    assert reader.gigabytes_a_second(3) == 4 * 1024**2 / 0.5 / 1e9
    reader.close()


def test_a_true_read_takes_time():
    reader = MemoryReader(1, megabytes=1)
    assert reader.gigabytes_a_second(1) > 0
    reader.close()


def test_as_a_process_it_answers_when_it_is_asked():
    command = [sys.executable, "-m", memory_bandwidth.__name__, "1"]
    done = subprocess.run(command, input="{}\n{}\n", capture_output=True, text=True, check=True)
    first, *answers = map(json.loads, done.stdout.splitlines())
    assert first == {}
    assert [answer["gigabytes_a_second"] > 0 for answer in answers] == [True, True]
