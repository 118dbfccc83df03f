"""settings: every setting by name; any of them make a text or a line that says why not."""

import math
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt2_text_prediction import Beams, Problem, Sampling, TextGenerator, TextRules
from gpt2_text_prediction.cli.arguments import build_argparser
from gpt2_text_prediction.settings import SETTINGS
from gpt2_text_prediction.settings_by_name import SettingsByName, make_settings, parse_setting
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=16)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    with TextGenerator(TOY.ir(tmp_path_factory.mktemp("settings")), config=ONE_THREAD) as found:
        yield found


def test_nothing_given_is_what_the_classes_say():
    found = make_settings({})
    assert (found.how, found.rules, found.max_new_tokens, found.num_return_sequences) == (
        Sampling(),
        TextRules(),
        40,
        1,
    )


def test_beams_are_searched_above_one():
    found = make_settings({"num_beams": 3, "num_return_sequences": 2, "length_penalty": 2.0, "repetition_penalty": 1.5})
    expected = Beams(num_beams=3, num_return_sequences=2, length_penalty=2.0, repetition_penalty=1.5)
    assert (found.how, found.num_return_sequences) == (expected, 2)
    assert make_settings({"num_beams": 1, "top_k": 3}).how == Sampling(top_k=3)


def test_every_setting_is_a_keyword_for_type_checkers():
    assert set(SettingsByName.__annotations__) == set(SETTINGS)


def test_every_setting_has_its_flag():
    flags = {action.dest for action in build_argparser()._actions}
    assert set(SETTINGS) <= flags


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_beams": 2, "temperature": 1.0}, "num_beams, temperature: beam search does not sample: leave one out"),
        ({"num_beams": 2, "top_p": 0.9}, "num_beams, top_p: beam search does not sample: leave one out"),
        ({"length_penalty": 1.0}, "length_penalty: is for beams: give num_beams above 1"),
        ({"early_stopping": True, "num_beams": 1}, "early_stopping: is for beams: give num_beams above 1"),
        (
            {"num_beams": 2, "context_overflow": "slide"},
            "num_beams, context_overflow: beams cannot slide: leave one out",
        ),
        (
            {"num_beams": 2, "num_return_sequences": 3},
            "num_return_sequences: expected at most num_beams, 2, got 3",
        ),
        ({"min_new_tokens": 41}, "min_new_tokens: expected at most max_new_tokens, 40, got 41"),
        (
            {"num_return_sequences": 1_500_000_000},
            "num_return_sequences: expected a whole number from 1 to 1048576, got 1500000000",
        ),
        ({"num_beams": 1025}, "num_beams: expected a whole number from 1 to 1024, got 1025"),
        ({"stop_at": "x" * 100_000}, 'stop_at: expected "line", "sentence" or nothing, got \'' + "x" * 79),
        ({"max_new_tokens": -1}, "max_new_tokens: expected a whole number from 0, got -1"),
        ({"max_new_tokens": True}, "max_new_tokens: expected a whole number from 0, got True"),
        (
            {"max_new_tokens": 0, "num_return_sequences": 2},
            "num_return_sequences: expected 1 where max_new_tokens is 0, got 2",
        ),
        (
            {"temperature": 0, "num_return_sequences": 2},
            "num_return_sequences: greedy text is always the same: give a temperature or num_beams",
        ),
        ({"stop": [""]}, "stop: expected strings of at least one character, got ''"),
        ({"bad_words": [" "]}, "bad_words: expected a list of words, none of them blank, got [' ']"),
        ({"logit_bias": {"5": 1, "05": 2}}, "logit_bias: expected each token id once, got ['5', '05']"),
        ({"logit_bias": {"x": 1}}, "logit_bias: expected a number or -inf for each token id, got 'x': 1"),
        ({"temperature": math.nan}, "temperature: expected a number from 0 (greedy), got nan"),
    ],
)
def test_what_contradicts_is_one_line(values, message):
    with pytest.raises(Problem) as problem:
        make_settings(values)
    assert str(problem.value) == message


def test_an_unknown_name_is_a_problem():
    with pytest.raises(Problem, match=r"^top_q: there is no such setting; did you mean top_p\?$"):
        make_settings({"top_q": 1})
    with pytest.raises(Problem, match=r"^x{80}: there is no such setting"):
        make_settings({"x" * 100_000: 1})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.7", 0.7),
        ("top_k", "40", 40),
        ("seed", "7", 7),
        ("ignore_eos", "on", True),
        ("parse_special", "No", False),
        ("early_stopping", "never", "never"),
        ("early_stopping", "true", True),
        ("stop", "end", ["end"]),
        ("stop", '"\\n"', ["\n"]),
        ("stop", '["a", "b c"]', ["a", "b c"]),
        ("logit_bias", "5=1.5 7=-inf", {5: 1.5, 7: -math.inf}),
        ("stop_at", "line", "line"),
    ],
)
def test_what_a_person_types(name, text, value):
    assert parse_setting(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "hot"),
        ("top_k", "1.5"),
        ("ignore_eos", "maybe"),
        ("stop", '["a"'),
        ("logit_bias", "5"),
        ("x", "1"),
    ],
)
def test_what_is_no_value_is_a_problem_with_its_name(name, text):
    with pytest.raises(Problem, match=f"^{name}: "):
        parse_setting(name, text)


def test_bad_words_are_banned_at_the_beginning_and_behind_a_space(generator):
    encode = generator.tokenizer.encode
    found = make_settings({"bad_words": ["the", " in"]}, encode)
    assert found.how.bad_words_ids == tuple(tuple(encode(form)) for form in ("the", " the", "in", " in"))


NUMBERS = st.one_of(st.integers(-2, 20), st.floats(-3, 3), st.sampled_from([math.nan, math.inf, 1e300, 0, True, None]))
ODD = st.one_of(NUMBERS, st.text(max_size=3), st.lists(st.text("aeth ", max_size=2), max_size=2))
LIKELY = {
    "max_new_tokens": st.integers(1, 12),
    "temperature": st.floats(0, 3),
    "top_k": st.integers(0, 300),
    "top_p": st.floats(0, 1),
    "min_p": st.floats(0, 1),
    "typical_p": st.floats(0.01, 1),
    "repetition_penalty": st.floats(0.5, 3),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
    "no_repeat_ngram_size": st.integers(0, 3),
    "logit_bias": st.dictionaries(st.integers(0, 299), st.sampled_from([-math.inf, -5.0, 5.0]), max_size=3),
    "bad_words": st.lists(st.sampled_from(["the", "a", "e", "in", "no"]), max_size=3),
    "min_new_tokens": st.integers(0, 4),
    "ignore_eos": st.booleans(),
    "num_beams": st.integers(1, 4),
    "num_return_sequences": st.integers(1, 3),
    "length_penalty": st.floats(-2, 2),
    "early_stopping": st.sampled_from([True, False, "never"]),
    "stop": st.lists(st.text("aeth \n", min_size=1, max_size=3), max_size=3),
    "include_stop_str_in_output": st.booleans(),
    "stop_at": st.sampled_from(["line", "sentence"]),
    "context_overflow": st.sampled_from(["error", "truncate", "slide"]),
    "parse_special": st.booleans(),
    "seed": st.integers(0, 9),
}
GIVEN = st.fixed_dictionaries({}, optional={name: st.one_of(value, value, value) for name, value in LIKELY.items()})


@given(values=st.dictionaries(st.sampled_from([*SETTINGS, "top_q"]), ODD, max_size=6))
@settings(max_examples=300)
def test_any_values_are_settings_or_a_problem_of_one_line(values):
    with suppress(Problem):
        found = make_settings(values, lambda text: list(text.encode()))
        assert found.max_new_tokens >= found.how.min_new_tokens
        assert found.num_return_sequences >= 1


@given(values=GIVEN, prompt=st.sampled_from(["a", "the rest in", "abcdefgh" * 3, "a<|endoftext|>b"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_settings_are_a_text_without_a_banned_token_or_a_stop_string(generator, values, prompt):
    try:
        found = make_settings(values, generator.tokenizer.encode)
        texts = list(written(generator, prompt, found))
    except Problem:
        return
    banned = {token for token, bias in found.how.logit_bias.items() if bias == -math.inf}
    alone = {word[0] for word in found.how.bad_words_ids if len(word) == 1} - {generator.eos_token_id}
    for text, tokens, reason in texts:
        assert reason in ("stop", "length")
        assert len(tokens) <= found.max_new_tokens
        assert not (banned | alone) & set(tokens)
        held_off = found.how.min_new_tokens  # tokens in which nothing stops the text
        if not (found.rules.include_stop_str_in_output or held_off):
            assert not any(stop in text for stop in found.rules.stop)
        assert found.rules.stop_at != "line" or "\n" not in text or held_off


def written(generator, prompt, found):
    if isinstance(found.how, Beams):
        for one in generator.beam_search(prompt, found.how, max_new_tokens=found.max_new_tokens, rules=found.rules):
            yield one.text, one.tokens, one.finish_reason
        return
    for sample in range(found.num_return_sequences):
        stream = generator.stream(
            prompt, found.how, max_new_tokens=found.max_new_tokens, rules=found.rules, index=(0, sample)
        )
        yield "".join(stream), stream.tokens, stream.finish_reason
