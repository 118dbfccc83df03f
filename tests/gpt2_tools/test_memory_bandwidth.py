"""the rate is that of the quickest read, by a clock that the test holds."""

from gpt2_tools.memory_bandwidth import MemoryReader


def test_the_quickest_read_counts():
    ticks = iter([0.0, 2.0, 10.0, 10.5, 20.0, 21.0])
    reader = MemoryReader(2, megabytes=4, clock=lambda: next(ticks))
    assert reader.gigabytes_a_second(3) == 4 * 1024**2 / 0.5 / 1e9
    reader.close()


def test_a_true_read_takes_time():
    reader = MemoryReader(1, megabytes=1)
    assert reader.gigabytes_a_second(1) > 0
    reader.close()
