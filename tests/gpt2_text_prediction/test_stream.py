"""stream: text as it is made, where it ends, and what becomes of it when nobody reads on."""

import itertools

import pytest

from gpt2_text_prediction import Problem, Sampling, Stream, TextGenerator
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=24)
GREEDY = Sampling(temperature=0)
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
    assert len(stream.prompt_tokens) + len(stream.tokens) == 24
    assert (stream.finish_reason, stream.out_of_positions) == ("length", True)
    assert stream.tokens == TOY.greedy(stream.prompt_tokens, len(stream.tokens))


def test_the_end_of_the_positions_is_told_even_where_max_new_tokens_ends_too(generator):
    room = 24 - len(generator.tokenizer.encode(PROMPT))
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
        assert "".join(pieces) == generator.tokenizer.decode(stream.tokens)


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


@pytest.mark.parametrize("pieces", range(4))
def test_leaving_a_stream_frees_its_row(generator, pieces):
    stream = generator.stream(PROMPT, GREEDY)
    iterator = iter(stream)
    for _ in range(pieces):
        next(iterator)
    iterator.close()
    generator.generate(["a"], GREEDY, max_new_tokens=1)
    assert not generator.scheduler._active
    assert stream.finish_reason is None


def test_a_stream_is_read_once(generator):
    stream = generator.stream(PROMPT, GREEDY, max_new_tokens=2)
    assert list(stream)
    with pytest.raises(RuntimeError, match="once"):
        list(stream)


def test_an_unknown_token_is_a_problem_before_anything_is_written(generator):
    unknown = {TOY.vocab_size: 1.0}
    with pytest.raises(Problem, match=r"^logit_bias: expected token ids of 0 .. 299, got 300$"):
        generator.stream(PROMPT, Sampling(logit_bias=unknown))
