"""optimum-intel: its own export of the checkpoint, run by transformers' generate on OpenVINO."""

import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = ("optimum-intel", "optimum", "transformers", "torch", "openvino", "nncf")

# A text model does not need it, and one built for another torch would break the import of transformers.
sys.modules["torchvision"] = None  # type: ignore[assignment]


def prepare(checkpoint: Path, variant: str, target: Path) -> None:
    """Export the checkpoint with a KV cache; int8: with compressed weights."""
    from optimum.intel import OVModelForCausalLM  # noqa: PLC0415

    model: Any = OVModelForCausalLM.from_pretrained(
        str(checkpoint), export=True, compile=False, load_in_8bit=variant == "int8"
    )
    model.save_pretrained(str(target))


def load(target: Path, variant: str, threads: int) -> Any:
    """Return a function that generates, and its arithmetic."""
    import openvino as ov  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from optimum.intel import OVModelForCausalLM  # noqa: PLC0415

    torch.set_num_threads(threads)
    model: Any = OVModelForCausalLM.from_pretrained(str(target), ov_config={"INFERENCE_NUM_THREADS": str(threads)})

    def generate(prompts: list[list[int]], new_tokens: int) -> tuple[float, float | None, list[list[int]]]:
        times: list[float] = []
        ids = torch.tensor(prompts)
        start = time.perf_counter()
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new_tokens,
            eos_token_id=None,
            pad_token_id=0,
            **({"streamer": _Clock(start, times)} if len(prompts) == 1 else {}),
        )
        seconds = time.perf_counter() - start
        return seconds, times[1] if times else None, output[:, ids.shape[1] :].tolist()

    compiled = model.request.get_compiled_model()
    names = {"inference": "INFERENCE_PRECISION_HINT", "cache": "KV_CACHE_PRECISION"}
    if variant == "int8":
        names["group"] = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
    values = {ours: compiled.get_property(theirs) for ours, theirs in names.items()}
    return generate, {
        name: value.get_type_name() if isinstance(value, ov.Type) else str(value) for name, value in values.items()
    }


class _Clock:
    """A streamer that records the time of each call: the first is the prompt, then each token."""

    def __init__(self, start: float, times: list[float]) -> None:
        self._start, self._times = start, times

    def put(self, tokens: Any) -> None:
        self._times.append(time.perf_counter() - self._start)

    def end(self) -> None:
        pass
