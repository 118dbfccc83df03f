"""beam_search: every continuation counted out by the oracle; tests/parity compares with transformers."""

import itertools
import math

import numpy as np
import pytest

from gpt2_text_prediction import Problem, TextRules
from gpt2_text_prediction.engine.engine import load_engine
from gpt2_text_prediction.engine.sequence import SequenceCache, StepInput
from gpt2_text_prediction.generation.beam_search import Beams, _largest
from gpt2_text_prediction.text.stopping import StoppingDetokenizer
from gpt2_text_prediction.text.tokenizer import GPT2Tokenizer
from support.beams import beam_search
from support.toy import ONE_THREAD, Toy, save, without_attention_ops

TOY = Toy(n_positions=12, vocab_size=260)
PROMPT = [3, 200, 17]
WIDE = 260
"""So many beams keep every token of the first step."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return load_engine(TOY.ir(tmp_path_factory.mktemp("beam")), config=ONE_THREAD)


def log_probabilities(ids) -> np.ndarray:  # [L] -> [V]
    logits = TOY.logits(ids)[-1].astype(np.float64)
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def log_probability(prompt, tokens) -> float:
    return sum(float(log_probabilities([*prompt, *tokens[:n]])[token]) for n, token in enumerate(tokens))


def best_of_all(eos: int | None, length_penalty: float) -> list[tuple[float, tuple[int, ...]]]:
    """Score every continuation of two tokens, or of one that ends the text; the best first."""
    first = log_probabilities(PROMPT)
    found = [] if eos is None else [(float(first[eos]), (eos,))]
    for token in set(range(260)) - {eos}:
        second = first[token] + log_probabilities([*PROMPT, token])
        found += [(float(score) / 2**length_penalty, (token, last)) for last, score in enumerate(second)]
    return sorted(found, reverse=True)


@pytest.mark.parametrize("eos", [None, 0, 1], ids=["no end", "the likeliest ends", "the second ends"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_with_as_many_beams_as_tokens_the_best_of_all_continuations_is_found(engine, eos, length_penalty):
    end = None if eos is None else int(np.argsort(-log_probabilities(PROMPT))[eos])
    beams = Beams(num_beams=WIDE, num_return_sequences=3, length_penalty=length_penalty, early_stopping="never")
    found = beam_search(engine, PROMPT, beams, 2, () if end is None else (end,))
    for one, (score, tokens) in zip(found, best_of_all(end, length_penalty), strict=False):
        ended = tokens[-1] == end
        assert (one.tokens, one.finish_reason) == ([*tokens], "stop" if ended else "length")
        assert one.score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("change", [lambda model: model, without_attention_ops], ids=["stateful", "recompute"])
def test_one_beam_is_the_oracles_greedy_text_on_every_back_end(tmp_path, change):
    engine = load_engine(save(change(TOY.model(tmp_path)), tmp_path / "toy.xml"), config=ONE_THREAD)
    (found,) = beam_search(engine, PROMPT, Beams(num_beams=1), 6, ())
    assert found.tokens == TOY.greedy(PROMPT, 6)
    assert found.score == pytest.approx(log_probability(PROMPT, found.tokens) / 6, abs=1e-4)


def test_scores_are_the_log_probability_over_the_length_and_fall(engine):
    beams = Beams(num_beams=4, num_return_sequences=4, length_penalty=0.5)
    found = beam_search(engine, PROMPT, beams, 5, ())
    assert len({tuple(one.tokens) for one in found}) == 4
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert one.score == pytest.approx(log_probability(PROMPT, one.tokens) / math.sqrt(5), abs=1e-4)


def test_more_beams_find_no_worse_a_text_than_one(engine):
    scores = [beam_search(engine, PROMPT, Beams(num_beams=n), 4, ())[0].score for n in (1, WIDE)]
    assert scores[0] <= scores[1] + 1e-6


def test_it_ends_where_the_positions_do(engine):
    found = beam_search(engine, PROMPT, Beams(num_beams=3), 100, ())
    assert len(found[0].tokens) == TOY.n_positions + 1 - len(PROMPT)  # the last is not computed
    assert found[0].finish_reason == "length"


def test_early_stopping_takes_the_first_that_end_and_never_waits_for_the_best(engine):
    texts = {
        early: beam_search(engine, PROMPT, Beams(num_beams=2, early_stopping=early, length_penalty=4.0), 9, (132,))[0]
        for early in (True, "never")
    }
    assert len(texts[True].tokens) < len(texts["never"].tokens)
    assert texts[True].score < texts["never"].score


def test_the_end_of_the_text_is_a_token_like_others_where_it_is_ignored(engine):
    first = int(log_probabilities(PROMPT).argmax())
    settings = [Beams(num_beams=1, ignore_eos=ignore) for ignore in (False, True)]
    plain, ignoring = (beam_search(engine, PROMPT, beams, 4, beams.ending_ids((first,)))[0] for beams in settings)
    assert (plain.tokens, plain.finish_reason) == ([first], "stop")
    assert (ignoring.tokens, ignoring.finish_reason) == (TOY.greedy(PROMPT, 4), "length")


def test_bans_hold_in_every_beam(engine):
    beams = Beams(num_beams=5, num_return_sequences=5, no_repeat_ngram_size=1, bad_words_ids=[[7]], min_new_tokens=4)
    for one in beam_search(engine, PROMPT, beams, 6, (9,)):
        assert len({*PROMPT, *one.tokens}) == len(PROMPT) + len(one.tokens)
        assert 7 not in one.tokens
        assert len(one.tokens) >= 4


def test_where_few_tokens_are_left_fewer_texts_are_found(engine):
    only = {token: -math.inf for token in range(260) if token not in (4, 5)}
    found = beam_search(engine, PROMPT, Beams(num_beams=8, num_return_sequences=8, logit_bias=only), 2, ())
    assert {tuple(one.tokens) for one in found} == set(itertools.product((4, 5), repeat=2))
    found = beam_search(engine, PROMPT, Beams(num_beams=8, num_return_sequences=8, logit_bias=only), 3, (5,))
    assert {tuple(one.tokens) for one in found} == {(5,), (4, 5), (4, 4, 5), (4, 4, 4)}


def test_the_engine_goes_on_as_before(engine):
    cache = SequenceCache()
    engine.step([StepInput(cache, PROMPT)])
    beam_search(engine, [9, 9], Beams(num_beams=3), 4, ())
    ((logits,),) = engine.step([StepInput(cache, [5])])
    np.testing.assert_allclose(logits, TOY.logits([*PROMPT, 5])[-1], atol=1e-3)


def test_broken_weights_are_a_problem(tmp_path):
    toy = Toy(seed=78)
    toy.state["ln_f.bias"][0] = float("nan")
    broken = load_engine(toy.ir(tmp_path), config=ONE_THREAD)
    with pytest.raises(Problem, match="NaN or infinity"):
        beam_search(broken, [1], Beams(num_beams=2), 3, ())


@pytest.mark.parametrize("new_tokens", [10, 50])
def test_a_stop_is_looked_for_in_the_last_token_of_each_beam_alone(tmp_path, new_tokens):
    toy, read = Toy(n_positions=64), []

    class Counting(GPT2Tokenizer):
        def token_bytes(self, token_id: int) -> bytes:
            read.append(token_id)
            return super().token_bytes(token_id)

    engine = load_engine(toy.ir(tmp_path), config=ONE_THREAD)
    text = StoppingDetokenizer(Counting(tmp_path / "vocab.json", tmp_path / "merges.txt"), TextRules(stop=["\0" * 9]))
    beams = Beams(num_beams=4, early_stopping="never")
    found = beam_search(engine, PROMPT, beams, new_tokens, (), text=text)
    assert found == beam_search(engine, PROMPT, beams, new_tokens, ())
    assert len(found[0].tokens) == new_tokens
    assert len(read) == 4 * (new_tokens - 1) + 8  # at the last step all candidates end


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 5000])
@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_the_largest_values_are_those_of_a_stable_sort(size, count):
    rng = np.random.default_rng(size)
    for values in (rng.normal(0, 1, size), rng.integers(0, 3, size), np.zeros(size), np.full(size, -np.inf)):
        found = _largest(values.astype(np.float32), count)
        expected = np.argsort(-values, kind="stable")[:count]
        np.testing.assert_array_equal(values.astype(np.float32)[found], values.astype(np.float32)[expected])
        assert len(set(found.tolist())) == len(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_beams", v) for v in (0, -1, 1.5, True, None)]
    + [("length_penalty", v) for v in (math.nan, math.inf, 101, -101, "1")]
    + [("early_stopping", v) for v in ("always", 1, None)]
    + [("num_return_sequences", v) for v in (0, 5, "2")]
    + [("repetition_penalty", 0)],
)
def test_a_setting_out_of_range_is_a_problem_with_its_name(name, value):
    with pytest.raises(Problem, match=f"^{name}: expected .*, got {value!r}$"):
        Beams(**{name: value})


@pytest.mark.parametrize("length_penalty", [-100, 100])
def test_the_ends_of_the_length_penalty_do_not_overflow(engine, length_penalty):
    assert beam_search(engine, PROMPT, Beams(length_penalty=length_penalty, early_stopping="never"), 9, (5,))
