"""transformers beside the engine: a process of its own that generates in turns with it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt2_tools.benchmark.figures import Figure
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.transformers_model import require_transformers

Generate = Callable[[int, int], list[float]]
"""(prompt tokens, new tokens) -> the seconds of each new token."""


@contextmanager
def transformers_process(checkpoint: Path, threads: str) -> Iterator[Generate]:
    """Give a function that has transformers generate."""
    require_transformers()
    command = [sys.executable, "-m", "gpt2_tools.benchmark.engine.transformers_peer", str(checkpoint), threads]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def generate(prompt_tokens: int, new_tokens: int) -> list[float]:
            print(prompt_tokens, new_tokens, file=stdin, flush=True)
            answer = stdout.readline()
            if not answer:
                raise Problem(f"transformers could not run {checkpoint}; its own words stand above")
            times: list[float] = json.loads(answer)
            return times

        try:
            yield generate
        finally:
            process.kill()


def times_faster(ours: dict[str, Figure], theirs: dict[str, Figure]) -> dict[str, Figure]:
    """Return transformers' figures and how many times ours is as fast."""
    figures = {f"transformers, {name}": figure for name, figure in theirs.items()}
    ratios = {name: theirs[name].median / ours[name].median for name in theirs if name != "throughput"}
    return figures | {f"{name}, times faster": Figure("x", (ratio,)) for name, ratio in ratios.items()}
