"""Open Model Zoo's output formats, compared to the letter."""

import errno
import io

from omz_model_tools.common.report import Events, Quiet, Report

ERRORS = (
    "########## Error: Hash mismatch\n##########      Expected: 1\n##########      Actual:   2\n"
    "########## Warning: perhaps\n"
)


def say_everything(report: Report) -> None:
    report.group("Downloading gpt-2")
    report.section("Downloading x")
    report.event("model_download_begin", model="gpt-2", num_files=2, size=None, successful=True)
    report.line()
    report.error("Hash mismatch", "Expected: 1", "Actual:   2")
    report.warning("perhaps")
    report.failed(["gpt-2", "gpt-2-mini"])


def test_the_forms() -> None:
    out, err = io.StringIO(), io.StringIO()
    say_everything(Report(out, err))
    assert out.getvalue() == (
        "################|| Downloading gpt-2 ||################\n\n"
        "========== Downloading x\n\n"
        "FAILED:\ngpt-2\ngpt-2-mini\n"
    )
    assert err.getvalue() == ERRORS


def test_what_would_paint_the_terminal_is_escaped() -> None:
    out, err = io.StringIO(), io.StringIO()
    report = Report(out, err)
    report.section("a\x1b[31mb\tc\r\udcff\u202e ä日")
    report.error("a\x9b", "\x07")
    assert out.getvalue() == "========== a\\x1b[31mb\tc\\r\\udcff\\u202e ä日\n"
    assert err.getvalue() == "########## Error: a\\x9b\n##########      \\x07\n"


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_stderr_costs_the_errors_alone() -> None:
    out, expected = io.StringIO(), io.StringIO()
    say_everything(Report(out, Full()))
    say_everything(Report(expected, io.StringIO()))
    assert out.getvalue() == expected.getvalue()


def test_quiet_says_what_failed() -> None:
    out, err = io.StringIO(), io.StringIO()
    say_everything(Quiet(out, err))
    assert (out.getvalue(), err.getvalue()) == ("FAILED:\ngpt-2\ngpt-2-mini\n", ERRORS)


def test_events_are_objects_and_nothing_else() -> None:
    out, err = io.StringIO(), io.StringIO()
    say_everything(Events(out, err))
    line = '{"$type": "model_download_begin", "model": "gpt-2", "num_files": 2, "size": null, "successful": true}\n'
    assert (out.getvalue(), err.getvalue()) == (line, ERRORS)
