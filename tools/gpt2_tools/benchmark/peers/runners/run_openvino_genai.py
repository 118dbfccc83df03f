"""OpenVINO GenAI with its defaults, on a folder of gpt2_export."""

import time
from pathlib import Path
from typing import Any

PACKAGES = ("openvino-genai", "openvino")


def load(target: Path, variant: str, threads: int) -> Any:
    """Return a function that generates."""
    import numpy as np  # noqa: PLC0415
    import openvino as ov  # noqa: PLC0415
    import openvino_genai  # noqa: PLC0415

    pipeline: Any = openvino_genai.LLMPipeline(str(target), "CPU", INFERENCE_NUM_THREADS=threads)

    def generate(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
        config = openvino_genai.GenerationConfig(
            max_new_tokens=new_tokens, min_new_tokens=new_tokens, ignore_eos=True, do_sample=False
        )
        ids = np.array(prompts, np.int64)
        inputs = openvino_genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
        start = time.perf_counter()
        result = pipeline.generate(inputs, config)
        seconds = time.perf_counter() - start
        return seconds, result.perf_metrics.get_ttft().mean / 1e3, [list(map(int, row)) for row in result.tokens]

    return generate
