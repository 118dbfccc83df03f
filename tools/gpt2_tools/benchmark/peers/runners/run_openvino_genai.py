"""OpenVINO GenAI with its defaults, on a folder of gpt2_export."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = ("openvino-genai", "openvino")
REPORT = """
import json, sys
import openvino as ov
compiled = ov.Core().compile_model(sys.argv[1], "CPU")
names = "INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE"
values = map(compiled.get_property, names)
print(json.dumps([value.get_type_name() if isinstance(value, ov.Type) else str(value) for value in values]))
"""


def load(target: Path, variant: str, threads: int) -> Any:
    """Return a function that generates, and its arithmetic."""
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

    return generate, _arithmetic(target, variant)


def _arithmetic(target: Path, variant: str) -> dict[str, str]:
    """Return what OpenVINO reports of the same model with the same defaults; the pipeline does not say it.

    In another process: the model would be in memory twice.
    """
    command = [sys.executable, "-c", REPORT, str(target / "openvino_model.xml")]
    inference, cache, group = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {"inference": inference, "cache": cache} | ({"group": group} if variant == "INT8" else {})
