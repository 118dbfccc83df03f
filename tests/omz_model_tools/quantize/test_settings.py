"""Tests of omz_model_tools.quantize.settings."""

from pathlib import Path
from typing import Any

import pytest

from omz_model_tools.common.problem import Problem
from omz_model_tools.quantize.settings import Int4Settings

NO_TEXT = "expected a text to calibrate with; give --calibration_text FILE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 0}, "--group_size: expected a number from 2, or -1 for whole channels, got 0"),
        ({"group_size": -2}, "--group_size: expected a number from 2, or -1 for whole channels, got -2"),
        ({"ratio": 1.1}, "--ratio: expected a number above 0 and at most 1, got 1.1"),
        ({"ratio": 0.0}, "--ratio: expected a number above 0 and at most 1, got 0.0"),
        ({"ratio": float("nan")}, "--ratio: expected a number above 0 and at most 1, got nan"),
        ({"awq": True}, f"--awq: {NO_TEXT}"),
        ({"scale_estimation": True}, f"--scale_estimation: {NO_TEXT}"),
        (
            {"calibration_text": Path("x")},
            "--calibration_text: changes nothing alone; give --awq, --scale_estimation or a --ratio below 1",
        ),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Problem) as caught:
        Int4Settings(**options)
    assert str(caught.value) == message


def test_settings_in_words() -> None:
    text = Int4Settings(-1, 0.8, True, Path("x"), True, True).text()
    assert text == "INT4 asymmetric, whole channels, all layers, ratio 0.8 chosen on a text, AWQ, scale estimation"
    assert Int4Settings(ratio=0.5).text() == "INT4 asymmetric, groups of 64, embeddings and head INT8, ratio 0.5"
