"""What a figure depends on: the versions of the packages, and the precisions and threads of a compiled model."""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

PROPERTIES = {
    "threads": "INFERENCE_NUM_THREADS",
    "inference_precision": "INFERENCE_PRECISION_HINT",
    "kv_cache_precision": "KV_CACHE_PRECISION",
    "dynamic_quantization_group_size": "DYNAMIC_QUANTIZATION_GROUP_SIZE",
}

CPUINFO = Path("/proc/cpuinfo")


def versions(*more: str) -> dict[str, str]:
    """Return the versions of the installed packages, of `more` of them, and of Python."""
    names = ("omz-gpt2", "openvino", "tokenizers", "numpy", "transformers", "torch", *more)
    return {name: importlib.metadata.version(name) for name in names if installed(name)} | {
        "python": platform.python_version()
    }


def installed(name: str) -> bool:
    """Return whether a package is installed."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def processor() -> str:
    """Return the model name of this machine's processor; empty if it is unknown."""
    return _cpuinfo("model name") if CPUINFO.exists() else platform.processor()


def cpu_flags() -> list[str]:
    """Return the instruction sets of this machine's processor, as Linux names them; none on other systems."""
    return _cpuinfo("flags").split() if CPUINFO.exists() else []


def _cpuinfo(key: str) -> str:
    lines = CPUINFO.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def arithmetic_words(arithmetic: Mapping[str, object]) -> str:
    """Return the precisions of an engine in words: "f32, cache f16, groups of 32".

    arithmetic: "inference" and "cache", and "group" where weights are quantized.
    """
    forms = {"inference": "{}", "cache": "cache {}", "group": "groups of {}"}
    return ", ".join(form.format(arithmetic[part]) for part, form in forms.items() if arithmetic.get(part) is not None)


def settings_of(compiled: "ov.CompiledModel") -> dict[str, str | None]:
    """Return the threads and the precisions as the device reports them; None if it does not."""
    from gpt2_text_prediction.engine import device_property  # noqa: PLC0415 (OpenVINO)

    return {ours: device_property(compiled, theirs) for ours, theirs in PROPERTIES.items()}
