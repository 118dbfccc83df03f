"""The device properties that the engine runs with by default, and where compiled models are kept."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PRECISION_HINTS = ("f32", "bf16", "f16", "device")
OF_OTHERS = ("AUTO", "MULTI", "HETERO")
"""Devices that run the model on others, each with properties of its own."""


def default_config(
    device: str, precision_hint: str | None = None, num_threads: int | None = None, cache_precision: str = "f16"
) -> dict[str, Any]:
    """Return the properties that suit one conversation on a device.

    precision_hint: "device" leaves the arithmetic to the device. None means f32 on a CPU, since one with bf16
    uses that by default and then decodes a single sequence slower and less exactly, and "device" elsewhere. A CPU
    keeps the KV cache in cache_precision, unless all is left to the device: f16 is more exact than its default of
    u8, and faster after a long text. A CPU behind AUTO, MULTI or HETERO has the same.
    """
    threads = {} if num_threads is None else {"INFERENCE_NUM_THREADS": num_threads}
    if precision_hint == "device":
        return threads
    name = device.partition(":")[0]
    of_cpu = {"INFERENCE_PRECISION_HINT": precision_hint or "f32", "KV_CACHE_PRECISION": cache_precision}
    if name.startswith("CPU"):
        return of_cpu | threads
    of_all = {} if precision_hint is None else {"INFERENCE_PRECISION_HINT": precision_hint}
    behind = {"DEVICE_PROPERTIES": {"CPU": of_cpu}} if name in OF_OTHERS else {}
    return of_all | behind | threads


def overridden(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties with those that a user gives, also in place of the ones for the CPU behind another device."""
    merged = {**config, **given}
    if "DEVICE_PROPERTIES" in config and "DEVICE_PROPERTIES" not in given:
        of_devices = config["DEVICE_PROPERTIES"].items()
        merged["DEVICE_PROPERTIES"] = {
            device: {key: value for key, value in properties.items() if key not in given}
            for device, properties in of_devices
        }
    return merged


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
