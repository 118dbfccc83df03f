"""transformers on PyTorch, beside which a scorer is timed: a process that scores what it is told to.

Reads a line of JSON, token ids [B, L], from stdin; answers with one: seconds, log-probabilities [B, L-1].
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpt2_tools.common.problem import Problem
from gpt2_tools.common.transformers_model import load_transformers, require_transformers
from gpt2_tools.evaluate.perplexity import Score
from gpt2_tools.evaluate.scorer import Scores

PEER = "--with-transformers"


class Beside:
    """Scores with ours and times both on the same tokens, in turns, so that both see the same machine."""

    def __init__(self, ours: Score, theirs: "Peer", clock: Callable[[], float] = time.perf_counter) -> None:
        self._ours, self._theirs, self._clock = ours, theirs, clock
        self._warm = False
        self.our_seconds: list[float] = []
        self.their_seconds: list[float] = []
        self.largest_difference = 0.0

    def __call__(self, tokens: npt.NDArray[np.int64]) -> Scores:
        """Return ours. The first tokens are scored twice: the first time costs more."""
        if not self._warm:
            self._ours(tokens)
            self._theirs(tokens)
            self._warm = True
        start = self._clock()
        scores = self._ours(tokens)
        self.our_seconds.append(self._clock() - start)
        seconds, logprobs = self._theirs(tokens)
        self.their_seconds.append(seconds)
        self.largest_difference = max(self.largest_difference, float(abs(scores.logprobs - logprobs).max()))
        return scores

    def facts(self) -> dict[str, float]:
        """Return how many times as fast ours was, in the median of the turns, and how far apart the answers."""
        ratios = [theirs / ours for ours, theirs in zip(self.our_seconds, self.their_seconds, strict=True)]
        return {
            "seconds": sum(self.their_seconds),
            "ours_seconds": sum(self.our_seconds),
            "times_faster": statistics.median(ratios),
            "largest_difference": self.largest_difference,
        }


class Peer:
    """The process, seen from ours."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process, self._folder = process, folder

    def __call__(self, tokens: npt.NDArray[np.int64]) -> tuple[float, npt.NDArray[np.float32]]:
        """Return the seconds that scoring took, and the log-probabilities."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(tokens.tolist()), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise Problem(f"{PEER}: could not run {self._folder}; its own words stand above")
        seconds, logprobs = json.loads(answer)
        return seconds, np.array(logprobs, np.float32)


@contextmanager
def transformers_process(folder: Path, threads: str) -> Iterator[Peer]:
    """Give a peer of the checkpoint in a folder; it ends with the block."""
    require_transformers()
    if not (folder / "config.json").is_file():
        raise Problem(f"{folder}: expected config.json and the weights, what the IR was made of: give --checkpoint")
    command = [sys.executable, "-m", "gpt2_tools.evaluate.with_transformers", str(folder), threads]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Peer(process, folder)
        finally:
            process.kill()


def main(folder: str, threads: str) -> None:
    """Serve until stdin ends."""
    torch, model = load_transformers(folder, threads)
    for line in sys.stdin:
        tokens = torch.tensor(json.loads(line))
        start = time.perf_counter()
        with torch.inference_mode():
            logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
            losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        seconds = time.perf_counter() - start
        print(json.dumps([seconds, (-losses).reshape(len(tokens), -1).tolist()]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
