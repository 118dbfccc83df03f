"""streams: figures by hand; every stream has a thread of its own and the oracle's tokens. No time is judged."""

from threading import Barrier, Event

import pytest

from gpt2_text_prediction import TextGenerator
from gpt2_tools.benchmark.engine.streams import (
    Round,
    StreamTimes,
    check_streams,
    measure_streams,
    read_streams,
    stream_figures,
)
from gpt2_tools.benchmark.engine.workload import Lengths
from gpt2_tools.benchmark.figures import Repeats
from gpt2_tools.common.problem import Problem
from support import HANGS_AFTER
from support.toy import ONE_THREAD, Toy

TOY = Toy(n_positions=32)
FIRST_BEGINS_AT_10 = [[10.0, 12.0, 12.5, 13.0], [10.5, 11.0, 11.5, 13.0], [10.25, 14.0, 14.125, 14.5]]
STREAMS = StreamTimes.of(FIRST_BEGINS_AT_10)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    with TextGenerator(TOY.ir(tmp_path_factory.mktemp("toy")), config=ONE_THREAD, max_num_seqs=2) as generator:
        yield generator


def test_times_are_from_the_moment_when_the_first_began():
    assert STREAMS.tokens == [[2.0, 2.5, 3.0], [1.0, 1.5, 3.0], [4.0, 4.125, 4.5]]
    assert STREAMS.first_tokens() == [2.0, 1.0, 4.0]
    assert STREAMS.throughput() == 2.0  # nine tokens in 4.5 seconds


def test_a_step_is_the_median_gap_of_the_stream_that_began_last():
    assert STREAMS.step() == 0.25  # of 0.125 and 0.375


def test_the_bound_is_of_the_prompts_alone_and_two_steps():
    assert Round(1.0, STREAMS, STREAMS).bound() == 2.0
    assert Round(3.0, STREAMS, STREAMS).bound() == 5.0


def test_the_figures_of_two_rounds():
    slower = StreamTimes([[2.0, 5.0], [8.0, 9.0], [3.0, 4.0]])
    figures = stream_figures([Round(1.0, STREAMS, slower), Round(3.0, STREAMS, STREAMS)], 4)
    assert {name: (figure.unit, *figure.values) for name, figure in figures.items()} == {
        "prefill of all prompts": ("tokens/s", 12.0, 4.0),  # three prompts of four tokens
        "step": ("ms", 250.0, 250.0),
        "first token, median": ("s", 2.0, 2.0),
        "first token, last": ("s", 4.0, 4.0),
        "bound of the last": ("s", 2.0, 5.0),
        "first token, last / bound": ("x", 2.0, 0.8),
        "throughput": ("tokens/s", 2.0, 2.0),
        "first token, last, max_num_seqs 16": ("s", 8.0, 4.0),
        "throughput, max_num_seqs 16": ("tokens/s", pytest.approx(2 / 3), 2.0),
        "throughput / max_num_seqs 16": ("x", pytest.approx(3.0), 1.0),
    }


def test_the_streams_have_the_tokens_of_the_oracle(generator):
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12], [5, 6, 7], [200, 100]]
    streams = read_streams(generator, prompts, 6)
    assert [stream.tokens for stream in streams] == [TOY.greedy(prompt, 6) for prompt in prompts]
    for stream in streams:
        assert (len(stream.times), stream.times) == (7, sorted(stream.times))


class Recorded:
    """A generator whose calls are noted."""

    def __init__(self, generator):
        self.engine, self._generator = generator.engine, generator
        self.generated, self.streamed = [], []

    def generate(self, prompts, sampling, *, max_new_tokens, **options):
        self.generated.append((prompts, max_new_tokens))
        return self._generator.generate(prompts, sampling, max_new_tokens=max_new_tokens, **options)

    def stream(self, prompt, sampling, *, max_new_tokens):
        self.streamed.append(prompt)
        return self._generator.stream(prompt, sampling, max_new_tokens=max_new_tokens)


def test_rounds_have_new_prompts_and_both_generators_the_same(generator):
    measured, base = Recorded(generator), Recorded(generator)
    rounds = measure_streams(measured, base, 3, Lengths(5, 2), Repeats(1, 2))
    assert [[len(times) for times in each.tokens] for _, *both in rounds for each in both] == [[2, 2, 2]] * 4
    assert measured.streamed == base.streamed
    assert base.generated == []
    assert [(len(prompts), new) for prompts, new in measured.generated] == [
        (3, 1)
    ] * 6  # two a round, the warm-up among them
    drawn = [*measured.streamed, *(prompt for prompts, _ in measured.generated for prompt in prompts)]
    assert {len(prompt) for prompt in drawn} == {5}
    assert len(set(map(tuple, drawn))) == len(drawn) == 27  # none is in the prefix cache


class FakeStreams:
    """A generator whose streams, one for each function, run it in place of a model."""

    def __init__(self, *functions):
        self._functions = iter(functions)
        self.cancelled = []
        self.all_cancelled = Event()

    def stream(self, prompt, sampling, *, max_new_tokens):
        return FakeStream(self, prompt, next(self._functions))


class FakeStream:
    def __init__(self, streams, prompt, function):
        self._streams, self._prompt, self._function = streams, prompt, function

    def __iter__(self):
        self._function()
        return iter(())

    def cancel(self):
        self._streams.cancelled.append(self._prompt)
        self._streams.all_cancelled.set()


def test_the_streams_run_in_as_many_threads_at_once():
    all_at_once = Barrier(20, timeout=HANGS_AFTER)
    read_streams(FakeStreams(*[all_at_once.wait] * 20), [[n] for n in range(20)], 1)


@pytest.mark.parametrize("error", [Problem("no memory"), KeyboardInterrupt()])
def test_the_error_of_one_ends_the_others(error):
    def fail():
        raise error

    streams = FakeStreams(lambda: streams.all_cancelled.wait(HANGS_AFTER), lambda: None, fail)
    with pytest.raises(type(error)) as caught:
        read_streams(streams, [[1], [2], [3]], 1)
    assert caught.value is error
    assert streams.cancelled == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("count", "lengths", "line"),
    [
        (1025, Lengths(4, 2), "--streams: expected at most 1024 streams, got 1025"),
        (1024, Lengths(4, 1), "-M: expected at least 2 new tokens, got 1"),
        (1024, Lengths(4, 13), "-p and -M: expected at most 16 tokens together, got 17"),
    ],
)
def test_streams_of_no_use(count, lengths, line):
    check_streams(1024, Lengths(4, 12), 16)
    with pytest.raises(Problem) as caught:
        check_streams(count, lengths, 16)
    assert str(caught.value) == line
