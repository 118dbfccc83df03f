"""transformers on PyTorch: the bare greedy loop, without what model.generate adds to it."""

import time
from pathlib import Path
from typing import Any

PACKAGES = ("transformers", "torch")


def prepare(checkpoint: Path, variant: str, target: Path) -> None:
    """Note where the checkpoint lies: it is run as it is."""
    target.mkdir()
    (target / "checkpoint").write_text(str(checkpoint), encoding="utf-8")


def load(target: Path, variant: str, threads: int) -> Any:
    """Return a function that generates."""
    import torch  # noqa: PLC0415
    from transformers import GPT2LMHeadModel  # noqa: PLC0415

    torch.set_num_threads(threads)
    folder = (target / "checkpoint").read_text(encoding="utf-8")
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[variant]
    model: Any = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype)
    model.eval()

    def generate(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
        start = time.perf_counter()
        new, past, drawn, times = torch.tensor(prompts), None, [], []
        with torch.inference_mode():
            for _ in range(new_tokens):
                output = model(input_ids=new, past_key_values=past, use_cache=True, logits_to_keep=1)
                past, new = output.past_key_values, output.logits[:, -1:].argmax(-1)
                drawn.append(new)
                times.append(time.perf_counter() - start)
        return times[-1], times[0], torch.cat(drawn, dim=1).tolist()

    return generate
