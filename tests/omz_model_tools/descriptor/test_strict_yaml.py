"""Careless or hostile YAML becomes one line, in bounded time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.common.problem import Problem
from omz_model_tools.descriptor import strict_yaml

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(20)
)


def test_plain_values_come_as_yaml_means_them() -> None:
    value = strict_yaml.parse(b"a: 1\nb: [x, true, 1.5, ~]\nc: {d: '1'}\n", "m.yml")
    assert value == {"a": 1, "b": ["x", True, 1.5, None], "c": {"d": "1"}}
    assert type(value["b"][1]) is bool


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert strict_yaml.parse(b"\xef\xbb\xbfa: 1", "m.yml") == {"a": 1}


def test_repeated_keys_are_remembered_at_every_depth() -> None:
    value = strict_yaml.parse(b"a: 1\nb: {c: 1, c: 2}\na: 3\n", "m.yml")
    assert value.repeated == ("a",)
    assert value["b"].repeated == ("c",)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"a: \xff", "m.yml: expected UTF-8 text, got byte 0xff at 3"),
        (b"a: 1\nb: [1, 2\n", "m.yml: line 3: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        (b"a: 1\n--- \nb: 2\n", "m.yml: line 2: not valid YAML: but found another document"),
        (LAUGHS.encode(), "m.yml: line 2: not valid YAML: expected a value, got the alias *a; write the value out"),
        (b"&a [*a]", "m.yml: line 1: not valid YAML: expected a value, got the alias *a; write the value out"),
        (b"a: {<<: {b: 1}}", "m.yml: line 1: not valid YAML: could not determine a constructor for the tag "
                             "'tag:yaml.org,2002:merge'"),
        (b"? [a, b]\n: 1\n", "m.yml: line 1: not valid YAML: expected a plain key"),
        (b"a: !!python/object/apply:os.system [true]", "m.yml: line 1: not valid YAML: could not determine a "
         "constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        (b"a: 2001-99-99", "m.yml: line 1: not valid YAML: expected a value of the type timestamp, got '2001-99-99'"),
        (b"a: 1\nb: !!bool xx", "m.yml: line 2: not valid YAML: expected a value of the type bool, got 'xx'"),
        (b"a: !!int ''", "m.yml: line 1: not valid YAML: expected a value of the type int, got ''"),
        (b"- !!timestamp soon", "m.yml: line 1: not valid YAML: expected a value of the type timestamp, got 'soon'"),
        (b'a: "\\U00110000"', "m.yml: not valid YAML: chr() arg not in range(0x110000)"),
        (b"!!float x: 1", "m.yml: line 1: not valid YAML: expected a value of the type float, got 'x'"),
        (b"[" * 5000, "m.yml: expected a descriptor, got YAML nested too deeply"),
        (b"#" * 262_145, "m.yml: expected at most 262144 bytes, got more"),
    ],
)  # fmt: skip
def test_what_is_not_plain_yaml_is_one_line(raw: bytes, line: str) -> None:
    with pytest.raises(Problem) as caught:
        strict_yaml.parse(raw, "m.yml")
    assert str(caught.value) == line


def test_a_number_too_long_for_python_is_one_line() -> None:
    with pytest.raises(Problem, match=r"\Am.yml: line 1: not valid YAML: expected a value of [^\n]*\Z"):
        strict_yaml.parse(b"a: " + b"9" * 5000, "m.yml")


TAGS = ["binary", "bool", "float", "int", "map", "null", "omap", "pairs", "seq", "set", "str", "timestamp", "value"]
SCALARS = st.text("0123456789abefinoxyTZ.:-+_ ~=", max_size=20)


@given(st.sampled_from(TAGS), SCALARS, st.sampled_from(["a: !!{} '{}'", "- !!{} '{}'", "!!{} '{}': 1"]))
def test_a_tag_that_its_scalar_does_not_fit_is_one_line(tag: str, scalar: str, form: str) -> None:
    try:
        strict_yaml.parse(form.format(tag, scalar).encode(), "m.yml")
    except Problem as problem:
        assert re.fullmatch(r"m\.yml: .+", str(problem))  # noqa: PT017
