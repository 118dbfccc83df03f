"""The demo's generator with the protocol of runner.py: python -m gpt2_tools.benchmark.peers.ours IR DEVICE CONFIG.

Without prompt lookup, since the peers run without speculative decoding.
"""

import json
import sys
from pathlib import Path

from gpt2_text_prediction import TextGenerator
from gpt2_tools.benchmark.engine.features import generate
from gpt2_tools.benchmark.peers.runners.runner import own_stdout, serve

PACKAGES = ("omz-gpt2", "openvino", "numpy", "tokenizers")


def main(model: str, device: str, config: str) -> None:
    """Serve until stdin ends; config: the properties of the device, as JSON."""
    answers = own_stdout()
    with TextGenerator(Path(model), device=device, config=json.loads(config), prompt_lookup=False) as generator:

        def run(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
            return generate(generator, prompts, new_tokens)

        serve(run, PACKAGES, sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
