"""stopping: a text that may stop anywhere, against a search in the whole of it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_text_prediction import Problem, TextRules
from gpt2_text_prediction.text.stopping import StoppingDetokenizer
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from support.toy import Toy


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> GPT2Tokenizer:
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    Toy().write_vocabulary(folder)
    return GPT2Tokenizer(folder / "vocab.json", folder / "merges.txt")


def shown(tokenizer: GPT2Tokenizer, tokens: list[int], rules: TextRules) -> tuple[list[str], bool]:
    """Return the pieces, until a rule stops the text, and whether one has."""
    text, pieces = StoppingDetokenizer(tokenizer, rules), []
    for token in tokens:
        pieces.append(text.push(token))
        if text.stopped:
            break
    return [*pieces, text.close()], text.stopped


def encoded(tokenizer: GPT2Tokenizer, text: str) -> list[int]:
    return [token for part in re.findall(r".|\n", text) for token in tokenizer.encode(part)]


@pytest.mark.parametrize(
    ("text", "rules", "expected"),
    [
        ("one two three", {"stop": ["two"]}, "one "),
        ("one two three", {"stop": ["three", "two"]}, "one "),
        ("one two three", {"stop": ["twos", "o e"]}, "one two three"),
        ("aaab", {"stop": ["aab"]}, "a"),
        ("abababc", {"stop": ["ababc"]}, "ab"),
        ("abcd", {"stop": ["bc", "abcd"]}, "a"),
        ("un mot été", {"stop": ["é"]}, "un mot "),
        ("one\ntwo", {"stop_at": "line"}, "one"),
        ("\none", {"stop_at": "line"}, ""),
        ("It is. So it is.", {"stop_at": "sentence"}, "It is."),
        ('He said "no!" Then', {"stop_at": "sentence"}, 'He said "no!"'),
        ("Pi is 3.14 or so... And", {"stop_at": "sentence"}, "Pi is 3.14 or so..."),
        ("What?!\nNothing", {"stop_at": "sentence"}, "What?!"),
        ("no end.", {"stop_at": "sentence"}, "no end."),
        ("one. two", {"stop_at": "sentence", "stop": ["e."]}, "on"),
        ("nothing", {}, "nothing"),
    ],
)
def test_texts_by_hand_token_by_token(tokenizer, text, rules, expected):
    pieces, stopped = shown(tokenizer, encoded(tokenizer, text), TextRules(**rules))
    assert "".join(pieces) == expected
    assert stopped == (expected != text)


def test_of_two_stop_strings_in_one_token_the_first_ends_the_text(tokenizer):
    (token,) = tokenizer.encode("th")
    assert shown(tokenizer, [token], TextRules(stop=["h", "t"])) == (["", ""], True)


def test_what_may_become_a_stop_string_waits_and_nothing_else_does(tokenizer):
    pieces, stopped = shown(tokenizer, encoded(tokenizer, "xabxaby"), TextRules(stop=["abc"]))
    assert pieces == ["x", "", "", "abx", "", "", "aby", ""]
    assert not stopped
    assert shown(tokenizer, encoded(tokenizer, "xab"), TextRules(stop=["abc"]))[0] == ["x", "", "", "ab"]


def test_a_cut_character_can_be_part_of_a_stop_string(tokenizer):
    tokens = [*tokenizer.encode("a"), tokenizer.encode("é")[0]]
    assert shown(tokenizer, tokens, TextRules())[0] == ["a", "", "\ufffd"]
    assert shown(tokenizer, tokens, TextRules(stop=["\ufffd"])) == (["a", "", ""], True)


@given(
    text=st.text("ab. \né", max_size=30),
    stop=st.lists(st.text("ab. \né", min_size=1, max_size=4), max_size=3),
    stop_at=st.sampled_from([None, "line", "sentence"]),
    at_once=st.booleans(),
)
def test_any_text_is_shown_up_to_its_first_stop(tokenizer, text, stop, stop_at, at_once):
    rules = TextRules(stop=stop, stop_at=stop_at)
    tokens = tokenizer.encode(text) if at_once else encoded(tokenizer, text)
    expected, ends = "", False
    for count in range(len(tokens) + 1):  # the first beginning that holds a stop
        expected, ends = cut(tokenizer.decode(tokens[:count]), rules) if count else ("", False)
        if ends:
            break
    pieces, stopped = shown(tokenizer, tokens, rules)
    assert ("".join(pieces), stopped) == (expected, ends)


def cut(text: str, rules: TextRules) -> tuple[str, bool]:
    text = text.rstrip("\ufffd") if rules.stop or rules.stop_at else text
    places = [text.find(stop) for stop in [*rules.stop, *["\n"] * (rules.stop_at == "line")]]
    if rules.stop_at == "sentence":
        places += [found.end() - 1 for found in re.finditer(r"""[.!?…]["'”’)\]]*\s""", text)][:1]
    places = [place for place in places if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("stop", v) for v in ([""], [3], 5, b"x", ["\ud800"])]
    + [("stop_at", v) for v in ("word", True, 3)]
    + [("context_overflow", v) for v in ("crash", None, True)]
    + [("parse_special", v) for v in ("yes", None, 1)],
)
def test_a_rule_that_is_none_is_a_problem_with_its_name(name, value):
    with pytest.raises(Problem, match=f"^{name}: expected "):
        TextRules(**{name: value})


def test_rules_cannot_be_changed_from_outside():
    strings = ["a"]
    rules = TextRules(stop=strings)
    strings.append("b")
    assert rules.stop == ("a",)
