"""transformers on PyTorch as a peer of the benchmark: a process that generates when it is told to.

Reads a line "prompt_tokens new_tokens" from stdin, answers with a line of JSON: seconds of each token.
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

from gpt2_tools.common.transformers_model import load_transformers


def main(folder: str, threads: str) -> None:
    """Serve rounds until stdin ends."""
    torch, model = load_transformers(folder, threads)
    for line in sys.stdin:
        prompt_tokens, new_tokens = map(int, line.split())
        with torch.inference_mode():
            print(json.dumps(generate(torch, model, prompt_tokens, new_tokens)), flush=True)


def generate(torch: Any, model: Any, prompt_tokens: int, new_tokens: int) -> list[float]:
    """Return the seconds of each greedy token; the bare loop, without what model.generate adds to it."""
    generator = torch.Generator().manual_seed(0)
    new = torch.randint(0, model.config.vocab_size, (1, prompt_tokens), generator=generator)
    past, times = None, [time.perf_counter()]
    for _ in range(new_tokens):
        output = model(input_ids=new, past_key_values=past, use_cache=True, logits_to_keep=1)
        past, new = output.past_key_values, output.logits[:, -1:].argmax(-1)
        times.append(time.perf_counter())
    return [after - before for before, after in pairwise(times)]


if __name__ == "__main__":
    main(*sys.argv[1:])
