"""answers: what a result holds, token by token, against the oracle; settings by name; progress; many kinds at once."""

import gc
import json
import threading
import weakref
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
import pytest

from gpt2_text_prediction import Beams, PerfMetrics, Problem, Progress, Sampling, TextGenerator, TextRules
from gpt2_text_prediction.engine.scheduler import running
from support import HANGS_AFTER, until
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=24)
GREEDY = Sampling(temperature=0)
DRAWN = Sampling(temperature=1.5, top_p=1, seed=5)
PROMPT = "the rain in"


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    with TextGenerator(TOY.ir(tmp_path_factory.mktemp("answers")), config=ONE_THREAD) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def ids(generator) -> list[int]:
    return generator.tokenizer.encode(PROMPT)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=-1, keepdims=True))


def test_token_ids_are_a_prompt_as_their_text_is(generator, ids):
    (text,) = generator.generate(PROMPT, DRAWN, max_new_tokens=6)
    for prompts in (ids, tuple(ids), np.array(ids), [ids], [np.array(ids)]):
        (found,) = generator.generate(prompts, DRAWN, max_new_tokens=6)
        assert (found.tokens, found.text, found.prompt_tokens) == (text.tokens, text.text, ids)
    assert generator.stream(ids, GREEDY).prompt_tokens == ids
    assert generator.score(ids).logprobs[1:].tolist() == generator.score(PROMPT).logprobs[1:].tolist()
    assert generator.next_tokens(ids, 3) == generator.next_tokens(PROMPT, 3)
    mixed = generator.generate([PROMPT, ids, ""], GREEDY, max_new_tokens=3)
    assert [found.prompt_tokens for found in mixed] == [ids, ids, [TOY.end_of_text_id]]
    assert [found.prompt for found in mixed] == [0, 1, 2]


def test_log_probabilities_of_prompt_and_text_are_the_oracles(generator, ids):
    settings = replace(DRAWN, repetition_penalty=2.0, top_k=5)
    results = generator.generate(
        PROMPT, settings, max_new_tokens=5, num_return_sequences=2, logprobs=3, prompt_logprobs=2
    )
    for found in results:
        rows = log_softmax(TOY.logits([*ids, *found.tokens]))
        before, after = rows[: len(ids) - 1], rows[len(ids) - 1 : -1]
        assert np.isnan(found.prompt_logprobs[0])
        np.testing.assert_allclose(found.prompt_logprobs[1:], before[np.arange(len(before)), ids[1:]], atol=1e-4)
        np.testing.assert_allclose(found.logprobs, after[np.arange(5), found.tokens], atol=1e-4)
        assert found.prompt_top_logprobs[0] == {}
        for told, row in [*zip(found.prompt_top_logprobs[1:], before, strict=True)]:
            assert list(told) == np.argsort(-row, kind="stable")[:2].tolist()
        for told, row in zip(found.top_logprobs, after, strict=True):
            assert list(told) == np.argsort(-row, kind="stable")[:3].tolist()
            np.testing.assert_allclose(list(told.values()), np.sort(row)[:-4:-1], atol=1e-4)


def test_a_text_without_new_tokens_has_the_log_probabilities_of_its_prompt(generator):
    longest = "z" * 25  # of 24 positions: the last token is only told
    (found,) = generator.generate(longest, max_new_tokens=0, prompt_logprobs=0)
    assert (found.text, found.tokens, found.finish_reason, found.stop_reason) == ("", [], "length", None)
    np.testing.assert_array_equal(found.prompt_logprobs, generator.score(longest).logprobs)
    with pytest.raises(Problem, match="the prompt has 26 tokens; at most 25 fit"):
        generator.generate("z" * 26, max_new_tokens=0, prompt_logprobs=0)
    (nothing,) = generator.generate(PROMPT, max_new_tokens=0)
    assert (nothing.tokens, nothing.prompt_logprobs) == ([], None)


def test_without_log_probabilities_there_are_none(generator):
    (found,) = generator.generate(PROMPT, GREEDY, max_new_tokens=3, logprobs=None)
    assert np.isnan(found.logprobs).all()
    assert found.to_dict()["logprobs"] == [None] * 3


def test_a_result_is_json(generator):
    (found,) = generator.generate(PROMPT, DRAWN, max_new_tokens=12, logprobs=1, prompt_logprobs=0)
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["text"] == found.text
    assert said["prompt_logprobs"][0] is None
    assert said["top_logprobs"][0].keys() == {str(next(iter(found.top_logprobs[0])))}
    assert len(said["text_offsets"]) == len(found.tokens)
    numpys = generator.generate("a", seed=np.int64(3), top_k=np.int32(5), max_new_tokens=2)[0]
    assert json.loads(json.dumps(numpys.to_dict()))["seed"] == 3


@pytest.mark.parametrize("stop", [(), ("zz",), ("b",)])
def test_offsets_are_the_characters_before_a_token_whatever_is_held_back(generator, stop):
    for seed in range(20):
        settings = {"temperature": 2.0, "top_p": 1, "seed": seed, "max_new_tokens": 14, "stop": stop}
        (found,) = generator.generate(PROMPT, **settings)
        tokens, offsets = found.tokens, found.text_offsets
        assert len(tokens) == len(offsets)
        for n, offset in enumerate(offsets):
            whole = generator.tokenizer.decode(tokens[:n])
            assert min(len(whole.rstrip("\ufffd")), len(found.text)) <= offset <= len(whole)


def test_times_are_in_milliseconds_by_hand():
    metrics = PerfMetrics.of(7, 10.0, [10.5, 10.75, 11.0], 11.0)
    assert metrics == PerfMetrics(7, 3, 500.0, 250.0, 4.0, 1000.0)
    one, none = PerfMetrics.of(7, 10.0, [10.5], 10.75), PerfMetrics.of(7, 10.0, [], 12.0)
    assert (one.ttft, one.generate_duration, one.num_generated_tokens) == (500.0, 750.0, 1)
    assert np.isnan([one.tpot, one.throughput, none.ttft, none.tpot]).all()
    assert none.generate_duration == 2000.0


def test_the_tokens_of_beams_have_the_times_of_their_steps(generator):
    beams = generator.generate(PROMPT, Beams(num_beams=3, num_return_sequences=2, ignore_eos=True), max_new_tokens=6)
    for found in beams:
        times = [event.time for event in found.events]
        assert times == sorted(times)
        assert len(set(times)) == 6
        assert 0 < found.perf_metrics.ttft <= found.perf_metrics.generate_duration


def test_settings_by_name_are_those_of_the_objects(generator):
    by_objects = generator.generate(
        [PROMPT, "a"], DRAWN, max_new_tokens=7, num_return_sequences=2, rules=TextRules(stop=["e"])
    )
    by_name = generator.generate(
        [PROMPT, "a"], temperature=1.5, top_p=1, seed=5, max_new_tokens=7, num_return_sequences=2, stop="e"
    )
    assert [found.tokens for found in by_objects] == [found.tokens for found in by_name]
    beams = generator.beam_search(PROMPT, Beams(num_beams=3, num_return_sequences=2), max_new_tokens=4)
    named = generator.generate(PROMPT, num_beams=3, num_return_sequences=2, max_new_tokens=4)
    assert [(one.tokens, one.score) for one in beams] == [(one.tokens, one.score) for one in named]
    stream = generator.stream("a", temperature=1.5, top_p=1, seed=5, max_new_tokens=7, stop="e", index=(1, 1))
    assert "".join(stream) == by_name[3].text


def test_each_prompt_may_have_settings_of_its_own_beams_among_them(generator):
    own = [GREEDY, replace(DRAWN, seed=9), Beams(num_beams=3, num_return_sequences=2), DRAWN]
    results = generator.generate([PROMPT] * 4, own, max_new_tokens=5)
    assert [found.prompt for found in results] == [0, 1, 2, 2, 3]
    assert [found.sample for found in results] == [0, 0, 0, 1, 0]
    assert results[0].tokens == TOY.greedy(results[0].prompt_tokens, 5)
    assert [found.seed for found in results[1:]] == [9, 0, 0, 5]
    alone = generator.beam_search(PROMPT, own[2], max_new_tokens=5)
    assert [found.tokens for found in results[2:4]] == [found.tokens for found in alone]
    for found, index in ((results[1], 1), (results[4], 3)):
        stream = generator.stream(PROMPT, own[index], max_new_tokens=5, index=(index, 0))
        assert "".join(stream) == found.text


def test_the_models_own_settings_count_where_none_are_given(tmp_path):
    (tmp_path / "generation_config.json").write_text(json.dumps({"do_sample": False, "max_new_tokens": 3}))
    with TextGenerator(TOY.ir(tmp_path), config=ONE_THREAD) as own:
        (found,) = own.generate(PROMPT)
        assert found.tokens == TOY.greedy(found.prompt_tokens, 3)
        assert len(own.generate(PROMPT, max_new_tokens=5)[0].tokens) == 5
        assert len(own.generate(PROMPT, Sampling(temperature=0))[0].tokens) > 3  # an object is all there is
    (tmp_path / "generation_config.json").write_text(json.dumps({"num_beams": 3, "max_new_tokens": 4}))
    with TextGenerator(tmp_path / "toy.xml", config=ONE_THREAD) as own:
        assert own.generate(PROMPT)[0].score is not None
        assert "".join(own.stream(PROMPT, seed=1))  # a stream draws


@pytest.mark.parametrize("include", [False, True])
def test_the_stop_that_matched_is_told_and_kept_where_asked_for(generator, include):
    (whole,) = generator.generate(PROMPT, GREEDY, max_new_tokens=9)
    stop = whole.text[3:6]
    place = whole.text.find(stop)
    for found in (
        *generator.generate(PROMPT, GREEDY, max_new_tokens=9, stop=["\0", stop], include_stop_str_in_output=include),
        *generator.generate(
            PROMPT, Beams(num_beams=1, ignore_eos=True), max_new_tokens=9, stop=stop, include_stop_str_in_output=include
        ),
    ):
        assert (found.finish_reason, found.stop_reason) == ("stop", stop)
        assert found.text == whole.text[: place + len(stop) * include]
        assert found.events[-1].stop_reason == stop
        assert "".join(event.text for event in found.events) == found.text


def test_min_new_tokens_holds_off_what_stops_a_text(generator):
    (whole,) = generator.generate(PROMPT, Sampling(temperature=0, ignore_eos=True), max_new_tokens=12)
    text = [event.text for event in whole.events]
    stop = text[2]
    (held,) = generator.generate(
        PROMPT, Sampling(temperature=0, ignore_eos=True, min_new_tokens=5), max_new_tokens=12, stop=stop
    )
    assert len(held.tokens) > 5
    assert whole.text.startswith(held.text)
    later = whole.text.find(stop, len("".join(text[:5])) - len(stop) + 1)
    assert held.text == (whole.text if later < 0 else whole.text[:later])


def test_beams_whose_time_is_over_have_a_text_all_the_same(generator):
    found = generator.generate(["a", "b"], [Beams(), Sampling()], max_time=0)
    assert [(one.prompt, one.text, one.finish_reason) for one in found] == [(0, "", "time"), (1, "", "time")]


def test_beams_without_log_probabilities_have_none(generator):
    (with_them,) = generator.generate(PROMPT, num_beams=2, max_new_tokens=4, logprobs=0)
    (without,) = generator.generate(PROMPT, num_beams=2, max_new_tokens=4, logprobs=None)
    assert without.tokens == with_them.tokens
    assert np.isnan(without.logprobs).all()


def test_results_that_are_kept_hold_no_cache(tmp_path):
    with TextGenerator(TOY.ir(tmp_path), config=ONE_THREAD) as holding:
        kept = [holding.stream(PROMPT, GREEDY, max_new_tokens=4) for _ in range(30)]
        for stream in kept:
            "".join(stream)
        kept.append(holding.generate([[n] * 9 for n in range(40)], GREEDY, max_new_tokens=3))
        assert holding.stats().used_blocks <= 5 * 2  # those of the prefix cache


@pytest.mark.parametrize("how", [DRAWN, Beams(num_beams=2)], ids=["samples", "beams"])
def test_of_a_text_that_has_ended_its_results_alone_are_kept_while_others_run(generator, how):
    ended: SimpleQueue = SimpleQueue()
    call = generator._call(0, None, None).begun()
    answers = generator._answers(call, [PROMPT, "a", "b"], how, None, {}, on_progress=None, put=ended.put)
    with running(generator.scheduler, answers.requests):
        for left in (2, 1, 0):
            request = ended.get(timeout=HANGS_AFTER)
            answers.take(request)
            assert answers.left == left
            request = weakref.ref(request)
            until(lambda request=request: gc.collect() >= 0 and request() is None)  # the step may still hold it
    assert [found.prompt for found in answers.results()] == [0, 1, 2]


def test_progress_is_told_with_each_result_as_it_is_finished(generator):
    told: list[Progress] = []
    results = generator.generate(
        [PROMPT, "a"], [replace(DRAWN, ignore_eos=True), Beams(num_beams=2)], max_new_tokens=6, on_progress=told.append
    )
    finished = [progress.result for progress in told if progress.result is not None]
    assert sorted(map(id, finished)) == sorted(map(id, results))
    assert told[-1].finished == told[-1].texts == 2
    counts = [progress.new_tokens for progress in told]
    assert counts == sorted(counts)
    assert 6 < counts[-1] <= 6 + 6


def test_what_was_finished_is_kept_when_a_call_is_interrupted(generator):
    kept = []

    def keep(progress: Progress) -> None:
        if progress.result is not None:
            kept.append(progress.result)
            if len(kept) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generator.generate([PROMPT] * 40, DRAWN, max_new_tokens=8, num_return_sequences=3, on_progress=keep)
    assert len(kept) == 2
    generator.generate("a", GREEDY, max_new_tokens=1)
    assert not generator.scheduler._active


def test_what_a_generator_does_is_counted(tmp_path):
    with TextGenerator(TOY.ir(tmp_path), config=ONE_THREAD) as counted:
        assert counted.stats().new_tokens == counted.stats().prompt_tokens == 0
        counted.generate([PROMPT, "a"], Sampling(temperature=0, ignore_eos=True), max_new_tokens=6)
        lengths = [len(counted.tokenizer.encode(prompt)) for prompt in (PROMPT, "a")]
        stats = counted.stats()
        assert (stats.prompt_tokens, stats.new_tokens) == (sum(lengths), 12)
        assert (stats.running, stats.waiting) == (0, 0)
        assert stats.accepted_tokens <= stats.drafted_tokens
        counted.generate(PROMPT, GREEDY, max_new_tokens=1)
        assert counted.stats().prefix_hits == lengths[0] - 1  # all but the last token
        assert counted.stats().to_dict()["prompt_tokens"] == sum(lengths) + lengths[0]
        if counted.engine.back_end.name == "paged":
            assert 0 < counted.stats().used_blocks < counted.stats().blocks


def test_closing_lets_what_runs_end_and_takes_nothing_more(tmp_path):
    closing = TextGenerator(TOY.ir(tmp_path), config=ONE_THREAD)
    entered, found = threading.Event(), []

    def ask() -> None:
        found.extend(
            closing.generate(
                [PROMPT] * 5,
                DRAWN,
                max_new_tokens=300,
                context_overflow="slide",
                on_progress=lambda _: entered.set(),
            )
        )

    thread = threading.Thread(target=ask)
    thread.start()
    assert entered.wait(HANGS_AFTER)
    scheduler = closing.scheduler
    closer = threading.Thread(target=closing.close, args=(HANGS_AFTER,))
    closer.start()
    until(lambda: scheduler._closed is not None)
    with pytest.raises(Problem, match="the generator is closed"):
        closing.generate(PROMPT)
    for each in (thread, closer):
        each.join(HANGS_AFTER)
    assert len(found) == 5
    assert {one.finish_reason for one in found} <= {"length", "stop"}


@pytest.mark.parametrize("options", [{"max_num_seqs": 1}, {"max_num_seqs": 3, "prefill_chunk": 2}, {}])
def test_texts_are_the_same_however_many_run_at_once(tmp_path, generator, options):
    prompts = [PROMPT, "a", "the sea and the sand", ""]
    expected = generator.generate(prompts, DRAWN, num_return_sequences=3, prompt_logprobs=0)
    with TextGenerator(TOY.ir(tmp_path), config=ONE_THREAD, **options) as other:
        found = other.generate(prompts, DRAWN, num_return_sequences=3, prompt_logprobs=0)
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.prompt_logprobs[1:], two.prompt_logprobs[1:], atol=1e-4)


def test_completion_shows_what_users_call(generator):
    names = {name for name in dir(generator) if name[0] != "_"}
    assert {"generate", "stream", "score", "next_tokens", "beam_search", "close", "stats"} <= names
    assert not {"scheduler", "input_processor", "read", "of"} & names
