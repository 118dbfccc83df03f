"""A peer of the benchmark, in its own environment: `prepare` converts a checkpoint, `serve` generates.

    python runner.py prepare MODULE VARIANT CHECKPOINT TARGET
    python runner.py serve MODULE VARIANT TARGET THREADS

serve prints a line of JSON when the model is loaded, {"versions": ..., "arithmetic": {"inference": "f32", "cache":
"f16"}}, with the "group" of dynamic quantization where there is one. Then it answers each line of stdin, {"prompts":
[[id, ...], ...], "new_tokens": N}, with {"seconds", "first", "tokens"}, or {"cannot": reason}.
MODULE is beside this file. Only the standard library is imported: gpt2_tools is not in that environment.
"""

import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

Generate = Callable[[list[list[int]], int], tuple[float, float | None, list[list[int]]]]
"""(prompts, new tokens of each) -> seconds in all, seconds to the first token if known, the new tokens."""


def serve(
    generate: Generate, arithmetic: Mapping[str, str], packages: tuple[str, ...], requests: TextIO, answers: TextIO
) -> None:
    """Answer requests until they end. arithmetic: the precisions that the engine itself reports."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps({"versions": versions, "arithmetic": arithmetic}), file=answers, flush=True)
    for line in requests:
        request = json.loads(line)
        try:
            seconds, first, tokens = generate(request["prompts"], request["new_tokens"])
            answer: dict[str, Any] = {"seconds": seconds, "first": first, "tokens": tokens}
        except NotImplementedError as reason:
            answer = {"cannot": str(reason)}
        print(json.dumps(answer), file=answers, flush=True)


def own_stdout() -> TextIO:
    """Return stdout for the answers only; whatever libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def main(job: str, module: str, variant: str, source: str, last: str) -> None:
    """Run the command line."""
    answers = own_stdout()
    peer: Any = importlib.import_module(module)
    if job == "prepare":
        peer.prepare(Path(source), variant, Path(last))
    else:
        generate, arithmetic = peer.load(Path(source), variant, int(last))
        serve(generate, arithmetic, peer.PACKAGES, sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
