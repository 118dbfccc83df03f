"""The demo's generator by the protocol of the benchmark's peers: python -m gpt2_tools.benchmark.peers.ours IR THREADS.

No token is guessed from the text before, as none is by the peers. What is asked of it is not known here.
"""

import sys
import time
from pathlib import Path
from queue import SimpleQueue

from gpt2_text_prediction.engine.waiting import raise_error
from gpt2_text_prediction.generation.request import Generation, Prompt
from gpt2_text_prediction.generation.sampling import Sampling
from gpt2_text_prediction.generator import TextGenerator, configuration
from gpt2_tools.benchmark.peers.runners.runner import own_stdout, serve

PACKAGES = ("omz-gpt2", "openvino", "numpy", "tokenizers")


def main(model: str, device: str, threads: str) -> None:
    """Serve until stdin ends."""
    answers = own_stdout()
    config = configuration(device, num_threads=int(threads))
    with TextGenerator(Path(model), device=device, config=config, prompt_lookup=False) as generator:

        def run(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
            return generate(generator, prompts, new_tokens)

        serve(run, PACKAGES, sys.stdin, answers)


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


if __name__ == "__main__":
    main(*sys.argv[1:])
