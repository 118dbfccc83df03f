"""How exactly a compiled model runs and on how many threads: what a figure must name beside itself."""

import openvino as ov

from gpt2_text_prediction.engine.engine import device_property

PROPERTIES = {
    "threads": "INFERENCE_NUM_THREADS",
    "inference_precision": "INFERENCE_PRECISION_HINT",
    "kv_cache_precision": "KV_CACHE_PRECISION",
    "dynamic_quantization_group_size": "DYNAMIC_QUANTIZATION_GROUP_SIZE",
}


def settings_of(compiled: ov.CompiledModel) -> dict[str, str | None]:
    """Return the threads and the precisions as the device reports them; None where it does not."""
    return {ours: device_property(compiled, theirs) for ours, theirs in PROPERTIES.items()}
