"""Each check accepts its type, and its error has the location, the expected type and the value."""

import datetime
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor import schema
from omz_model_tools.descriptor.strict_yaml import Mapping

HERE = schema.Location(("m.yml",))


def complaint(reader: Any, *args: Any) -> str:
    with pytest.raises(Problem) as caught:
        reader(*args)
    return str(caught.value)


def test_the_breadcrumb_grows_from_the_file_inwards() -> None:
    place = HERE.inside('files[2] "gpt2/model.safetensors"').key("size")
    assert complaint(schema.integer, place, "548") == (
        'm.yml: files[2] "gpt2/model.safetensors": "size": expected a non-negative integer, got \'548\''
    )


@pytest.mark.parametrize("value", [0, 1, 2**70])
def test_integers(value: int) -> None:
    assert schema.integer(HERE, value) == value


@pytest.mark.parametrize("value", [True, False, -1, 1.0, "1", None, [1]])
def test_what_is_no_integer(value: object) -> None:
    assert complaint(schema.integer, HERE, value).startswith("m.yml: expected a non-negative integer, got ")


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, True, "0.5"])
def test_what_is_no_number(value: object) -> None:
    assert complaint(schema.number, HERE, value).startswith("m.yml: expected a non-negative number, got ")


def test_text_boolean_one_of() -> None:
    assert schema.text(HERE, "x") == "x"
    assert complaint(schema.text, HERE, 1) == "m.yml: expected a string, got 1"
    assert complaint(schema.text, HERE, "\ud800") == "m.yml: expected a string of Unicode characters, got '\\ud800'"
    assert schema.boolean(HERE, False) is False
    assert complaint(schema.boolean, HERE, 0) == "m.yml: expected a boolean, got 0"
    assert schema.one_of(HERE, "b", ("b", "a")) == "b"
    assert complaint(schema.one_of, HERE, "c", ("b", "a")) == "m.yml: expected one of a, b, got 'c'"


def test_fields_wants_each_key_once_and_no_other() -> None:
    good = Mapping(a=1, b=2)
    assert schema.fields(HERE, good, ("a",), ("b", "c")) == {"a": 1, "b": 2}
    assert complaint(schema.fields, HERE, [1], ("a",)) == "m.yml: expected a mapping, got [1]"
    assert complaint(schema.fields, HERE, good, ("a",)) == 'm.yml: "b": unknown key, expected one of: a'
    assert complaint(schema.fields, HERE, good, ("a", "b", "c")) == 'm.yml: "c": expected a value, got no such key'
    twice = Mapping(a=1)
    twice.repeated = ("a",)
    assert complaint(schema.fields, HERE, twice, ("a",)) == 'm.yml: "a": expected once, got a duplicate key'
    assert complaint(schema.fields, HERE, Mapping({7: 1}), ("a",)) == "m.yml: 7: unknown key, expected one of: a"


def test_items_have_their_place() -> None:
    assert [(str(place.problem("!")), value) for place, value in schema.items(HERE, "files", ["x", "y"])] == [
        ("m.yml: files[0]: !", "x"),
        ("m.yml: files[1]: !", "y"),
    ]
    assert complaint(lambda: list(schema.items(HERE, "files", {}))) == 'm.yml: "files": expected a list, got {}'


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=200,
    )
)
def test_whatever_came_is_shown_in_one_short_line(value: object) -> None:
    assert len(schema.short_repr(value)) <= 80
    assert schema.short_repr(value).isprintable()


def test_what_is_hard_to_show() -> None:
    assert schema.short_repr(None) == "nothing"
    assert schema.short_repr([16**5000]) == "[a huge integer]"
    assert schema.short_repr(Mapping(a=Mapping(b="x" * 1000))).startswith("{'a': {'b': 'xxx")
    assert schema.short_repr(datetime.date(2021, 1, 2)) == "datetime.date(2021, 1, 2)"
