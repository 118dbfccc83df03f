"""Features of our engine only: prompt lookup on repetitive text, appending to a cached prompt, Python's overhead."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gpt2_text_prediction import TextGenerator
from gpt2_text_prediction.engine import MAX_DECODE_TOKENS, Engine, PrefixCache, SequenceCache, StepInput
from gpt2_text_prediction.generation import GenerateRequest, Prompt, RequestParams, Sampling
from gpt2_tools.benchmark.engine.inference_hook import Infer, inference_replaced
from gpt2_tools.benchmark.figures import Figure

Clock = Callable[[], float]
GREEDY = Sampling(temperature=0)
GREEDY_TO_THE_LENGTH = Sampling(temperature=0, ignore_eos=True)


class Script:
    """A prompt and its continuation, generated as if the model had chosen it.

    So the speed is that of the text, whatever the weights, which may be random.
    """

    def __init__(self, tokens: Sequence[int], prompt_tokens: int) -> None:
        self.prompt = list(tokens[:prompt_tokens])
        self.continuation = list(tokens[prompt_tokens:])

    def speed(self, engine: Engine, lookup: bool, clock: Clock = time.perf_counter) -> float:
        """Return the tokens/s after the first token, with prompt lookup or without; sampling takes its usual time."""
        plan = RequestParams(GREEDY, (0, 0, 0), len(self.continuation), prompt_lookup=lookup)
        generation = GenerateRequest(Prompt(self.prompt), plan, PrefixCache(), lambda _: None)
        generation.start()
        self._step(engine, generation, len(self.prompt))
        start = clock()
        while not generation.done:
            self._step(engine, generation, MAX_DECODE_TOKENS)
        return (len(self.continuation) - 1) / (clock() - start)

    def _step(self, engine: Engine, generation: GenerateRequest, max_tokens: int) -> None:
        (logits,) = engine.step(generation.next_inputs(max_tokens))
        for row, token in zip(logits, self.continuation[len(generation.tokens) :], strict=False):
            row[token] = row.max() + 1  # greedy sampling now chooses the script's token
        generation.process_logits([logits])


def lookup_figures(engine: Engine, scripts: dict[str, Script], runs: int) -> dict[str, Figure]:
    """Return the tokens/s of each script with prompt lookup and without, in turns, and their ratios."""
    figures = {}
    for name, script in scripts.items():
        pairs = [(script.speed(engine, True), script.speed(engine, False)) for _ in range(runs + 1)][1:]
        drafted, plain = (Figure("tokens/s", tuple(speeds)) for speeds in zip(*pairs, strict=True))
        figures[f"prompt lookup, {name}"] = drafted
        figures[f"prompt lookup, {name}, plain"] = plain
        figures[f"prompt lookup, {name} / plain"] = Figure("x", tuple(fast / slow for fast, slow in pairs))
    return figures


def appended_figures(
    engine: Engine, length: int, runs: int, rng: random.Random, clock: Clock = time.perf_counter
) -> dict[str, Figure]:
    """Return the time of the last tenth of a prompt, the rest being cached, and that of the whole prompt, in turns."""
    appended = length // 10
    cached = length - appended

    def seconds(cache: SequenceCache, tokens: list[int]) -> float:
        start = clock()
        engine.step([StepInput(cache, tokens)])
        return clock() - start

    def once() -> tuple[float, float]:
        cache = SequenceCache()
        engine.step([StepInput(cache, draw(engine, cached, rng))])
        return seconds(cache, draw(engine, appended, rng)), seconds(SequenceCache(), draw(engine, length, rng))

    pairs = [once() for _ in range(runs + 1)][1:]
    return {
        f"{appended} appended to {cached}": Figure("ms", tuple(part * 1e3 for part, _ in pairs)),
        f"{length} recomputed": Figure("ms", tuple(whole * 1e3 for _, whole in pairs)),
        f"{appended} appended to {cached} / {length} recomputed": Figure(
            "x", tuple(part / whole for part, whole in pairs)
        ),
    }


def python_figures(
    generator: TextGenerator, prompt_tokens: int, new_tokens: int, runs: int, rng: random.Random
) -> dict[str, Figure]:
    """Return the share of a whole generation that is not spent in infer calls."""
    shares = []
    for _ in range(runs + 1):
        prompt = draw(generator.engine, prompt_tokens, rng)
        with inference_clock() as inference:
            seconds, _, _ = generate(generator, [prompt], new_tokens)
        shares.append(100 * (1 - sum(inference) / seconds))
    return {"Python's share of a step": Figure("%", tuple(shares[1:]))}


def generate(
    generator: TextGenerator, prompts: list[list[int]], new_tokens: int
) -> tuple[float, float | None, list[list[int]]]:
    """Continue prompts in one batch, greedily, ignoring end-of-text; return the same as runner.Generate."""
    start = time.perf_counter()
    results = generator.generate(prompts, GREEDY_TO_THE_LENGTH, max_new_tokens=new_tokens, logprobs=None)
    seconds = time.perf_counter() - start
    first = min(result.perf_metrics.ttft for result in results) / 1e3
    return seconds, first, [result.tokens for result in results]


@contextmanager
def inference_clock(clock: Clock = time.perf_counter) -> Iterator[list[float]]:
    """Collect the seconds of every infer call of this process."""
    times: list[float] = []

    def timed(infer: Infer) -> Infer:
        def call(*args: Any, **options: Any) -> Any:
            start = clock()
            try:
                return infer(*args, **options)
            finally:
                times.append(clock() - start)

        return call

    with inference_replaced(timed):
        yield times


def draw(engine: Engine, count: int, rng: random.Random) -> list[int]:
    """Return random tokens, which are in no prefix cache."""
    return [rng.randrange(engine.vocab_size) for _ in range(count)]
