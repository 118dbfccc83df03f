"""transformers on PyTorch at f32, for --with-transformers: a process of its own, which answers JSON requests.

{"prompts": [[id, ...], ...], "new_tokens": N} -> {"times": seconds from the start to each new token}
{"score": ids [B, L]} -> {"seconds": ..., "logprobs": [B, L-1]}
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpt2_tools.benchmark.peers.runners.run_transformers import greedy, load_model
from gpt2_tools.benchmark.peers.runners.runner import own_stdout
from gpt2_tools.common.json_process import Answer, JsonProcess, PeerFailed
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.runtime import installed

FLAG = "--with-transformers"

Ask = Callable[[Mapping[str, object]], Answer]


def require_transformers() -> None:
    """Raise Problem, with the `pip install`, if PyTorch or transformers is missing."""
    missing = [name for name in ("torch", "transformers") if not installed(name)]
    if missing:
        raise Problem(f"{FLAG}: {' and '.join(missing)} missing: pip install 'omz-gpt2[evaluate]'")


@contextmanager
def transformers_process(checkpoint: Path, threads: str) -> Iterator[Ask]:
    """Yield a function that sends a request to transformers, which has loaded a checkpoint; it raises Problem."""
    require_transformers()
    if not (checkpoint / "config.json").is_file():
        raise Problem(f"{checkpoint}: expected the checkpoint of the IR, with its config.json: give --checkpoint")
    try:
        process = JsonProcess([sys.executable, "-m", __name__, str(checkpoint), threads])
    except PeerFailed as reason:
        raise Problem(f"{FLAG}: cannot load {checkpoint}: {reason}") from None

    def ask(request: Mapping[str, object]) -> Answer:
        try:
            return process.ask(request)
        except PeerFailed as reason:
            raise Problem(f"{FLAG}: cannot run {checkpoint}: {reason}") from None

    with process:
        yield ask


def main(checkpoint: str, threads: str) -> None:
    """Serve until stdin ends."""
    answers = own_stdout()
    model = load_model(checkpoint, "float32", int(threads))
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "score" in request:
            answer = _score(model, request["score"])
        else:
            answer = {"times": greedy(model, request["prompts"], request["new_tokens"])[0]}
        print(json.dumps(answer), file=answers, flush=True)


def _score(model: Any, ids: list[list[int]]) -> Answer:  # [B, L]
    import torch  # noqa: PLC0415

    tokens = torch.tensor(ids)
    start = time.perf_counter()
    with torch.inference_mode():
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "logprobs": (-losses).reshape(len(tokens), -1).tolist()}


if __name__ == "__main__":
    main(*sys.argv[1:])
