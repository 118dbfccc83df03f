"""report: Open Model Zoo's forms, to the letter."""

import io

from omz_model_tools.report import Report


def test_the_forms() -> None:
    out, err = io.StringIO(), io.StringIO()
    report = Report(out, err)
    report.group("Downloading gpt-2")
    report.section("Downloading x")
    report.line()
    report.error("Hash mismatch", "Expected: 1", "Actual:   2")
    report.failed(["gpt-2", "gpt-2-mini"])
    assert out.getvalue() == (
        "################|| Downloading gpt-2 ||################\n\n"
        "========== Downloading x\n\n"
        "FAILED:\ngpt-2\ngpt-2-mini\n"
    )
    assert err.getvalue() == (
        "########## Error: Hash mismatch\n##########      Expected: 1\n##########      Actual:   2\n"
    )
