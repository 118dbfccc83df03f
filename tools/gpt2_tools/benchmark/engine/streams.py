"""Streams that as many threads read from the same moment on: their first tokens, and the tokens/s of all of them.

The last first token is judged by a bound: half as long again as the prompts alone take in one call, and two steps.
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from threading import Barrier
from typing import NamedTuple

from gpt2_text_prediction import Stream, TextGenerator
from gpt2_tools.benchmark.engine.features import GREEDY_TO_THE_LENGTH, draw, generate
from gpt2_tools.benchmark.engine.workload import Lengths
from gpt2_tools.benchmark.figures import Figure, Repeats
from gpt2_tools.common.problem import Problem

BASE_NUM_SEQS = 16
"""max_num_seqs of the generator beside which the streams are measured."""
MOST_STREAMS = 1024
"""Each is a thread."""
BOUND_PREFILLS, BOUND_STEPS = 1.5, 2


@dataclass(frozen=True)
class StreamTimes:
    """For each stream, the seconds from the moment when the first began to each of its tokens."""

    tokens: list[list[float]]

    @classmethod
    def of(cls, clock_times: Sequence[Sequence[float]]) -> "StreamTimes":
        """Return those of streams, of each of which the first time is its beginning, as Stream.times has it."""
        moment = min(times[0] for times in clock_times)
        return cls([[time - moment for time in times[1:]] for times in clock_times])

    def first_tokens(self) -> list[float]:
        """Return the time to first token of each stream."""
        return [times[0] for times in self.tokens]

    def step(self) -> float:
        """Return the median time between tokens of the stream that got its first token last: all others had theirs."""
        last = max(self.tokens, key=lambda times: times[0])
        return median(after - before for before, after in pairwise(last))

    def throughput(self) -> float:
        """Return the tokens/s of all streams, from the moment when the first began to the last token of all."""
        return sum(map(len, self.tokens)) / max(times[-1] for times in self.tokens)


class Round(NamedTuple):
    """One repetition: the seconds of as many prompts alone, the streams, and the same streams at BASE_NUM_SEQS."""

    prefill: float
    streams: StreamTimes
    base: StreamTimes

    def bound(self) -> float:
        """Return the seconds within which all streams should have their first tokens."""
        return BOUND_PREFILLS * self.prefill + BOUND_STEPS * self.streams.step()


def check_streams(count: int, lengths: Lengths, n_positions: int) -> None:
    """Raise Problem for more streams than there may be, and for lengths that do not fit the model."""
    if count > MOST_STREAMS:
        raise Problem(f"--streams: expected at most {MOST_STREAMS} streams, got {count}")
    lengths.check(n_positions)


def measure_streams(
    generator: TextGenerator, base: TextGenerator, count: int, lengths: Lengths, repeats: Repeats
) -> list[Round]:
    """Return the rounds; in each, as many prompts alone run before the streams and after them, then the others.

    So the mean of both sees the machine load that the streams see.
    """
    rng = random.Random(0)

    def prompts() -> list[list[int]]:
        return [draw(generator.engine, lengths.prompt_tokens, rng) for _ in range(count)]

    def times(of: TextGenerator, drawn: list[list[int]]) -> StreamTimes:
        return StreamTimes.of([stream.times for stream in read_streams(of, drawn, lengths.new_tokens)])

    def prefill() -> float:
        seconds, _, _ = generate(generator, prompts(), 1)
        return seconds

    def once() -> Round:
        drawn = prompts()  # others than those of the prefill, which are then in the prefix cache
        before, streams, after = prefill(), times(generator, drawn), prefill()
        return Round((before + after) / 2, streams, times(base, drawn))

    return repeats.of(once)


def read_streams(generator: TextGenerator, prompts: Sequence[list[int]], new_tokens: int) -> list[Stream]:
    """Continue each prompt by a stream that a thread of its own reads to the end; all begin at the same moment."""
    streams = [generator.stream(prompt, GREEDY_TO_THE_LENGTH, max_new_tokens=new_tokens) for prompt in prompts]
    start = Barrier(len(streams))

    def read(stream: Stream) -> None:
        start.wait()
        for _ in stream:  # from the first piece that is asked for, it is computed
            pass

    with ThreadPoolExecutor(len(streams)) as threads:
        try:
            for ended in as_completed([threads.submit(read, stream) for stream in streams]):
                ended.result()
        except BaseException:  # such as Ctrl-C, which would wait for all the threads
            start.abort()
            for stream in streams:
                stream.cancel()
            raise
    return streams


def stream_figures(rounds: Sequence[Round], prompt_tokens: int) -> dict[str, Figure]:
    """Return the figures of the rounds, given the tokens of a prompt."""

    def figure(unit: str, value: Callable[[Round], float]) -> Figure:
        return Figure(unit, tuple(map(value, rounds)))

    total = prompt_tokens * len(rounds[0].streams.tokens)
    base = f"max_num_seqs {BASE_NUM_SEQS}"
    return {
        "prefill of all prompts": figure("tokens/s", lambda each: total / each.prefill),
        "step": figure("ms", lambda each: each.streams.step() * 1e3),
        "first token, median": figure("s", lambda each: median(each.streams.first_tokens())),
        "first token, last": figure("s", lambda each: max(each.streams.first_tokens())),
        "bound of the last": figure("s", Round.bound),
        "first token, last / bound": figure("x", lambda each: max(each.streams.first_tokens()) / each.bound()),
        "throughput": figure("tokens/s", lambda each: each.streams.throughput()),
        f"first token, last, {base}": figure("s", lambda each: max(each.base.first_tokens())),
        f"throughput, {base}": figure("tokens/s", lambda each: each.base.throughput()),
        f"throughput / {base}": figure("x", lambda each: each.streams.throughput() / each.base.throughput()),
    }
