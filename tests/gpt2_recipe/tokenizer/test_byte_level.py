"""Vocabularies and merges are accepted and refused as by the demo's tokenizer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_recipe import Problem
from gpt2_recipe.tokenizer.byte_level import BYTE_SYMBOLS as OURS
from gpt2_recipe.tokenizer.byte_level import NotByteLevel, check_merges, check_vocabulary, read_merges
from gpt2_text_prediction import Problem as DemoProblem
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from support.toy import BYTE_SYMBOLS, Toy


def test_the_symbols_of_bytes():
    assert frozenset(BYTE_SYMBOLS) == OURS
    assert len(OURS) == 256


def test_a_lone_surrogate_is_refused(tmp_path):
    path = tmp_path / "vocab.json"
    with pytest.raises(Problem) as caught:
        check_vocabulary(path, {"\ud83d": 0})
    assert str(caught.value) == f"{path}: expected tokens of Unicode characters, got a lone surrogate; fetch it again"


PAIRS = st.lists(st.sampled_from(["a b", "e t", "ab", "t h", "", "x\u0085y", "#version: 1", " ", "e  t", "\u0120 e"]))
TOKENS = st.dictionaries(st.sampled_from(["et", "th", "<pad>", "a", "\u0120e", "\ud800"]), st.integers(0, 258))


@settings(max_examples=200, deadline=None)
@given(lines=PAIRS, changed=TOKENS, dropped=st.sets(st.sampled_from([*"abcd"]), max_size=1))
def test_what_is_taken_is_what_the_demo_takes(tmp_path_factory, lines, changed, dropped):
    folder = tmp_path_factory.mktemp("fuzzed")
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    Toy(vocab_size=257).write_vocabulary(folder)
    ids = {token: i for token, i in json.loads(vocab.read_bytes()).items() if token not in dropped} | changed
    if sorted(set(ids.values())) != list(range(len(set(ids.values())))):  # the converter fills these up
        ids = {token: i for i, token in enumerate(ids)}
    vocab.write_text(json.dumps(ids))
    merges.write_text("\n".join(lines), encoding="utf-8")
    assert _takes(vocab, merges, ids) == _demo_takes(vocab, merges)


def _takes(vocab, merges, ids) -> bool:
    try:
        check_vocabulary(vocab, ids)
        check_merges(merges, read_merges(merges), ids)
    except (Problem, NotByteLevel) as problem:
        assert "\n" not in str(problem)  # noqa: PT017
        return False
    return True


def _demo_takes(vocab, merges) -> bool:
    try:
        GPT2Tokenizer(vocab, merges)
    except DemoProblem:
        return False
    return True
