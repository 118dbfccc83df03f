"""logits_processors: four or five logits by hand; tests/parity compares with transformers."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_text_prediction import Problem, Sampling
from gpt2_text_prediction.generation.logits_processors import (
    History,
    LogitsProcessors,
    argmax,
    process,
    require_lengths,
)
from gpt2_text_prediction.generation.sampling import choose

INF = math.inf
LOGITS = np.float32([1, -2, 3, 0, 4])
HISTORY = History(prompt=[0, 1, 2], new=[1, 1, 3], ending_ids=(4,))


def processed(history=HISTORY, logits=LOGITS, **settings_) -> list[float]:
    return process(np.float32(logits), LogitsProcessors(**settings_), history).tolist()


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({}, [1, -2, 3, 0, 4]),
        ({"repetition_penalty": 2}, [0.5, -4, 1.5, 0, 4]),
        ({"repetition_penalty": 0.5}, [2, -1, 6, 0, 4]),
        ({"presence_penalty": 0.5}, [1, -2.5, 3, -0.5, 4]),
        ({"frequency_penalty": 0.5}, [1, -3, 3, -0.5, 4]),
        ({"presence_penalty": 1, "frequency_penalty": -2}, [1, 1, 3, 1, 4]),
        ({"logit_bias": {0: 10, 3: -INF}}, [11, -2, 3, -INF, 4]),
        ({"no_repeat_ngram_size": 1}, [-INF, -INF, -INF, -INF, 4]),
        ({"no_repeat_ngram_size": 2}, [1, -2, 3, 0, 4]),
        ({"bad_words_ids": [[0], [3, 1], [1, 3, 2], [0, 4], [4, 2]]}, [-INF, -INF, -INF, 0, 4]),
        ({"bad_words_ids": [[4]]}, [1, -2, 3, 0, 4]),
        ({"min_new_tokens": 3}, [1, -2, 3, 0, 4]),
        ({"min_new_tokens": 4}, [1, -2, 3, 0, -INF]),
        ({"repetition_penalty": 2, "logit_bias": {0: 1, 4: 1}}, [1, -4, 1.5, 0, 5]),
        ({"repetition_penalty": 2, "presence_penalty": 1}, [0.5, -5, 1.5, -1, 4]),
        ({"ignore_eos": True}, [1, -2, 3, 0, 4]),
    ],
    ids=str,
)
def test_five_logits_by_hand(settings_, expected):
    assert processed(**settings_) == expected


@pytest.mark.parametrize(
    ("tokens", "size", "banned"),
    [
        ([0, 1, 0], 2, {1}),
        ([0, 1, 0, 2, 0], 2, {1, 2}),
        ([3, 3], 2, {3}),
        ([3], 2, set()),
        ([0, 1, 2, 0, 1], 3, {2}),
        ([0, 1, 2, 1], 3, set()),
        ([0, 1], 3, set()),
        ([], 1, set()),
        ([2, 2], 1, {2}),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 99])
def test_what_would_repeat_a_run_of_tokens_is_banned_wherever_the_prompt_ends(tokens, size, banned, cut):
    history = History(tokens[:cut], tokens[cut:])
    found = processed(history, no_repeat_ngram_size=size)
    assert {i for i, logit in enumerate(found) if logit == -INF} == banned


@pytest.mark.parametrize(
    ("tokens", "banned"),
    [([], {0}), ([1], {0, 2}), ([3, 1], {0, 2, 4}), ([1, 3], {0}), ([3], {0}), ([2, 2, 2], {0, 2}), ([2, 2], {0})],
)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_banned_word_is_banned_at_its_last_token(tokens, banned, cut):
    words = [[0], [1, 2], [3, 1, 4], [2, 2, 2, 2]]
    found = processed(History(tokens[:cut], tokens[cut:]), bad_words_ids=words)
    assert {i for i, logit in enumerate(found) if logit == -INF} == banned


def test_the_end_of_the_text_is_banned_like_any_token_where_nothing_ends_it():
    assert processed(History(), bad_words_ids=[[4]])[4] == -INF
    assert processed(History(), bad_words_ids=[[4]], min_new_tokens=3)[4] == -INF
    assert processed(History(), min_new_tokens=3) == LOGITS.tolist()


def test_penalties_see_the_prompt_only_where_they_should():
    new_only = History(prompt=[], new=[2])
    prompt_only = History(prompt=[2], new=[])
    assert processed(new_only, repetition_penalty=3) == processed(prompt_only, repetition_penalty=3)
    assert processed(new_only, presence_penalty=2)[2] == 1
    assert processed(prompt_only, presence_penalty=2, frequency_penalty=2) == LOGITS.tolist()


def test_settings_that_are_off_copy_nothing_and_those_on_leave_the_logits_as_they_were():
    logits = LOGITS.copy()
    logits.flags.writeable = False
    assert process(logits, LogitsProcessors(), HISTORY) is logits
    assert process(logits, LogitsProcessors(ignore_eos=True), HISTORY) is logits
    everything = LogitsProcessors(repetition_penalty=2, logit_bias={1: 1}, bad_words_ids=[[2]], no_repeat_ngram_size=1)
    assert process(logits, everything, HISTORY) is not logits
    assert logits.tolist() == LOGITS.tolist()


@pytest.mark.parametrize(
    "settings_",
    [
        {"no_repeat_ngram_size": 1, "min_new_tokens": 9},
        {"logit_bias": dict.fromkeys(range(5), -INF)},
        {"bad_words_ids": [[i] for i in range(4)], "logit_bias": {4: -INF}},
    ],
    ids=str,
)
def test_no_token_left_is_a_problem(settings_):
    for sampling in (Sampling(**settings_), Sampling(temperature=0, **settings_)):
        with pytest.raises(Problem, match=r"^no token is left"):
            choose(LOGITS, sampling, np.random.default_rng(0), HISTORY)


@pytest.mark.parametrize("settings_", [{"repetition_penalty": 0.1}, {"logit_bias": {0: 3e38}}], ids=str)
def test_an_overflow_is_a_problem(settings_):
    with pytest.raises(Problem, match="largest number of f32"):
        processed(logits=[3e38, 1, 2, 3, 4], **settings_)


@pytest.mark.parametrize("settings_", [{"logit_bias": {5: 1}}, {"bad_words_ids": [[1], [0, 5]]}], ids=str)
def test_a_token_past_the_vocabulary_is_a_problem(settings_):
    with pytest.raises(Problem, match=r"expected token ids of 0 \.\. 4, got 5"):
        processed(**settings_)


@pytest.mark.parametrize("settings_", [{"repetition_penalty": 2}, {"logit_bias": {1: 4.0}}, {"min_new_tokens": 9}])
@pytest.mark.parametrize("broken", [math.nan, INF])
def test_logits_that_are_no_numbers_stay_a_problem(broken, settings_):
    for place in range(5):
        logits = LOGITS.copy()
        logits[place] = broken
        with pytest.raises(Problem, match="NaN or infinity"):
            choose(logits, Sampling(**settings_), np.random.default_rng(0), HISTORY)


def test_the_likeliest_is_the_first_of_equal_ones():
    assert argmax(np.float32([0, 7, 7])) == 1


NO_NUMBERS = (math.nan, INF, -INF, "1", None, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("repetition_penalty", v) for v in (*NO_NUMBERS, 0, -1.0, 1e39, 10**400, 1e-39)]
    + [(n, v) for n in ("presence_penalty", "frequency_penalty") for v in (*NO_NUMBERS, 2.01, -3, 10**400)]
    + [(n, v) for n in ("no_repeat_ngram_size", "min_new_tokens") for v in (*NO_NUMBERS, -1, 1.5)]
    + [("ignore_eos", v) for v in (1, "yes", None)]
    + [("logit_bias", v) for v in ([], None, [[1, 2.0]], {"1": 2.0}, {1: "2"}, {1: math.nan}, {1: INF}, {-1: 0.0})]
    + [("logit_bias", v) for v in ({1.5: 1.0}, {1: 1e39}, {True: 1.0}, {1: None})]
    + [("bad_words_ids", v) for v in ("ab", None, {}, [1], [[]], [["a"]], ["ab"], [[-1]], [[1.0]], [[True]], 3)],
    ids=str,
)
def test_a_setting_out_of_range_is_a_problem_with_its_name(name, value):
    with pytest.raises(Problem, match=f"^{name}: expected .*, got ") as caught:
        Sampling(**{name: value})
    assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed_from_outside_and_compare_and_copy_by_value():
    bias, words = {3: 1.0}, [[1, 2]]
    one = Sampling(logit_bias=bias, bad_words_ids=words)
    bias[4] = INF
    words[0].append(-5)
    assert (one.logit_bias, one.bad_words_ids) == ({3: 1.0}, ((1, 2),))
    assert Sampling(**asdict(one)) == replace(one) == one
    assert hash(replace(one)) == hash(one)
    assert one != Sampling(logit_bias={3: 2.0}, bad_words_ids=[[1, 2]])


def test_min_new_tokens_above_max_new_tokens_is_a_problem():
    require_lengths(LogitsProcessors(min_new_tokens=5), 5)
    with pytest.raises(Problem, match=r"^min_new_tokens: expected at most max_new_tokens, 4, got 5"):
        require_lengths(LogitsProcessors(min_new_tokens=5), 4)
    for count in (-1, 1.5, True):
        with pytest.raises(Problem, match=r"^max_new_tokens: expected a whole number from 0, got "):
            require_lengths(LogitsProcessors(), count)


TOKENS = st.integers(0, 6)


@settings(max_examples=300, deadline=None)
@given(
    logits=st.lists(st.floats(-30, 30, width=32) | st.just(-INF), min_size=7, max_size=7).filter(
        lambda values: max(values) > -INF
    ),
    prompt=st.lists(TOKENS, max_size=12),
    new=st.lists(TOKENS, max_size=12),
    eos=st.none() | TOKENS,
    penalties=st.fixed_dictionaries(
        {
            "repetition_penalty": st.floats(0.1, 10),
            "presence_penalty": st.floats(-2, 2),
            "frequency_penalty": st.floats(-2, 2),
            "no_repeat_ngram_size": st.integers(0, 4),
            "min_new_tokens": st.integers(0, 15),
            "logit_bias": st.dictionaries(TOKENS, st.floats(-50, 50) | st.just(-INF), max_size=3),
            "bad_words_ids": st.lists(st.lists(TOKENS, min_size=1, max_size=3), max_size=4),
        }
    ),
    kept=st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.0, 1e-30, 0.5, 1.0, 7.0]),
            "top_k": st.integers(0, 8),
            "top_p": st.floats(0, 1),
            "min_p": st.floats(0, 1),
            "typical_p": st.floats(0.001, 1),
        }
    ),
)
def test_no_banned_token_ever_comes_whatever_the_settings(logits, prompt, new, eos, penalties, kept):
    sampling = Sampling(**penalties, **kept)
    history = History(prompt, new, () if eos is None else (eos,))
    try:
        token = choose(np.float32(logits), sampling, np.random.default_rng(0), history)
    except Problem as problem:
        assert "no token is left" in str(problem)  # noqa: PT017
        return
    text, size = [*prompt, *new, token], sampling.no_repeat_ngram_size
    assert logits[token] > -INF
    assert sampling.logit_bias.get(token) != -INF
    assert not any(text[-len(word) :] == word for word in penalties["bad_words_ids"] if word != [eos])
    assert token != eos or len(new) >= sampling.min_new_tokens
    runs = [text[i : i + size] for i in range(len(text) - size + 1)] if size else []
    assert not runs or runs[-1] not in runs[:-1]
