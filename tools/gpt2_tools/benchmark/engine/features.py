"""What only our own engine is measured at: drafts on repetitive text, a longer prompt, Python's share of a step."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np

from gpt2_text_prediction.engine.engine import Engine
from gpt2_text_prediction.engine.scheduler import DRAFTED
from gpt2_text_prediction.engine.sequence import Cache, Row
from gpt2_text_prediction.engine.waiting import raise_error
from gpt2_text_prediction.generation.prompt_lookup import PromptLookup
from gpt2_text_prediction.generation.request import Generation, Prompt
from gpt2_text_prediction.generation.sampling import Sampling, choose
from gpt2_text_prediction.generator import TextGenerator
from gpt2_tools.benchmark.engine.inference_hook import Infer, inference_replaced
from gpt2_tools.benchmark.figures import Figure

Clock = Callable[[], float]
GREEDY = Sampling(temperature=0)


class Script:
    """A text to be written: its prompt, and what a model is taken to have chosen behind it.

    So that the figure is of the text, not of the weights, which may be random.
    """

    def __init__(self, tokens: Sequence[int], prompt_tokens: int) -> None:
        self.prompt = list(tokens[:prompt_tokens])
        self.chosen = list(tokens[prompt_tokens:])

    def write(self, engine: Engine, lookup: bool, clock: Clock = time.perf_counter) -> float:
        """Return the tokens/s behind the first one, with drafts or plainly; each token is drawn all the same."""
        drafts = PromptLookup(self.prompt)
        cache, written = Cache(), 1
        (logits,) = engine.step([Row(cache, self.prompt)])
        self._draw(logits)
        drafts.push(self.chosen[0])
        start = clock()
        while written < len(self.chosen):
            left = len(self.chosen) - written
            draft = drafts.draft(min(DRAFTED, left) - 1) if lookup else []
            past = len(self.prompt) + written - 1
            new = [self.chosen[written - 1], *draft]
            (logits,) = engine.step([Row(cache, new, past, range(len(new)))])
            right = self._right(draft, written)
            self._draw(logits[: right + 1])
            if draft:
                drafts.learn(len(draft), right)
            for token in self.chosen[written : written + right + 1]:
                drafts.push(token)
            written += right + 1
        return (written - 1) / (clock() - start)

    def _right(self, draft: Sequence[int], written: int) -> int:
        """Return how many tokens of a draft are chosen."""
        chosen = self.chosen[written : written + len(draft)]
        return next((place for place, token in enumerate(draft) if token != chosen[place]), len(draft))

    @staticmethod
    def _draw(logits: Any) -> None:  # [W, V]
        rng = np.random.default_rng(0)
        for row in logits:
            choose(row, GREEDY, rng)


def lookup_figures(engine: Engine, scripts: dict[str, Script], runs: int) -> dict[str, Figure]:
    """Return tokens/s of each script with drafts and plainly, in turns, and their ratios."""
    figures = {}
    for name, script in scripts.items():
        pairs = [(script.write(engine, True), script.write(engine, False)) for _ in range(runs + 1)][1:]
        drafted, plain = (Figure("tokens/s", tuple(speeds)) for speeds in zip(*pairs, strict=True))
        figures[f"prompt lookup, {name}"] = drafted
        figures[f"prompt lookup, {name}, plain"] = plain
        figures[f"prompt lookup, {name} / plain"] = Figure("x", tuple(fast / slow for fast, slow in pairs))
    return figures


def appended_figures(
    engine: Engine, length: int, runs: int, rng: random.Random, clock: Clock = time.perf_counter
) -> dict[str, Figure]:
    """Return what the last tenth of a prompt costs behind the rest, and what all of it costs, in turns."""
    appended = length // 10
    held = length - appended

    def seconds(cache: Cache, tokens: list[int]) -> float:
        start = clock()
        engine.step([Row(cache, tokens)])
        return clock() - start

    def once() -> tuple[float, float]:
        cache = Cache()
        engine.step([Row(cache, draw(engine, held, rng))])
        return seconds(cache, draw(engine, appended, rng)), seconds(Cache(), draw(engine, length, rng))

    pairs = [once() for _ in range(runs + 1)][1:]
    return {
        f"{appended} appended to {held}": Figure("ms", tuple(some * 1e3 for some, _ in pairs)),
        f"{length} recomputed": Figure("ms", tuple(whole * 1e3 for _, whole in pairs)),
        f"{appended} appended to {held} / {length} recomputed": Figure("x", tuple(some / all_ for some, all_ in pairs)),
    }


def python_figures(
    generator: TextGenerator, prompt_tokens: int, new_tokens: int, runs: int, rng: random.Random
) -> dict[str, Figure]:
    """Return how much of a whole generation is not spent in the inference calls."""
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
    """Continue prompts together, greedily, past any end; return what runner.Generate does."""
    ended: SimpleQueue[Generation] = SimpleQueue()
    times: list[float] = []
    sampling = Sampling(temperature=0, ignore_eos=True)
    start = time.perf_counter()
    generations = [
        generator.generation(
            Prompt(prompt),
            generator.plan(sampling, (0, number, 0), new_tokens, with_logprobs=False),
            ended.put,
            lambda _: times.append(time.perf_counter() - start),
        )
        for number, prompt in enumerate(prompts)
    ]
    generator.scheduler.submit(generations)
    for _ in generations:
        raise_error(ended.get())
    seconds = time.perf_counter() - start
    return seconds, times[0], [one.tokens for one in generations]


@contextmanager
def inference_clock(clock: Clock = time.perf_counter) -> Iterator[list[float]]:
    """Collect the seconds of every inference call of this process."""
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
    """Return random tokens, so that none is in a cache already."""
    return [rng.randrange(engine.vocab_size) for _ in range(count)]
