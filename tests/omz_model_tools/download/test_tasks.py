"""Tasks run in order, at most n at once; their messages come in order; unfinished ones are cancelled."""

import io
import threading

import pytest

from omz_model_tools.common.report import Report
from omz_model_tools.download.progress import TransferProgress
from omz_model_tools.download.tasks import CancellationToken, Cancelled, MessageQueue, Task, running
from support import HANGS_AFTER


def task(action, name: str = "x") -> Task:
    return Task(action, TransferProgress(name, None))


def heard(messages: MessageQueue) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    report = Report(out, err)
    for message in messages.read(20):
        assert message is not None
        message(report)
    return out.getvalue(), err.getvalue()


def test_what_is_said_is_heard_in_its_form() -> None:
    messages = MessageQueue()
    messages.section("Downloading x")
    messages.error("no", "really")
    messages.warning("perhaps")
    messages.line("Will retry")
    messages.line()
    messages.end()
    assert heard(messages) == (
        "========== Downloading x\nWill retry\n\n",
        "########## Error: no\n##########      really\n########## Warning: perhaps\n",
    )


def test_silence_is_heard_too() -> None:
    messages = MessageQueue()
    listening = messages.read(0.01)
    assert next(listening) is None
    messages.end()
    assert list(listening) == []


def test_outcomes_and_their_order() -> None:
    order = []

    def action(self: Task) -> bool:
        order.append(self.progress.title)
        if self.progress.title == "b":
            raise ZeroDivisionError
        return self.progress.title == "a"

    tasks = [task(action, name) for name in "abc"]
    with running(tasks, 1):
        assert tasks[2].outcome() is False
        assert tasks[0].outcome() is True
        with pytest.raises(ZeroDivisionError):
            tasks[1].outcome()
    assert order == ["a", "b", "c"]


def test_one_that_fails_has_ended_its_talk() -> None:
    broken = task(lambda self: 1 / 0 > 1)
    with running([broken], 1):
        assert heard(broken.messages) == ("", "")


def test_as_many_at_once_as_wanted() -> None:
    together = threading.Barrier(3)
    tasks = [task(lambda self: together.wait(HANGS_AFTER) >= 0) for _ in range(3)]
    with running(tasks, 3):
        assert all(one.outcome() for one in tasks)


def test_leaving_cancels_what_runs_and_what_has_not_begun() -> None:
    begun = threading.Event()

    def action(self: Task) -> bool:
        begun.set()
        self.cancellation.sleep(60)
        return True

    started, waiting = task(action), task(lambda self: pytest.fail("it began"))
    with pytest.raises(KeyboardInterrupt), running([started, waiting], 1):  # noqa: PT012
        assert begun.wait(HANGS_AFTER)
        raise KeyboardInterrupt
    for cancelled in (started, waiting):
        with pytest.raises(Cancelled):
            cancelled.outcome()


def test_nothing_to_do() -> None:
    with running([], 4):
        pass


def test_without_cancel_nothing_happens() -> None:
    token = CancellationToken()
    token.check()
    token.sleep(0)
    with token.on_cancel(lambda: pytest.fail("nobody cancelled")):
        pass


def test_a_sleeper_wakes() -> None:
    token = CancellationToken()
    timer = threading.Timer(0.05, token.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        token.sleep(60)
    timer.join()
    with pytest.raises(Cancelled):
        token.check()


def test_a_wait_is_ended_only_inside() -> None:
    token, woken = CancellationToken(), []
    with token.on_cancel(lambda: woken.append("first")):
        pass
    with token.on_cancel(lambda: woken.append("second")):
        token.cancel()
    assert woken == ["second"]


def test_who_comes_too_late_does_not_begin() -> None:
    token = CancellationToken()
    token.cancel()
    with pytest.raises(Cancelled), token.on_cancel(lambda: None):
        pytest.fail("it began")
