"""stop: who sleeps or waits is woken, who works sees it at the next look."""

import threading

import pytest

from omz_model_tools.download.stop import Stop, Stopped


def test_until_it_is_wanted_nothing_happens() -> None:
    stop = Stop()
    stop.check()
    stop.sleep(0)
    with stop.waking(lambda: pytest.fail("nobody wanted that")):
        pass


def test_a_sleeper_wakes() -> None:
    stop = Stop()
    timer = threading.Timer(0.05, stop.want)
    timer.start()
    with pytest.raises(Stopped):
        stop.sleep(60)
    timer.join()
    with pytest.raises(Stopped):
        stop.check()


def test_a_wait_is_ended_only_inside() -> None:
    stop, woken = Stop(), []
    with stop.waking(lambda: woken.append("first")):
        pass
    with stop.waking(lambda: woken.append("second")):
        stop.want()
    assert woken == ["second"]


def test_who_comes_too_late_does_not_begin() -> None:
    stop = Stop()
    stop.want()
    with pytest.raises(Stopped), stop.waking(lambda: None):
        pytest.fail("it began")
