"""transformers beside the engine: the seconds of its tokens on the same prompt, and how many times faster ours is."""

from collections.abc import Sequence
from itertools import pairwise

from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.common.transformers_process import Ask


def token_times(ask: Ask, prompt: Sequence[int], new_tokens: int) -> list[float]:
    """Return the seconds of each token that transformers generates, the prompt among those of the first."""
    times = ask({"prompts": [list(prompt)], "new_tokens": new_tokens})["times"]
    return [after - before for before, after in pairwise([0.0, *times])]


def times_faster(ours: dict[str, Figure], theirs: dict[str, Figure]) -> dict[str, Figure]:
    """Return transformers' figures and how many times as fast ours is."""
    figures = {f"transformers, {name}": figure for name, figure in theirs.items()}
    ratios = {name: theirs[name].median / ours[name].median for name in theirs if name != "throughput"}
    return figures | {f"{name}, times faster": Figure("x", (ratio,)) for name, ratio in ratios.items()}
