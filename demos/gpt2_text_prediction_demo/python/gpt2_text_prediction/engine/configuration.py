"""The device properties that the engine runs with by default, and where compiled models are kept."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PRECISION_HINTS = ("f32", "bf16", "f16", "device")


def default_config(device: str, precision_hint: str | None = None, num_threads: int | None = None) -> dict[str, Any]:
    """Return the properties that suit one conversation on a device.

    precision_hint: "device" leaves the arithmetic to the device. None means f32 on a CPU, since one with bf16
    uses that by default and then decodes a single sequence slower and less exactly, and "device" elsewhere. A CPU
    keeps the KV cache in f16, unless all is left to the device: more exact than its default of u8, and faster after
    a long text.
    """
    on_cpu = device.startswith("CPU")
    hint = precision_hint or ("f32" if on_cpu else "device")
    config: dict[str, Any] = {} if hint == "device" else {"INFERENCE_PRECISION_HINT": hint}
    if on_cpu and hint != "device":
        config["KV_CACHE_PRECISION"] = "f16"
    return config if num_threads is None else config | {"INFERENCE_NUM_THREADS": num_threads}


def with_own_cache_dir(device: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties with a CACHE_DIR for these alone, below the one that is given.

    OpenVINO names a compiled model by its graph and weights, not by most properties; one that was compiled for f32
    ends the process when it is loaded for bf16 (2026.4, of a static shape).
    """
    folder = config.get("CACHE_DIR")
    if not folder:
        return dict(config)
    properties = {name: str(value) for name, value in config.items() if name != "CACHE_DIR"}
    digest = hashlib.sha256(json.dumps([device, properties], sort_keys=True).encode()).hexdigest()
    return {**config, "CACHE_DIR": str(Path(folder) / digest[:16])}
