"""The demo's generator with the protocol of runner.py: python -m gpt2_tools.benchmark.peers.ours IR DEVICE THREADS.

Without prompt lookup, since the peers run without speculative decoding.
"""

import sys
from pathlib import Path

from gpt2_text_prediction import TextGenerator
from gpt2_text_prediction.engine import default_config
from gpt2_tools.benchmark.engine.features import generate
from gpt2_tools.benchmark.peers.runners.runner import own_stdout, serve

PACKAGES = ("omz-gpt2", "openvino", "numpy", "tokenizers")


def main(model: str, device: str, threads: str) -> None:
    """Serve until stdin ends."""
    answers = own_stdout()
    config = default_config(device, num_threads=int(threads))
    with TextGenerator(Path(model), device=device, config=config, prompt_lookup=False) as generator:

        def run(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
            return generate(generator, prompts, new_tokens)

        serve(run, PACKAGES, sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
