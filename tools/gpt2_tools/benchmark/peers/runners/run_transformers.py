"""transformers on PyTorch: the bare greedy loop, without what model.generate adds to it.

Also what --with-transformers runs, in our own environment.
"""

import time
from pathlib import Path
from typing import Any

PACKAGES = ("transformers", "torch")
DTYPES = {"f32": "float32", "bf16": "bfloat16"}


def prepare(checkpoint: Path, variant: str, target: Path) -> None:
    """Note where the checkpoint is: transformers loads it as it is."""
    target.mkdir()
    (target / "checkpoint").write_text(str(checkpoint), encoding="utf-8")


def load(target: Path, variant: str, threads: int) -> Any:
    """Return a function that generates, and its arithmetic."""
    model = load_model((target / "checkpoint").read_text(encoding="utf-8"), DTYPES[variant], threads)

    def generate(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
        times, tokens = greedy(model, prompts, new_tokens)
        return times[-1], times[0], tokens

    dtype = str(model.dtype).removeprefix("torch.")
    return generate, {"inference": dtype, "cache": dtype}


def load_model(checkpoint: str, dtype: str, threads: int) -> Any:
    """Return the model of a checkpoint's folder."""
    import torch  # noqa: PLC0415
    from transformers import GPT2LMHeadModel  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(threads)
    model: Any = GPT2LMHeadModel.from_pretrained(checkpoint, dtype=getattr(torch, dtype))
    return model.eval()


def greedy(model: Any, prompts: list[list[int]], new_tokens: int) -> tuple[list[float], list[list[int]]]:
    """Return the seconds from the start to each new token, and the new tokens of each prompt."""
    import torch  # noqa: PLC0415

    start = time.perf_counter()
    new, past, drawn, times = torch.tensor(prompts), None, [], []
    with torch.inference_mode():
        for _ in range(new_tokens):
            output = model(input_ids=new, past_key_values=past, use_cache=True, logits_to_keep=1)
            past, new = output.past_key_values, output.logits[:, -1:].argmax(-1)
            drawn.append(new)
            times.append(time.perf_counter() - start)
    return times, torch.cat(drawn, dim=1).tolist()
