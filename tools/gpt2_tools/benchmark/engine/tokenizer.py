"""The time of the demo's tokenizer: encoding a prompt and decoding the generated tokens."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from gpt2_text_prediction import Problem
from gpt2_text_prediction.text import GPT2Tokenizer, load_tokenizer
from gpt2_tools.benchmark.figures import Figure

Clock = Callable[[], float]


class TextTimes(NamedTuple):
    """Seconds of one prompt and one continuation."""

    tokenization: float
    detokenization: float


def tokenizer_beside(model: Path, say: Callable[[str], None]) -> GPT2Tokenizer | None:
    """Return the tokenizer beside a model; if there is none, say why and return None."""
    try:
        return load_tokenizer(model)
    except Problem as reason:
        say(f"the tokenizer is not measured: {reason}")
        return None


def text_times(
    tokenizer: GPT2Tokenizer, prompt: Sequence[int], written: Sequence[int], clock: Clock = time.perf_counter
) -> TextTimes:
    """Time the encoding of the prompt's text and the decoding of the generated tokens."""
    text = tokenizer.decode(list(prompt))
    start = clock()
    tokenizer.encode(text)
    between = clock()
    tokenizer.decode(list(written))
    return TextTimes(between - start, clock() - between)


def text_figures(repetitions: Sequence[TextTimes | None]) -> dict[str, Figure]:
    """Return the figures of several repetitions; none without a tokenizer."""
    kept = [times for times in repetitions if times is not None]
    if not kept:
        return {}
    return {name: Figure("ms", tuple(getattr(times, name) * 1e3 for times in kept)) for name in TextTimes._fields}
