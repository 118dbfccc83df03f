"""generator: the oracle's continuation, and every reason to stop."""

import asyncio
import gc
import itertools
import json
import shutil
import threading
import weakref
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from gpt2_recipe import convert
from gpt2_text_prediction import Beams, Busy, Problem, Result, Sampling, Stream, TextGenerator, TextRules
from gpt2_text_prediction.text.tokenizer import find_tokenizer_files
from support import HANGS_AFTER, until
from support.toy import HAS_PAGED_ATTENTION, ONE_THREAD, Toy, save, without_attention_ops

TOY = Toy(n_positions=24)
GREEDY = Sampling(temperature=0)
PLACES = 16
PROMPT = "the rain in"
needs_paged_attention = pytest.mark.skipif(not HAS_PAGED_ATTENTION, reason="openvino's is another before 2026.0")


@pytest.fixture(scope="module")
def ir(tmp_path_factory):
    return TOY.ir(tmp_path_factory.mktemp("generator"))


@pytest.fixture(scope="module")
def generator(ir):
    with TextGenerator(ir, config=ONE_THREAD) as loaded:
        yield loaded


def finished(stream: Stream) -> tuple[str, Stream]:
    return "".join(stream), stream


def end_after(tokens: list[int], prompt: list[int], count: int) -> int:
    """A token of a continuation that would end it after `count` others or more, and is new to the text."""
    return next(t for n, t in enumerate(tokens) if n >= count and t not in prompt and t not in tokens[:n])


@pytest.mark.parametrize("change", [lambda m: m, without_attention_ops], ids=["stateful", "recompute"])
def test_greedy_text_is_the_oracles(tmp_path, change):
    path = save(change(TOY.model(tmp_path)), tmp_path / "toy.xml")
    for prompt in (PROMPT, "a", "日本 ", "\n\n"):
        with TextGenerator(path, config=ONE_THREAD) as generator:
            text, stream = finished(generator.stream(prompt, GREEDY, max_new_tokens=8))
        assert stream.prompt_tokens == generator.tokenizer.encode(prompt)
        assert stream.tokens == TOY.greedy(stream.prompt_tokens, 8)
        assert text == generator.tokenizer.decode(stream.tokens)


def test_a_smaller_max_seq_len_is_where_the_positions_end(ir):
    with TextGenerator(ir, config=ONE_THREAD, max_seq_len=12) as generator:
        _, stream = finished(generator.stream(PROMPT, GREEDY))
    assert len(stream.prompt_tokens) + len(stream.tokens) == 12 + 1  # the last is not computed
    assert stream.out_of_positions


@pytest.mark.parametrize("facts", [True, False], ids=["told by the facts", "told by the vocabulary"])
def test_it_stops_at_the_end_of_text_which_is_a_token_without_text(tmp_path, generator, facts):
    prompt = generator.tokenizer.encode(PROMPT)
    continuation = TOY.greedy(prompt, 12)
    end = end_after(continuation, prompt, 2)
    toy = replace(TOY, eos_token_id=end)
    model = toy.model(tmp_path)
    if not facts:
        model = ov.Model(model.get_results(), model.get_parameters(), "foreign")
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=ONE_THREAD) as ending:
        assert ending.eos_token_id == end
        text, stream = finished(ending.stream(PROMPT, GREEDY))
    assert stream.tokens == continuation[: continuation.index(end) + 1]
    assert (stream.finish_reason, stream.out_of_positions) == ("stop", False)
    assert stream.result.stop_reason == end
    assert text == ending.tokenizer.decode(stream.tokens[:-1])
    assert "endoftext" not in text
    assert len(stream.times) == len(stream.tokens) + 1


def test_the_fact_wins_over_the_vocabulary(tmp_path, generator):
    prompt = generator.tokenizer.encode(PROMPT)
    end = end_after(TOY.greedy(prompt, 12), prompt, 1)
    model = TOY.model(tmp_path)
    model.set_rt_info(str(end), ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=ONE_THREAD) as ending:
        assert finished(ending.stream(PROMPT, GREEDY))[1].finish_reason == "stop"


def test_the_end_of_text_as_the_very_first_token_gives_no_text(tmp_path, generator):
    prompt = generator.tokenizer.encode("a")
    (end,) = TOY.greedy(prompt, 1)
    model = TOY.model(tmp_path)
    model.set_rt_info(str(end), ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=ONE_THREAD) as ending:
        text, stream = finished(ending.stream("a", GREEDY))
    assert (text, stream.tokens, stream.finish_reason) == ("", [end], "stop")


def test_a_prompt_may_fill_the_positions_and_have_one_token_after_it(generator):
    prompt = "z" * 24
    assert len(generator.tokenizer.encode(prompt)) == 24
    _, stream = finished(generator.stream(prompt, GREEDY))
    assert len(stream.tokens) == 1
    assert stream.out_of_positions


@pytest.mark.parametrize("length", [25, 26, 1000])
def test_a_prompt_that_leaves_no_room_is_a_problem_with_the_numbers(generator, length):
    with pytest.raises(Problem, match=rf"{length} tokens; at most 24 fit"):
        generator.stream("z" * length)


def test_an_empty_prompt_starts_a_new_text(generator):
    text, stream = finished(generator.stream("", GREEDY, max_new_tokens=4))
    assert stream.prompt_tokens == [TOY.end_of_text_id]
    assert stream.tokens == TOY.greedy([TOY.end_of_text_id], 4)
    assert text == generator.tokenizer.decode(stream.tokens)


def test_an_empty_prompt_needs_an_end_of_text(tmp_path):
    model = TOY.model(tmp_path)
    bare = ov.Model(model.get_results(), model.get_parameters(), "bare")
    path = save(bare, tmp_path / "bare.xml")
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    vocabulary["other"] = vocabulary.pop("<|endoftext|>")
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    with TextGenerator(path, config=ONE_THREAD) as generator:
        assert generator.eos_token_id is None
        with pytest.raises(Problem, match="prompt is empty"):
            generator.stream("")
        assert finished(generator.stream("a", GREEDY))[1].out_of_positions


def test_the_name_of_the_end_of_text_in_a_prompt_is_text(generator):
    assert TOY.end_of_text_id not in generator.stream("<|endoftext|>").prompt_tokens


def test_a_prompt_that_is_no_unicode_is_a_problem(generator):
    with pytest.raises(Problem, match="UTF-8"):
        generator.stream("\udcff")


@pytest.mark.parametrize("count", [-1, 1.5, "2"])
def test_a_number_of_new_tokens_that_is_none_is_a_problem(generator, count):
    with pytest.raises(Problem, match=f"max_new_tokens: .*got {count!r}"):
        generator.stream(PROMPT, max_new_tokens=count)


def test_the_same_seed_gives_the_same_text_whatever_comes_between(generator):
    sampling = Sampling(seed=11)
    first = finished(generator.stream(PROMPT, sampling, max_new_tokens=10))
    finished(generator.stream("else", Sampling(seed=3), max_new_tokens=5))
    second = finished(generator.stream(PROMPT, sampling, max_new_tokens=10))
    assert first[0] == second[0]
    assert first[1].tokens == second[1].tokens
    assert first[1].seed == second[1].seed == 11


def test_other_seeds_and_other_places_draw_other_texts(generator):
    texts = [
        tuple(finished(generator.stream(PROMPT, Sampling(seed=seed, top_p=1), index=index))[1].tokens)
        for seed, index in itertools.product((1, 2, 1 + 2**32, 2**64 - 1), ((0, 0), (0, 1), (1, 0), (1, 2**32)))
    ]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("index", [(0,), (0, 0, 0), (0, -1), (2**64, 0), (0.0, 0), 3, None], ids=repr)
def test_an_index_that_is_no_pair_of_numbers_is_a_problem(generator, index):
    with pytest.raises(Problem, match=r"^index: expected \(prompt, sample\), two whole numbers from 0, got "):
        generator.stream(PROMPT, index=index)


def test_without_a_seed_each_text_has_its_own_which_makes_it_again(generator):
    streams = [finished(generator.stream(PROMPT))[1] for _ in range(3)]
    assert len({stream.seed for stream in streams}) == 3
    again = finished(generator.stream(PROMPT, Sampling(seed=streams[0].seed)))[1]
    assert again.tokens == streams[0].tokens


def test_another_vocabulary_is_a_problem_with_both_sizes(ir, tmp_path):
    Toy(vocab_size=290).write_vocabulary(tmp_path)
    with pytest.raises(Problem, match="300 tokens, its tokenizer 290"):
        TextGenerator(ir, vocab=tmp_path / "vocab.json", merges=tmp_path / "merges.txt")


def test_an_end_of_text_past_the_vocabulary_does_not_start_a_text(tmp_path):
    model = TOY.model(tmp_path)
    model.set_rt_info("300", ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=ONE_THREAD) as generator:
        assert list(generator.stream("", GREEDY, max_new_tokens=3))


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """Return an IR of 360 rows whose tokenizer has 301 tokens, one of them added, as the converter lays it."""
    folder = tmp_path_factory.mktemp("padded")
    xml = replace(TOY, vocab_size=360, eos_token_id=299).ir(folder)
    TOY.write_vocabulary(folder)
    (folder / "added_tokens.json").write_text('{"<|user|>": 300}')
    for companion in convert(folder).companions:
        if not isinstance(companion, Path):
            (folder / companion.name).write_bytes(companion.content)
    return xml


def test_rows_of_the_embedding_that_are_no_token_are_never_drawn(padded):
    with TextGenerator(padded, config=ONE_THREAD) as generator:
        assert generator.unused_ids.tolist() == list(range(301, 360))
        free = Sampling(temperature=50.0, top_p=1.0, seed=1, ignore_eos=True)
        results = generator.generate([PROMPT] * 4, free, max_new_tokens=16, num_return_sequences=4)
        results += generator.beam_search(PROMPT, Beams(num_beams=4, num_return_sequences=4), max_new_tokens=6)
        results += generator.generate([PROMPT], GREEDY, max_new_tokens=8)
        assert max(token for result in results for token in result.tokens) <= 300
        candidates = generator.next_tokens(PROMPT, 301)
        assert sorted(candidate.token for candidate in candidates) == list(range(301))
        assert results[-1].tokens[0] == candidates[0].token
        with pytest.raises(Problem, match="k: expected at most 301, the size of the vocabulary, got 302"):
            generator.next_tokens(PROMPT, 302)


def test_added_tokens_in_a_prompt(padded):
    with TextGenerator(padded, config=ONE_THREAD) as generator:
        parsed = generator.stream("a<|user|>b", GREEDY, max_new_tokens=1)
        plain = generator.stream("a<|user|>b", GREEDY, max_new_tokens=1, rules=TextRules(added_tokens="text"))
    assert 300 in parsed.prompt_tokens
    assert 300 not in plain.prompt_tokens
    with pytest.raises(Problem, match='added_tokens: expected "parse" or "text", got'):
        TextRules(added_tokens="all")


def test_files_are_found_beside_the_ir(ir):
    assert find_tokenizer_files(ir, None, None) == (ir.parent / "vocab.json", ir.parent / "merges.txt")


def test_files_that_are_given_win(ir, tmp_path):
    shutil.copy(ir.parent / "vocab.json", tmp_path / "v")
    shutil.copy(ir.parent / "merges.txt", tmp_path / "m")
    assert find_tokenizer_files(ir, tmp_path / "v", None) == (tmp_path / "v", ir.parent / "merges.txt")
    assert find_tokenizer_files(ir, None, str(tmp_path / "m")) == (ir.parent / "vocab.json", tmp_path / "m")
    with TextGenerator(str(ir), vocab=str(tmp_path / "v"), merges=str(tmp_path / "m"), config=ONE_THREAD) as generator:
        assert generator.tokenizer.vocab_size == 300


@pytest.mark.parametrize(("name", "flag"), [("vocab.json", "vocab"), ("merges.txt", "merges")])
def test_a_missing_file_is_a_problem_that_tells_where_it_was_looked_for(ir, tmp_path, name, flag):
    shutil.copytree(ir.parent, tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(Problem) as caught:
        TextGenerator(tmp_path / "copy/toy.xml")
    assert str(caught.value).startswith(f"{tmp_path / 'copy' / name}: ")
    assert str(caught.value).endswith(f"give it as {flag}")


def test_a_given_file_that_is_missing_is_not_replaced_by_the_one_beside_the_ir(ir, tmp_path):
    with pytest.raises(Problem) as caught:
        TextGenerator(ir, vocab=tmp_path / "nowhere.json")
    assert str(caught.value).startswith(f"{tmp_path / 'nowhere.json'}: ")


def test_a_missing_model_is_a_problem(tmp_path):
    Toy().write_vocabulary(tmp_path)
    with pytest.raises(Problem, match="no such model file"):
        TextGenerator(tmp_path / "missing.xml")


def test_a_closed_generator_is_a_problem_whatever_is_asked_of_it(ir):
    with TextGenerator(ir) as generator:
        begun = generator.stream("a")
    generator.close()
    asked = (
        lambda: generator.stream("a"),
        lambda: list(begun),
        lambda: generator.generate(["a"]),
        lambda: asyncio.run(generator.generate_async(["a"])),
        lambda: generator.score("a b"),
        lambda: generator.next_tokens("a"),
    )
    for ask in asked:
        with pytest.raises(Problem, match=r"^the generator is closed: load the model again$"):
            ask()


def test_ignore_eos_goes_on_behind_the_end_of_the_text(tmp_path, generator):
    prompt = generator.tokenizer.encode(PROMPT)
    continuation = TOY.greedy(prompt, 12)
    model = TOY.model(tmp_path)
    model.set_rt_info(str(continuation[1]), ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=ONE_THREAD) as ending:
        ignoring = Sampling(temperature=0, ignore_eos=True)
        _, stream = finished(ending.stream(PROMPT, ignoring, max_new_tokens=12))
    assert stream.tokens == continuation
    assert stream.finish_reason == "length"


def test_min_new_tokens_puts_the_end_of_the_text_off(tmp_path, generator):
    prompt = generator.tokenizer.encode(PROMPT)
    end = TOY.greedy(prompt, 1)[0]
    model = TOY.model(tmp_path)
    model.set_rt_info(str(end), ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=ONE_THREAD) as ending:
        _, stream = finished(ending.stream(PROMPT, Sampling(temperature=0, min_new_tokens=5), max_new_tokens=9))
        assert len(stream.tokens) >= 5
        assert end not in stream.tokens[:5]
        with pytest.raises(Problem, match=r"^min_new_tokens: .*9, got 10"):
            ending.stream(PROMPT, Sampling(min_new_tokens=10), max_new_tokens=9)


def test_penalties_and_bans_know_the_prompt_and_the_text_so_far(generator):
    _, stream = finished(generator.stream(PROMPT, Sampling(temperature=0, no_repeat_ngram_size=1)))
    whole = [*stream.prompt_tokens, *stream.tokens]
    assert len(set(stream.tokens)) == len(stream.tokens)
    assert not set(stream.tokens) & set(stream.prompt_tokens)
    assert len(whole) == 25 or stream.finish_reason == "stop"


def tokens_of(results: list[Result]) -> list[list[int]]:
    return [one.tokens for one in results]


PROMPTS = [PROMPT, "a", "the sea and the sand", ""]
DRAWN = Sampling(temperature=1.5, top_p=1, seed=5)


def test_several_prompts_are_answered_in_their_order(generator):
    results = generator.generate(PROMPTS, GREEDY, max_new_tokens=6)
    for prompt, result in zip(PROMPTS, results, strict=True):
        ids = generator.tokenizer.encode(prompt) or [TOY.end_of_text_id]
        assert result.tokens == TOY.greedy(ids, min(6, 25 - len(ids)))
        assert result.text == generator.tokenizer.decode(result.tokens)
        assert result.finish_reason == "length"


def test_logprobs_are_the_oracles_whatever_the_sampling_does(generator):
    (result,) = generator.generate([PROMPT], replace(DRAWN, repetition_penalty=2.0, top_k=5), max_new_tokens=5)
    ids = generator.tokenizer.encode(PROMPT)
    logits = TOY.logits([*ids, *result.tokens])[len(ids) - 1 : -1].astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(result.logprobs, expected[np.arange(5), result.tokens], atol=1e-4)


def test_a_text_that_ends_at_once_has_one_token_and_its_logprob(tmp_path, generator):
    (end,) = TOY.greedy(generator.tokenizer.encode("a"), 1)
    model = TOY.model(tmp_path)
    model.set_rt_info(str(end), ["omz_gpt2", "eos_token_id"])
    with TextGenerator(save(model, tmp_path / "toy.xml"), config=ONE_THREAD) as ending:
        (result,) = ending.generate(["a"], GREEDY)
    assert (result.text, result.tokens, result.finish_reason, result.stop_reason) == ("", [end], "stop", end)
    assert result.logprobs.shape == (1,)


def test_seed_prompt_and_sample_fix_a_text(ir, generator):
    """Whatever the batch, the order, the thread, the back end and the drafts."""
    expected = tokens_of(generator.generate(PROMPTS, DRAWN, num_return_sequences=3))
    assert len({tuple(tokens) for tokens in expected}) == 12
    for p, s in [(n // 3, n % 3) for n in reversed(range(12))]:
        assert finished(generator.stream(PROMPTS[p], DRAWN, index=(p, s)))[1].tokens == expected[3 * p + s]
    assert tokens_of(generator.generate(PROMPTS[:2], DRAWN)) == [expected[0], expected[3]]
    for options in (
        {"back_end": "stateful", "prompt_lookup": True},
        {"back_end": "stateful"},
        {"prompt_lookup": False},
    ):
        with TextGenerator(ir, config=ONE_THREAD, **options) as other:
            assert tokens_of(other.generate(PROMPTS, DRAWN, num_return_sequences=3)) == expected


def test_several_threads_get_what_each_would_alone(generator):
    alone = [tokens_of(generator.generate(PROMPTS, replace(DRAWN, seed=n), num_return_sequences=2)) for n in range(6)]
    got: dict[int, list[list[int]]] = {}

    def ask(n: int) -> None:
        got[n] = tokens_of(generator.generate(PROMPTS, replace(DRAWN, seed=n), num_return_sequences=2))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS_AFTER)
    assert [got[n] for n in range(6)] == alone


def test_without_a_seed_a_call_has_one_which_makes_it_again(generator):
    first = generator.generate([PROMPT], num_return_sequences=2)
    again = generator.generate([PROMPT], Sampling(seed=first[0].seed), num_return_sequences=2)
    assert first[0].seed == first[1].seed
    assert tokens_of(first) == tokens_of(again)
    assert first[0].seed != generator.generate([PROMPT])[0].seed


def test_asyncio_gets_the_same(generator):
    async def read(stream: Stream) -> str:
        return "".join([piece async for piece in stream])

    async def ask() -> list[list[Result] | str]:
        calls = [generator.generate_async(PROMPTS, replace(DRAWN, seed=n)) for n in range(3)]
        streams = [read(generator.stream(prompt, DRAWN, index=(p, 0))) for p, prompt in enumerate(PROMPTS)]
        return await asyncio.gather(*calls, *streams)

    answers = asyncio.run(ask())
    for n in range(3):
        assert tokens_of(answers[n]) == tokens_of(generator.generate(PROMPTS, replace(DRAWN, seed=n)))
    assert answers[3:] == [one.text for one in generator.generate(PROMPTS, DRAWN)]


def test_asyncio_may_cancel(generator):
    async def ask() -> None:
        waiting = asyncio.ensure_future(generator.generate_async(PROMPTS * 50, DRAWN, num_return_sequences=4))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(ask())
    assert generator.generate([PROMPT], GREEDY, max_new_tokens=1)
    assert not generator.scheduler._active


def test_a_loop_that_is_closed_meanwhile_stops_nothing_else(generator):
    async def leave() -> None:
        await asyncio.wait_for(generator.generate_async(PROMPTS * 50, DRAWN, num_return_sequences=4), 0.001)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(leave())
    assert generator.generate([PROMPT], GREEDY, max_new_tokens=2)[0].tokens


def test_a_broken_clock_is_its_streams_error_alone(generator):
    ticks = iter([0.0, 1.0])
    with pytest.raises(StopIteration):
        next_of(generator.stream(PROMPT, GREEDY, clock=lambda: next(ticks)))
    assert len(generator.generate([PROMPT], GREEDY, max_new_tokens=4)[0].tokens) == 4


def next_of(stream: Stream) -> None:
    """Read a stream without a generator around it, in which StopIteration is another error."""
    iterator = iter(stream)
    try:
        while True:
            next(iterator)
    except RuntimeError as error:
        raise error.__cause__ from None


def test_closing_ends_what_runs(ir):
    generator = TextGenerator(ir, config=ONE_THREAD)
    iterator = iter(generator.stream(PROMPT, GREEDY, max_new_tokens=20))
    next(iterator)
    generator.close()
    generator.close()
    rest: list[str] = []
    with suppress(Problem):  # unless all of it had come
        rest += iterator
    assert len(rest) <= 20
    assert "gpt2 scheduler" not in {thread.name for thread in threading.enumerate()}


def test_closing_lets_go_of_the_model(ir):
    with TextGenerator(ir, config=ONE_THREAD) as generator:
        engine = weakref.ref(generator.engine)
        generator.generate([PROMPT])
    gc.collect()
    assert engine() is None


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        (b"text", {}, r"^prompts: expected a text, token ids, or a list of them, got bytes: b'text'$"),
        (["a", None], {}, r"^prompt 2: expected a text or token ids, got NoneType: None$"),
        ([b"a"], {}, r"^prompt 1: expected a text or token ids, got bytes: b'a'$"),
        (7, {}, r"^prompts: expected a text, token ids, or a list of them, got int: 7$"),
        (["a", "z" * 25], {}, r"^prompt 2: the prompt has 25 tokens; at most 24 fit: shorten it$"),
        ("z" * 25, {}, r"^the prompt has 25 tokens; at most 24 fit: shorten it$"),
        ([5, 300], {}, r"^expected token ids of 0 .. 299, got 300, which is no token of the model$"),
        (["a", [5, -1]], {}, r"^prompt 2: expected token ids of 0 .. 299, got -1, which is no token of the model$"),
        ([5, 1.5], {}, r"^expected a text or token ids, got list: \[5, 1.5\]$"),
        (
            ["a"],
            {"sampling": GREEDY, "num_return_sequences": 2},
            r"^num_return_sequences: greedy text is always",
        ),
        (["a"], {"do_sample": True}, r"^do_sample: there is no such setting: temperature=0 is greedy, everything else"),
        (memoryview(b"ab"), {}, r"^prompts: expected a text, token ids, or a list of them, got memoryview: "),
        ([[5, True]], {}, r"^prompt 1: expected a text or token ids, got list: \[5, True\]$"),
        ([[5, 1.5]], {}, r"^prompt 1: expected a text or token ids, got list: \[5, 1.5\]$"),
        (["\udcff"], {}, r"^prompt 1: the text is not valid UTF-8"),
        (
            ["a"],
            {"max_new_tokens": 0, "num_beams": 2},
            r"^prompt 1: max_new_tokens: expected at least 1 for beams, got 0$",
        ),
        (["a"], {"max_new_tokens": 0, "num_return_sequences": 2}, r"^num_return_sequences: expected 1 where max_new_"),
        (["a", "b"], {"sampling": [GREEDY]}, r"^sampling: expected one for each of 2 prompts, got 1$"),
        (
            ["a"],
            {"sampling": GREEDY, "top_k": 5},
            r"^top_k: cannot be given beside a Sampling: make it",
        ),
        (
            ["a"],
            {"rules": TextRules(), "stop": "x"},
            r"^stop: cannot be given beside a TextRules: make it",
        ),
        (
            ["a"],
            {"sampling": Beams(), "num_return_sequences": 2},
            r"^num_return_sequences: cannot be given beside a",
        ),
        (
            ["a"],
            {"topk": 5},
            r"^topk: there is no such setting; did you mean top_k\?$",
        ),
        (["a"], {"top_k": 1, "num_beams": 2}, r"^num_beams, top_k: beam search does not sample: leave one out$"),
        (["a"], {"logprobs": -1}, r"^logprobs: expected a whole number from 0, or None, got int: -1$"),
        (
            ["a"],
            {"prompt_logprobs": True},
            r"^prompt_logprobs: expected a whole number from 0, or None, got bool: True$",
        ),
        (["a"], {"max_time": -1}, r"^max_time: expected a number of seconds from 0, or None, got int: -1$"),
        (["a"], {"on_progress": 1}, r"^on_progress: expected a function or None, got int: 1$"),
        (
            ["a"],
            {"num_return_sequences": 0},
            r"^num_return_sequences: expected a whole number from 1 to 1048576, got 0$",
        ),
        (["a"], {"num_return_sequences": 1_500_000_000}, r"^num_return_sequences: .* to 1048576, got 1500000000$"),
        (
            ["a"] * 3,
            {"num_return_sequences": 1 << 19},
            r"at most 1048576 texts of one call, got 1572864$",
        ),
        (["a"], {"max_new_tokens": -(10**5000)}, r"^max_new_tokens: expected a whole number from 0, got a int$"),
        (["a"], {"num_return_sequences": 1.5}, r"^num_return_sequences: "),
    ],
)
def test_what_cannot_be_generated_is_a_problem(generator, prompts, options, words):
    with pytest.raises(Problem, match=words):
        generator.generate(prompts, **options)


def test_no_prompts_have_no_results(generator):
    assert generator.generate([]) == []


def test_broken_weights_are_a_problem_of_every_call(tmp_path):
    toy = Toy(seed=79)
    toy.state["ln_f.bias"][0] = float("nan")
    with TextGenerator(toy.ir(tmp_path), config=ONE_THREAD) as generator:
        for ask in (
            lambda: generator.generate(["a", "b"]),
            lambda: generator.score("ab"),
            lambda: generator.next_tokens("a"),
        ):
            with pytest.raises(Problem, match="NaN or infinity"):
                ask()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("text", ["the rain in", "ab", "日本", "z" * 25])
def test_a_score_is_the_oracles(generator, text):
    score = generator.score(text)
    ids = generator.tokenizer.encode(text)
    assert score.tokens == ids
    assert score.logprobs.shape == (len(ids),)
    assert np.isnan(score.logprobs[0])
    expected = log_softmax(TOY.logits(ids[:-1]))[np.arange(len(ids) - 1), ids[1:]]
    np.testing.assert_allclose(score.logprobs[1:], expected, atol=1e-4)


def test_the_score_of_a_single_token_is_nan_and_of_nothing_nothing(generator):
    assert np.isnan(generator.score("z").logprobs).tolist() == [True]
    assert generator.score("").logprobs.tolist() == []


@pytest.mark.parametrize("text", ["the rain in", "z", "z" * 24, ""])
def test_a_score_after_the_start_token_has_that_of_the_first(generator, text):
    """24 positions take 24 tokens after it: the last one is only scored."""
    score = generator.score(text, add_start_token=True)
    ids = generator.tokenizer.encode(text)
    assert (score.tokens, score.start_token) == (ids, TOY.end_of_text_id)
    logits = TOY.logits([TOY.end_of_text_id, *ids][:24])[: len(ids)]
    np.testing.assert_allclose(score.logprobs, log_softmax(logits)[np.arange(len(ids)), ids], atol=1e-4)
    assert generator.score(text).start_token is None


def test_the_start_token_of_a_score_is_the_checkpoint_s_own(tmp_path):
    TOY.write(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"bos_token_id": 7}')
    with TextGenerator(TOY.ir(tmp_path), config=ONE_THREAD) as generator:
        assert generator.score("z", add_start_token=True).start_token == 7


def test_a_tokenizer_that_begins_texts_needs_no_start_token(tmp_path):
    ir = TOY.ir(tmp_path)
    TOY.write_tokenizer_that_begins_texts(tmp_path)
    with TextGenerator(ir, config=ONE_THREAD) as generator:
        score = generator.score("z", add_start_token=True)
        assert (score.tokens[0], len(score.tokens), score.start_token) == (TOY.end_of_text_id, 2, None)
        assert np.isnan(score.logprobs).tolist() == [True, False]


def test_a_model_without_a_start_token_scores_none(tmp_path):
    model = TOY.model(tmp_path)
    for fact in ("eos_token_ids", "eos_token_id", "bos_token_id"):
        model.set_rt_info("", ["omz_gpt2", fact])
    vocab = tmp_path / "vocab.json"
    vocab.write_text(vocab.read_text().replace("<|endoftext|>", "<|other|>"))
    with TextGenerator(save(model, tmp_path / "x.xml"), config=ONE_THREAD) as generator:
        line = r"^add_start_token is given, and the vocabulary has no <\|endoftext\|> to start a text with$"
        with pytest.raises(Problem, match=line):
            generator.score("z", add_start_token=True)


def test_a_text_too_long_to_be_scored_is_a_problem(generator):
    with pytest.raises(Problem, match=r"^the text has 26 tokens; at most 25 fit: shorten it$"):
        generator.score("z" * 26)
    with pytest.raises(Problem, match=r"^the text has 25 tokens; after a start token at most 24 fit: shorten it$"):
        generator.score("z" * 25, add_start_token=True)


@pytest.mark.parametrize("k", [1, 10, 300])
def test_next_tokens_are_the_oracles_likeliest(generator, k):
    found = generator.next_tokens(PROMPT, k)
    expected = log_softmax(TOY.logits(generator.tokenizer.encode(PROMPT))[-1])
    order = np.argsort(-expected, kind="stable")[:k]
    assert [one.token for one in found] == order.tolist()
    assert [one.text for one in found] == [generator.tokenizer.decode([token]) for token in order.tolist()]
    np.testing.assert_allclose([one.probability for one in found], np.exp(expected[order]), atol=1e-5)


def test_next_tokens_of_nothing_start_a_text(generator):
    assert generator.next_tokens("", 1)[0].token == TOY.greedy([TOY.end_of_text_id], 1)[0]


@pytest.mark.parametrize("k", [0, -1, 301, 1.5])
def test_a_k_out_of_range_is_a_problem(generator, k):
    with pytest.raises(Problem, match=rf"^k: .*got {k}$"):
        generator.next_tokens(PROMPT, k)


@needs_paged_attention
def test_texts_wait_for_memory_and_all_come(ir, generator):
    expected = tokens_of(generator.generate(PROMPTS * 5, DRAWN))
    block_bytes = generator.engine.back_end.block_bytes
    with TextGenerator(ir, config=ONE_THREAD, cache_budget=4 * block_bytes) as small:
        assert tokens_of(small.generate(PROMPTS * 5, DRAWN)) == expected


@needs_paged_attention
def test_the_cache_of_a_cpu_is_paged_and_of_another_device_stateful(ir, generator):
    assert (generator.engine.back_end.name, generator.prompt_lookup) == ("paged", True)
    with TextGenerator(ir, device="AUTO:CPU", config=ONE_THREAD) as other:
        assert not other.prompt_lookup
        assert (other.engine.back_end.name, other.engine.fallback) == ("stateful", None)


@needs_paged_attention
@pytest.mark.without_coverage
def test_thousands_of_generations_leave_nothing_behind(generator):
    def left() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), threading.active_count()

    def some(count: int) -> None:
        for n in range(count):
            generator.generate([PROMPT, f"{n}"], replace(DRAWN, seed=n), max_new_tokens=2, num_return_sequences=2)
            next(iter(generator.stream(f"{n} {n}", DRAWN)))

    some(100)
    generator.generate(["a"], max_new_tokens=1)
    objects, threads = left()
    some(400)
    generator.generate(["a"], max_new_tokens=1)
    assert left()[0] < objects + 300
    assert left()[1] <= threads
    blocks = generator.engine.back_end.blocks
    assert blocks.num_free_blocks() >= blocks.count - 4 * 2


def test_callers_for_whom_there_is_a_place_do_not_wait(ir):
    with TextGenerator(ir, config=ONE_THREAD, max_num_seqs=PLACES, max_waiting_callers=0) as generator:
        expected = tokens_of(generator.generate([PROMPT], DRAWN))
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(tokens_of(generator.generate([PROMPT], DRAWN))))
            for _ in range(PLACES)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [expected] * PLACES


def test_callers_past_the_limit_are_told_to_come_again(ir):
    with TextGenerator(ir, config=ONE_THREAD, max_num_seqs=PLACES, max_waiting_callers=1) as generator:
        entered, gate = threading.Event(), threading.Event()

        def hold() -> float:
            entered.set()
            assert gate.wait(HANGS_AFTER)
            return 0.0

        beginning = iter([1.0])

        def clock() -> float:
            return next(beginning, None) or hold()

        running = generator.stream(PROMPT, clock=clock)
        threads = [threading.Thread(target="".join, args=(running,))]
        threads[0].start()
        assert entered.wait(HANGS_AFTER)  # the scheduler's thread is held: nobody begins
        threads += [threading.Thread(target=generator.generate, args=([PROMPT],)) for _ in range(PLACES)]
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(generator.scheduler._groups) == PLACES)  # all but one have a place
        with pytest.raises(Busy, match=r"^1 callers are waiting already: try again later$"):
            generator.generate([PROMPT])
        gate.set()
        for thread in threads:
            thread.join()
