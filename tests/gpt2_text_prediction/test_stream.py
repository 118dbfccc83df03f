"""stream: text as it is made, where it ends, and what becomes of it when nobody reads on."""

import asyncio
import itertools
import threading
import time

import pytest

from gpt2_text_prediction import Busy, Problem, Sampling, Stream, TextGenerator, TextRules
from support import HANGS_AFTER, until
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=24)
GREEDY = Sampling(temperature=0)
DRAWN = Sampling(temperature=1.5, top_p=1, seed=5)
SLIDE = TextRules(context_overflow="slide")
PROMPT = "the rain in"


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    with TextGenerator(TOY.ir(tmp_path_factory.mktemp("stream")), config=ONE_THREAD) as loaded:
        yield loaded


def finished(stream: Stream) -> tuple[str, Stream]:
    return "".join(stream), stream


def test_it_stops_at_max_new_tokens(generator):
    text, stream = finished(generator.stream(PROMPT, GREEDY, max_new_tokens=3))
    assert len(stream.tokens) == 3
    assert (stream.finish_reason, stream.out_of_positions) == ("length", False)
    assert text == generator.tokenizer.decode(stream.tokens)


def test_it_stops_where_the_positions_end(generator):
    _, stream = finished(generator.stream(PROMPT, GREEDY, max_new_tokens=1000))
    assert len(stream.prompt_tokens) + len(stream.tokens) == 24 + 1  # the last is not computed
    assert (stream.finish_reason, stream.out_of_positions) == ("length", True)
    assert stream.tokens == TOY.greedy(stream.prompt_tokens, len(stream.tokens))


def test_the_end_of_the_positions_is_told_even_where_max_new_tokens_ends_too(generator):
    room = 25 - len(generator.tokenizer.encode(PROMPT))
    assert finished(generator.stream(PROMPT, GREEDY, max_new_tokens=room))[1].out_of_positions
    assert not finished(generator.stream(PROMPT, GREEDY, max_new_tokens=room - 1))[1].out_of_positions


def test_two_streams_taken_in_turns_do_not_disturb_each_other(generator):
    alone = [finished(generator.stream(prompt, GREEDY, max_new_tokens=6))[1].tokens for prompt in (PROMPT, "else")]
    streams = [generator.stream(prompt, GREEDY, max_new_tokens=6) for prompt in (PROMPT, "else")]
    for _ in itertools.zip_longest(*streams):
        pass
    assert [stream.tokens for stream in streams] == alone


def test_text_is_made_as_it_is_asked_for(generator):
    stream = generator.stream(PROMPT, GREEDY, max_new_tokens=10)
    assert (stream.tokens, stream.finish_reason, stream.times) == ([], None, [])
    piece = next(iter(stream))
    assert generator.tokenizer.decode(stream.tokens).startswith(piece.rstrip("\ufffd"))
    assert 1 <= len(stream.tokens) < 10
    assert stream.finish_reason is None


def test_no_piece_is_empty_and_together_they_are_the_text(generator):
    for seed in range(10):
        stream = generator.stream(PROMPT, Sampling(seed=seed, temperature=3.0, top_p=1))
        pieces = list(stream)
        assert all(pieces)
        ends = stream.finish_reason == "stop"
        assert "".join(pieces) == generator.tokenizer.decode(stream.tokens[: len(stream.tokens) - ends])


def test_the_clock_is_read_at_the_start_and_after_each_step(generator):
    ticks = itertools.count()
    _, stream = finished(generator.stream(PROMPT, GREEDY, max_new_tokens=5, clock=lambda: next(ticks)))
    assert stream.times == [0, 1, 2, 3, 4, 5]


def test_broken_weights_are_a_problem_of_the_stream(tmp_path):
    toy = Toy(seed=78)
    toy.state["ln_f.bias"][0] = float("nan")
    with (
        TextGenerator(toy.ir(tmp_path), config=ONE_THREAD) as generator,
        pytest.raises(Problem, match="NaN or infinity"),
    ):
        list(generator.stream("a"))


@pytest.mark.parametrize("leave", [Stream.close, Stream.cancel, Stream.__del__], ids=["closed", "cancelled", "dropped"])
@pytest.mark.parametrize("pieces", range(4))
def test_leaving_a_stream_frees_its_place(generator, pieces, leave):
    stream = generator.stream(PROMPT, GREEDY)
    for _ in range(pieces):
        next(stream)
    leave(stream)
    generator.generate(["a"], GREEDY, max_new_tokens=1)
    assert not generator.scheduler._active


def test_a_stream_that_nobody_refers_to_is_cancelled(generator):
    next(generator.stream(PROMPT, GREEDY))
    generator.generate(["a"], GREEDY, max_new_tokens=1)
    assert not generator.scheduler._active


def test_a_stream_goes_on_where_it_was_left(generator):
    whole, stream = finished(generator.stream(PROMPT, GREEDY, max_new_tokens=6))
    with generator.stream(PROMPT, GREEDY, max_new_tokens=6) as again:
        first = next(again)
        assert first + "".join(again) == whole
    assert list(again) == []
    assert again.result.tokens == stream.tokens


def test_the_result_is_there_at_the_end_and_is_that_of_generate(generator):
    stream = generator.stream(PROMPT, DRAWN, max_new_tokens=8, index=(1, 2), logprobs=3, prompt_logprobs=1)
    with pytest.raises(RuntimeError, match="has not ended: iterate to its end, or close it"):
        stream.result  # noqa: B018
    text = "".join(stream)
    results = generator.generate(
        ["a", PROMPT], DRAWN, max_new_tokens=8, num_return_sequences=3, logprobs=3, prompt_logprobs=1
    )
    ours, theirs = stream.result.to_dict(), results[5].to_dict()
    assert ours.pop("perf_metrics").keys() == theirs.pop("perf_metrics").keys()
    assert ours == theirs
    assert (text, stream.tokens, stream.finish_reason) == (theirs["text"], theirs["tokens"], theirs["finish_reason"])


def test_one_event_a_token_whose_texts_are_the_text(generator):
    stream = generator.stream(PROMPT, DRAWN, max_new_tokens=12)
    events = list(stream.events())
    assert [event.id for event in events] == stream.tokens
    assert "".join(event.text for event in events) == stream.result.text
    assert [event.finish_reason for event in events] == [None] * (len(events) - 1) + [stream.finish_reason]
    assert b"".join(event.bytes for event in events) == b"".join(map(generator.tokenizer.token_bytes, stream.tokens))
    assert [event.time for event in events] == stream.times[1:]


@pytest.mark.parametrize("pieces", range(3))
def test_what_was_read_of_a_closed_stream_is_its_result(generator, pieces):
    stream = generator.stream(PROMPT, GREEDY)
    text = "".join(next(stream) for _ in range(pieces))
    stream.close()
    stream.close()
    assert (stream.result.text, stream.result.finish_reason) == (text, "cancelled")
    assert stream.result.tokens == TOY.greedy(stream.prompt_tokens, len(stream.tokens))
    assert list(stream) == []


def test_a_stream_is_cancelled_from_another_thread_and_what_was_computed_is_read(generator):
    stream = generator.stream(PROMPT, GREEDY, max_new_tokens=10_000, rules=TextRules(context_overflow="slide"))
    text = next(stream)
    thread = threading.Thread(target=stream.cancel)
    thread.start()
    text += "".join(stream)
    thread.join()
    assert stream.finish_reason == "cancelled"
    assert text == stream.result.text
    assert len(stream.tokens) < 10_000


def test_a_text_ends_at_its_time(generator):
    stream = generator.stream(PROMPT, GREEDY, max_new_tokens=10**6, context_overflow="slide", max_time=0.1)
    text = "".join(stream)
    assert (stream.finish_reason, stream.result.text) == ("time", text)
    (none,) = generator.generate(PROMPT, GREEDY, max_time=0)
    assert (none.finish_reason, none.tokens, none.text, none.logprobs.size) == ("time", [], "", 0)
    (beam,) = generator.generate(PROMPT, num_beams=2, max_new_tokens=10, max_time=1000)
    assert beam.finish_reason == "length"


def test_in_asyncio_it_is_the_same_and_is_read_in_one_way_only(generator):
    async def read() -> tuple[list[str], list[int], str]:
        stream = generator.stream(PROMPT, GREEDY, max_new_tokens=6)
        pieces = [piece async for piece in stream]
        events = [event.id async for event in generator.stream(PROMPT, GREEDY, max_new_tokens=6).events()]
        begun = generator.stream(PROMPT, GREEDY, max_new_tokens=6)
        await anext(begun)
        with pytest.raises(RuntimeError, match="by threads or by asyncio, not by both"):
            next(begun)
        begun.close()
        return pieces, events, stream.result.text

    pieces, events, text = asyncio.run(read())
    plain = generator.stream(PROMPT, GREEDY, max_new_tokens=6)
    assert (pieces, text) == (list(plain), "".join(pieces))
    assert events == plain.tokens


def test_after_an_error_a_stream_raises_it_again(tmp_path):
    toy = Toy(seed=78)
    toy.state["ln_f.bias"][0] = float("nan")
    with TextGenerator(toy.ir(tmp_path), config=ONE_THREAD) as broken:
        stream = broken.stream("a")
        for _ in range(2):
            with pytest.raises(Problem, match="NaN or infinity"):
                next(stream)


def in_threads(*work) -> None:
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS_AFTER)
        assert not thread.is_alive()


@pytest.mark.parametrize("after", [0, 1e-5, 1e-4, 1e-3])
def test_a_stream_may_be_cancelled_while_another_thread_begins_it(generator, after):
    for _ in range(10):
        stream = generator.stream(PROMPT, GREEDY, max_new_tokens=10**6, rules=SLIDE)

        def cancel(stream=stream) -> None:
            time.sleep(after)
            stream.cancel()

        in_threads(lambda stream=stream: list(stream), cancel)
        assert stream.finish_reason == "cancelled"
    generator.generate("a", GREEDY, max_new_tokens=1)
    assert not generator.scheduler._active


def test_several_readers_share_a_stream_and_all_see_its_end(generator):
    whole, _ = finished(generator.stream(PROMPT, GREEDY, max_new_tokens=12))
    stream, read = generator.stream(PROMPT, GREEDY, max_new_tokens=12), []
    in_threads(*[lambda: read.extend(stream)] * 4)
    assert sorted("".join(read)) == sorted(whole)
    assert stream.result.text == whole

    async def both() -> list[str]:
        shared = generator.stream(PROMPT, GREEDY, max_new_tokens=12)

        async def take() -> list[str]:
            return [piece async for piece in shared]

        first, second = await asyncio.gather(take(), take())
        return first + second

    assert sorted("".join(asyncio.run(both()))) == sorted(whole)


def test_a_result_never_changes(generator):
    for _ in range(20):
        stream = generator.stream(PROMPT, GREEDY, max_new_tokens=12)
        seen = []

        def close(stream=stream, seen=seen) -> None:
            stream.close()
            seen.append(stream.result)

        in_threads(lambda stream=stream: list(stream), close)
        assert stream.result is seen[0]


def test_a_stream_that_has_failed_stays_so_when_it_is_closed(generator):
    stream = generator.stream(PROMPT, GREEDY, clock=lambda: None)  # of which no times can be made
    for _ in range(2):
        with pytest.raises(TypeError):
            list(stream)
        stream.close()
    with pytest.raises(TypeError):
        stream.result  # noqa: B018


def test_a_stream_that_found_no_place_may_be_tried_again(tmp_path):
    with TextGenerator(TOY.ir(tmp_path), config=ONE_THREAD, max_num_seqs=1, max_waiting_callers=0) as busy:
        gate, entered = threading.Event(), threading.Event()

        def hold() -> float:
            entered.set()
            assert gate.wait(HANGS_AFTER)
            return 0.0

        ticks = iter([1.0])
        first = busy.stream(PROMPT, GREEDY, max_new_tokens=2, clock=lambda: next(ticks, None) or hold())
        thread = threading.Thread(target=list, args=(first,))
        thread.start()
        assert entered.wait(HANGS_AFTER)
        second = busy.stream(PROMPT, GREEDY, max_new_tokens=2)
        with pytest.raises(Busy):
            next(second)
        gate.set()
        thread.join(HANGS_AFTER)
        assert list(second)


def test_dropping_a_stream_waits_for_no_lock(generator):
    stream = generator.stream(PROMPT, GREEDY, max_new_tokens=10**6, rules=SLIDE)
    next(stream)
    held, let_go = threading.Event(), threading.Event()
    scheduler = generator.scheduler

    def hold() -> None:
        with scheduler._lock:
            held.set()
            assert let_go.wait(HANGS_AFTER)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(HANGS_AFTER)
    del stream  # as the collector may, in a thread that a holder of the lock waits for
    let_go.set()
    thread.join(HANGS_AFTER)
    until(lambda: not scheduler._active)


def test_a_stream_is_one_text(generator):
    with pytest.raises(Problem, match=r"^num_return_sequences: a stream is one text, got 3: give index$"):
        generator.stream(PROMPT, num_return_sequences=3)


def test_an_unknown_token_is_a_problem_before_anything_is_written(generator):
    unknown = {TOY.vocab_size: 1.0}
    with pytest.raises(Problem, match=r"^logit_bias: expected token ids of 0 .. 299, got 300$"):
        generator.stream(PROMPT, Sampling(logit_bias=unknown))
