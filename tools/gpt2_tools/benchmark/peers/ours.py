"""The demo's generator with the protocol of runner.py.

    python -m gpt2_tools.benchmark.peers.ours IR DEVICE HINT THREADS

Without prompt lookup, since the peers run without speculative decoding.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2_text_prediction import TextGenerator
from gpt2_tools.benchmark.engine.features import generate
from gpt2_tools.benchmark.peers.runners.runner import own_stdout, serve

REPORTED = {
    "inference": "INFERENCE_PRECISION_HINT",
    "cache": "KV_CACHE_PRECISION",
    "group": "DYNAMIC_QUANTIZATION_GROUP_SIZE",
}
PACKAGES = ("omz-gpt2", "openvino", "numpy", "tokenizers")


def main(model: str, device: str, precision_hint: Any, num_threads: str) -> None:
    """Serve until stdin ends."""
    answers = own_stdout()
    with TextGenerator(
        Path(model), device=device, precision_hint=precision_hint, num_threads=int(num_threads), prompt_lookup=False
    ) as generator:

        def run(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
            return generate(generator, prompts, new_tokens)

        serve(run, arithmetic(generator.engine.properties), PACKAGES, sys.stdin, answers)


def arithmetic(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the precisions that the device reports, by the names of runner.py."""
    return {name: properties[key] for name, key in REPORTED.items() if key in properties}


if __name__ == "__main__":
    main(*sys.argv[1:])
