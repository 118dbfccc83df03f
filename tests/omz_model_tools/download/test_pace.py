"""pace: a minute with less than 1024 bytes a second is a stall, by a clock in the test's hand."""

import pytest

from omz_model_tools.download.pace import Pace, Stalled


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_drip_is_noticed_when_the_window_is_over() -> None:
    clock = Clock()
    pace = Pace(60, 1024, clock)
    for _ in range(59):
        clock.now += 1
        pace.add(1000)
    clock.now += 1
    with pytest.raises(Stalled, match=r"^the transfer stalled: 60000 bytes in 60 seconds$"):
        pace.add(1000)


def test_enough_is_enough_and_each_window_stands_alone() -> None:
    clock = Clock()
    pace = Pace(60, 1024, clock)
    clock.now += 60
    pace.add(60 * 1024)
    clock.now += 59
    pace.add(0)
    clock.now += 1
    with pytest.raises(Stalled, match=r"0 bytes in 60 seconds"):
        pace.add(0)
