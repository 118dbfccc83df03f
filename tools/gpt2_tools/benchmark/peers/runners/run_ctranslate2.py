"""CTranslate2, on a model of its own converter."""

import json
import time
from pathlib import Path
from typing import Any

PACKAGES = ("ctranslate2",)


def prepare(checkpoint: Path, variant: str, target: Path) -> None:
    """Convert the checkpoint to the variant's type."""
    from ctranslate2.converters import TransformersConverter  # noqa: PLC0415

    TransformersConverter(str(checkpoint)).convert(str(target), quantization=variant)


def load(target: Path, variant: str, threads: int) -> Any:
    """Return a function that generates, and its arithmetic."""
    import ctranslate2  # noqa: PLC0415

    model: Any = ctranslate2.Generator(
        str(target), device="cpu", compute_type=variant, inter_threads=1, intra_threads=threads
    )
    symbols = json.loads((target / "vocabulary.json").read_text(encoding="utf-8"))

    def generate(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
        times: list[float] = []
        start = time.perf_counter()
        results = model.generate_batch(
            [[symbols[token] for token in prompt] for prompt in prompts],
            max_length=new_tokens,
            min_length=new_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=[],
            **({"callback": lambda _: times.append(time.perf_counter() - start)} if len(prompts) == 1 else {}),
        )
        seconds = time.perf_counter() - start
        return seconds, times[0] if times else None, [list(result.sequences_ids[0]) for result in results]

    return generate, {"inference": model.compute_type, "cache": "float32"}
