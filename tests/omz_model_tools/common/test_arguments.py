"""Tests of omz_model_tools.common.arguments."""

import argparse

import pytest

from omz_model_tools.common import given_flags, positive_int


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("4096", 4096)])
def test_a_positive_int(text: str, number: int) -> None:
    assert positive_int(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "+1", "1.0", "1e3", "", " 1", "x", "²"])
def test_what_is_no_positive_int(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        positive_int(text)
    assert str(caught.value) == f"expected a whole number from 1, got {text!r}"


def test_the_flags_that_were_given_under_their_long_names() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", "--number", type=int, default=3)
    parser.add_argument("--add_it", action="append", default=[])
    parser.add_argument("--add-it", dest="add_it", action="append", help=argparse.SUPPRESS)
    parser.add_argument("--file")
    parser.add_argument("name")
    assert given_flags(parser, parser.parse_args(["x"])) == {}
    given = parser.parse_args(["x", "-n4", "--add-it", "y", "--file", ""])
    assert given_flags(parser, given).keys() == {"number", "add_it", "file"}
    assert given_flags(parser, given)["number"] == "--number"
