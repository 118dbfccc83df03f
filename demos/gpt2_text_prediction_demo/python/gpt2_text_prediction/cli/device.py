"""From flags to the device that runs a model, and its properties in the words of the log."""

import argparse
import os
from pathlib import Path
from typing import Any

from gpt2_text_prediction.engine.configuration import CACHE, GROUP, INFERENCE, DeviceConfig
from gpt2_text_prediction.problem import Problem

FORMS = {INFERENCE: "inference in {}", CACHE: "KV cache in {}", GROUP: "dynamic quantization in groups of {}"}
"""The words of the log for the properties that a result depends on."""


def device_config(args: argparse.Namespace, *, single_row: bool) -> DeviceConfig:
    """Return the device and the properties that the flags name; raise Problem for flags that contradict each other."""
    given: dict[str, Any] = {} if args.cache_dir is None else {"CACHE_DIR": str(_writable(args.cache_dir))}
    properties = given | _given_properties(args)
    return DeviceConfig(args.device, args.precision_hint, args.num_threads, properties, single_row=single_row)


def _given_properties(args: argparse.Namespace) -> dict[str, str]:
    """Return the properties of --config; raise Problem for one that is given in two ways."""
    hint = None if args.precision_hint == "auto" else args.precision_hint
    flags = {
        "INFERENCE_PRECISION_HINT": ("--precision_hint", hint),
        "INFERENCE_NUM_THREADS": ("-nthreads", args.num_threads),
        "CACHE_DIR": ("--cache_dir", args.cache_dir),
    }
    found: dict[str, str] = {}
    for pair in args.config or []:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise Problem(f"--config: expected KEY=VALUE, got {pair!r}")
        flag, other = flags.get(key, ("", None))
        if other is not None:
            raise Problem(f"--config {key}, {flag}: expected one of them")
        if found.setdefault(key, value) != value:
            raise Problem(f"--config {key}: expected one value, got {found[key]!r} and {value!r}")
    return found


def _writable(folder: Path) -> Path:
    """Return a folder, made if it is missing; OpenVINO would silently ignore one that it cannot use."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Problem(f"--cache_dir: {folder}: cannot be made: {problem.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Problem(f"--cache_dir: {folder}: cannot be written: give another folder")
    return folder
