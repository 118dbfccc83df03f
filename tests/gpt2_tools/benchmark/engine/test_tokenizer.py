"""tokenizer: by the test's clock, and without a vocabulary."""

import pytest

from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from gpt2_tools.benchmark.engine.tokenizer import TextTimes, text_figures, text_times, tokenizer_beside
from gpt2_tools.benchmark.figures import Figure


def test_both_ways_by_hand(mini_ir):
    tokenizer = tokenizer_beside(mini_ir, pytest.fail)
    ticks = iter([1.0, 1.5, 1.75])
    assert text_times(tokenizer, [1, 2, 3], [4, 5], lambda: next(ticks)) == TextTimes(0.5, 0.25)


def test_figures_are_in_milliseconds():
    rounds = [TextTimes(0.5, 0.25), TextTimes(1.0, 0.125)]
    assert text_figures(rounds) == {
        "tokenization": Figure("ms", (500.0, 1000.0)),
        "detokenization": Figure("ms", (250.0, 125.0)),
    }
    assert text_figures([None, None]) == {}


def test_without_a_vocabulary_it_is_said(tmp_path):
    said = []
    assert tokenizer_beside(tmp_path / "x.xml", said.append) is None
    assert said[0].startswith(f"the tokenizer is not measured: {tmp_path}/vocab.json: there is no such file")


def test_it_is_the_demos_tokenizer(mini_ir):
    assert isinstance(tokenizer_beside(mini_ir, pytest.fail), GPT2Tokenizer)
