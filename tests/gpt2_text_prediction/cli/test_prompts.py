"""prompts: lines and JSON objects, each with its number, each error with its line."""

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_text_prediction import Problem
from gpt2_text_prediction.cli.prompts import (
    RawPrompt,
    from_file,
    from_flags,
    from_lines,
    from_pipe,
    joined,
    read_prompt,
    unescaped,
)


def test_lines_are_numbered_among_those_that_are_not_blank_and_named_by_their_own():
    lines = io.BytesIO("\ufeffone\r\n\n  \ntwo".encode())
    assert list(from_pipe(lines)) == [RawPrompt(1, "line 1", b"one"), RawPrompt(2, "line 4", b"two")]


def test_flags_are_prompts():
    assert [read_prompt(one)[:2] for one in from_flags(["a", "日本"])] == [("a", {}), ("日本", {})]


def test_a_file_is_of_lines_or_of_json(tmp_path):
    plain, objects = tmp_path / "prompts.txt", tmp_path / "prompts.jsonl"
    for path in (plain, objects):
        path.write_text('{"prompt": "a", "top_k": 3}\n', encoding="utf-8")
    assert [read_prompt(one)[:2] for one in from_file(plain)] == [('{"prompt": "a", "top_k": 3}', {})]
    assert [read_prompt(one) for one in from_file(objects)] == [("a", {"top_k": 3}, None, {})]
    assert from_file(objects)[0].name == f"{objects}: line 1"


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    with pytest.raises(Problem, match=r"^--prompt_file: .*: there is no such file$"):
        from_file(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "a", "seed": 1, "seed": 2}', "'seed': expected one value, got several"),
        (b'{"prompt": "a", "logit_bias": {"5": 1, "5": 1}}', "'5': expected one value, got several"),
        (b'{"prompt":', "is not JSON: "),
        (b"[]", 'expected a JSON object with a "prompt" that is a text'),
        (b'{"prompt": 5}', 'expected a JSON object with a "prompt" that is a text'),
        (b'{"text": "a"}', 'expected a JSON object with a "prompt" that is a text'),
        (b'{"prompt": "a\\u0007"}', r"holds the control character U\+0007 at character 2: remove it"),
        (b'{"prompt": "\xff"}', "expected UTF-8, got the byte 0xff at byte 13"),
        (b"[" * 100000, "is not JSON: "),
    ],
)
def test_a_broken_object_is_a_problem(line, message):
    with pytest.raises(Problem, match=f"^{message}"):
        read_prompt(RawPrompt(1, "line 1", line, is_json=True))


def test_names_of_openai_and_what_a_record_repeats():
    line = b'{"custom_id": "7", "id": 5, "metadata": {"a": [1]}, "prompt": "x", "max_tokens": 3, "n": 2, "logprobs": 1}'
    found = read_prompt(RawPrompt(1, "line 1", line, is_json=True))
    assert found == (
        "x",
        {"max_new_tokens": 3, "num_return_sequences": 2},
        1,
        {"id": 5, "custom_id": "7", "metadata": {"a": [1]}},
    )
    late = RawPrompt(1, "line 1", b'{"prompt": "x", "max_completion_tokens": 3}', is_json=True)
    assert read_prompt(late).own == {"max_new_tokens": 3}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('"max_tokens": 3, "max_new_tokens": 3', "max_new_tokens, max_tokens: expected one of them"),
        ('"max_tokens": 3, "max_completion_tokens": 3', "max_tokens, max_completion_tokens: expected one of them"),
        ('"logprobs": true', "logprobs: expected a whole number from 0, or None, got bool: True"),
        ('"id": "\\ud800"', r"id: expected what JSON in UTF-8 can have, got '\ud800'"),
        ('"metadata": [NaN]', "metadata: expected what JSON in UTF-8 can have, got [nan]"),
        ('"custom_id": 1e999', "custom_id: expected what JSON in UTF-8 can have, got inf"),
        ('"logprobs": -1', "logprobs: expected a whole number from 0, or None, got int: -1"),
    ],
)
def test_fields_that_contradict_each_other_or_are_of_another_kind(fields, message):
    with pytest.raises(Problem) as caught:
        read_prompt(RawPrompt(1, "line 1", f'{{"prompt": "x", {fields}}}'.encode(), is_json=True))
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", " ", "\t", "a\fb", "a\x85b", "a\x9fb"])
def test_what_is_ordinary_text(text):
    assert read_prompt(RawPrompt(1, "line 1", text.encode())).text == text


@pytest.mark.parametrize("character", [*range(9), 0x0B, *range(0x0E, 0x20), 0x7F])
def test_what_would_be_lost_or_ring_is_a_problem(character):
    with pytest.raises(Problem, match=rf"^holds the control character U\+{character:04X} at character 2: remove it$"):
        read_prompt(RawPrompt(1, "line 1", f"a{chr(character)}".encode()))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"\n\n", "\n\n"),
        (r"\a\b\f\n\r\t\v", "\a\b\f\n\r\t\v"),
        (r"\\n \' \" \?", "\\n ' \" ?"),
        (r"\0\12\101z\1011\477", "\0\nAzA1'7"),
        (r"\x41\xc3\xa6\303\246z", "AææZ".replace("Z", "z")),
        (r"\u00e9\U0001F600", "é😀"),
        ("plain é", "plain é"),
    ],
)
def test_escapes_of_c(text, meant):
    assert unescaped(text) == meant


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (r"a\d", r"\d"),
        ("a\\", "\\"),
        (r"\x4", r"\x"),
        (r"\ud800", r"\ud800"),
        (r"\U00110000", r"\U00110000"),
        (r"\8", r"\8"),
    ],
)
def test_what_is_no_escape(text, named):
    with pytest.raises(Problem) as caught:
        unescaped(text)
    assert str(caught.value) == rf"{named} is no escape of C's: write \\ for a backslash, or give --no_escape"


def test_bytes_that_are_no_utf8():
    with pytest.raises(Problem, match=r"^expected valid Unicode, got the byte 0xe6$"):
        unescaped(r"a\xe6")


def test_lines_that_go_on_in_the_next():
    lines = [b"a\\\n", b"\n", b"b\\\\\n", b"c\\\\\\\r\n", b"d", b"e\\"]
    assert list(joined(lines)) == [b"a\n\n", b"b\\\n", b"c\\\\\nd", b"e\n"]


@given(st.text())
def test_a_text_whose_backslashes_are_doubled_means_itself(text):
    assert unescaped(text.replace("\\", "\\\\")) == text


@given(lines=st.lists(st.binary(max_size=12)), is_json=st.booleans())
def test_any_bytes_are_a_prompt_or_a_problem(lines, is_json):
    for asked in from_lines(lines, "line", is_json):
        with suppress(Problem):
            prompt, own, _, _ = read_prompt(asked)
            assert prompt.strip()
            assert "prompt" not in own
