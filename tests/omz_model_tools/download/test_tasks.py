"""tasks: carried out in order, so many at once; heard from the beginning to the end; stopped at the end."""

import io
import threading

import pytest

from omz_model_tools.common.report import Report
from omz_model_tools.download.progress import Gauge
from omz_model_tools.download.tasks import Stop, Stopped, Talk, Task, under_way
from support import HANGS_AFTER


def task(action, name: str = "x") -> Task:
    return Task(action, Gauge(name, None))


def heard(talk: Talk) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    report = Report(out, err)
    for saying in talk.listen(20):
        assert saying is not None
        saying(report)
    return out.getvalue(), err.getvalue()


def test_what_is_said_is_heard_in_its_form() -> None:
    talk = Talk()
    talk.section("Downloading x")
    talk.error("no", "really")
    talk.warning("perhaps")
    talk.line("Will retry")
    talk.line()
    talk.end()
    assert heard(talk) == (
        "========== Downloading x\nWill retry\n\n",
        "########## Error: no\n##########      really\n########## Warning: perhaps\n",
    )


def test_silence_is_heard_too() -> None:
    talk = Talk()
    listening = talk.listen(0.01)
    assert next(listening) is None
    talk.end()
    assert list(listening) == []


def test_outcomes_and_their_order() -> None:
    order = []

    def action(self: Task) -> bool:
        order.append(self.gauge.title)
        if self.gauge.title == "b":
            raise ZeroDivisionError
        return self.gauge.title == "a"

    tasks = [task(action, name) for name in "abc"]
    with under_way(tasks, 1):
        assert tasks[2].outcome() is False
        assert tasks[0].outcome() is True
        with pytest.raises(ZeroDivisionError):
            tasks[1].outcome()
    assert order == ["a", "b", "c"]


def test_one_that_fails_has_ended_its_talk() -> None:
    broken = task(lambda self: 1 / 0 > 1)
    with under_way([broken], 1):
        assert heard(broken.talk) == ("", "")


def test_as_many_at_once_as_wanted() -> None:
    together = threading.Barrier(3)
    tasks = [task(lambda self: together.wait(HANGS_AFTER) >= 0) for _ in range(3)]
    with under_way(tasks, 3):
        assert all(one.outcome() for one in tasks)


def test_leaving_stops_what_runs_and_what_has_not_begun() -> None:
    begun = threading.Event()

    def action(self: Task) -> bool:
        begun.set()
        self.stop.sleep(60)
        return True

    running, waiting = task(action), task(lambda self: pytest.fail("it began"))
    with pytest.raises(KeyboardInterrupt), under_way([running, waiting], 1):  # noqa: PT012
        assert begun.wait(HANGS_AFTER)
        raise KeyboardInterrupt
    for one in (running, waiting):
        with pytest.raises(Stopped):
            one.outcome()


def test_nothing_to_do() -> None:
    with under_way([], 4):
        pass


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
