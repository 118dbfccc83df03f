"""Tests of omz_model_tools.common.arguments."""

import argparse

import pytest

from omz_model_tools.common import positive_int


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("4096", 4096)])
def test_a_positive_int(text: str, number: int) -> None:
    assert positive_int(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "+1", "1.0", "1e3", "", " 1", "x", "²"])
def test_what_is_no_positive_int(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        positive_int(text)
    assert str(caught.value) == f"expected a whole number from 1, got {text!r}"
