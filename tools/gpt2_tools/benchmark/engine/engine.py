"""Figures of the demo's engine on one model, in this process: load, first token, each token, sampling, memory."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from gpt2_text_prediction.engine import (
    DeviceConfig,
    Engine,
    SequenceCache,
    StepInput,
    default_back_end,
    make_engine,
    read_spec,
)
from gpt2_text_prediction.generation import Sampling, choose
from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.benchmark.processes.process import own_memory, own_peak_memory
from gpt2_tools.common.runtime import settings_of

Clock = Callable[[], float]
WINDOW_TOKENS = 32
"""Tokens that are timed at each context length."""


@dataclass(frozen=True)
class Generated:
    """The seconds of each step, of which the first is the prefill, and the new tokens of each row."""

    times: list[float]
    tokens: list[list[int]]


class EngineBenchmark:
    """A loaded engine; each method measures one thing."""

    def __init__(self, model: Path, config: DeviceConfig, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        start = clock()
        self.engine: Engine = make_engine(read_spec(model, config), default_back_end(config.device))
        self.load = Figure("s", (clock() - start,))
        self._tokens: list[int] = (
            np.random.default_rng(0).integers(0, self.engine.vocab_size, self.engine.n_positions).tolist()
        )

    def generate(self, prompt_tokens: int, new_tokens: int, rows: int = 1) -> Generated:
        """Continue `rows` prompts in one batch, greedily, ignoring end-of-text; every run has the same prompts."""
        self.engine.reset_prefix_cache()
        caches = [SequenceCache() for _ in range(rows)]
        new = [np.roll(self._tokens, -row)[:prompt_tokens].tolist() for row in range(rows)]
        tokens: list[list[int]] = [[] for _ in caches]
        times = [self._clock()]
        for _ in range(new_tokens):
            logits = self.engine.step([StepInput(cache, added) for cache, added in zip(caches, new, strict=True)])
            new = [[int(row_logits[0].argmax())] for row_logits in logits]
            times.append(self._clock())
            for written, added in zip(tokens, new, strict=True):
                written.extend(added)
        return Generated([after - before for before, after in pairwise(times)], tokens)

    def prompt(self, prompt_tokens: int) -> list[int]:
        """Return the tokens of the first prompt."""
        return self._tokens[:prompt_tokens]

    def generation(self, repetitions: Sequence[list[float]], prompt_tokens: int) -> dict[str, Figure]:
        """Return the figures of several runs of `generate`, given the seconds of their steps."""
        later = [float(np.median(times[1:])) for times in repetitions]
        return {
            f"first token after {prompt_tokens}": Figure("ms", tuple(times[0] * 1e3 for times in repetitions)),
            "time per token": Figure("ms", tuple(seconds * 1e3 for seconds in later)),
            "throughput": Figure("tokens/s", tuple(1 / seconds for seconds in later)),
        }

    def growth(self) -> dict[str, Figure]:
        """Return the time per token at a short and a long context, and their ratio; nothing for a short model."""
        if self.engine.n_positions < 8 * WINDOW_TOKENS:
            return {}
        late = min(900, self.engine.n_positions - WINDOW_TOKENS)
        early = min(100, late // 2)
        figures = {
            f"time per token at {length}": Figure("ms", tuple(s * 1e3 for s in self.steps_at(length)))
            for length in (early, late)
        }
        first, last = figures.values()
        return figures | {f"growth from {early} to {late}": Figure("x", (last.median / first.median,))}

    def steps_at(self, length: int) -> list[float]:
        """Return the seconds of the tokens around a context length."""
        return self.generate(length - WINDOW_TOKENS // 2, WINDOW_TOKENS + 1).times[1:]

    def sampling(self, runs: int = 200) -> dict[str, Figure]:
        """Return the time to sample a token at top_p 0.9, temperature 1, from flat and from peaked logits."""
        rng = np.random.default_rng(0)
        noise = rng.standard_normal(self.engine.vocab_size).astype(np.float32)
        figures = {}
        for name, logits in {"flat": noise * np.float32(0.01), "peaked": noise * np.float32(6)}.items():
            times = []
            for _ in range(runs):
                start = self._clock()
                choose(logits, Sampling(temperature=1.0, top_p=0.9), rng)
                times.append((self._clock() - start) * 1e3)
            figures[f"sampling, {name} logits"] = Figure("ms", tuple(times))
        return figures

    def memory(self) -> dict[str, Figure]:
        """Return the memory of this process, with the engine and its KV cache, and its peak."""
        return {
            f"{kind} memory": Figure("MB", (megabytes,))
            for kind, megabytes in (own_memory() | own_peak_memory()).items()
        }

    def settings(self) -> dict[str, str | None]:
        """Return the threads and the precisions as the device reports them."""
        return settings_of(self.engine.compiled)
