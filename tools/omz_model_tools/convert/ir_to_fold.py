"""A converted model written as IR, and checked to be whole; it knows neither descriptors nor where IRs go."""

import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from omz_model_tools.common.problem import Problem, disk_problems, one_line


def save_ir(model: Any, xml: Path, compress_to_fp16: bool) -> None:
    """Write `xml` and its .bin."""
    import openvino  # noqa: PLC0415 (a third of a second that nobody waits for who only lists models)

    try:
        openvino.save_model(model, xml, compress_to_fp16=compress_to_fp16)
    except RuntimeError as error:  # "iostream error", which says neither which file nor why
        free = shutil.disk_usage(xml.parent).free >> 20
        raise Problem(f"{xml}: could not be written ({one_line(error)}); free space there: {free} MB") from error
    check_ir(xml)


def check_ir(xml: Path) -> None:
    """Refuse an IR that ends early: on a full disk OpenVINO 2025.0 leaves one without a word."""
    with disk_problems(xml):
        try:
            layers = ElementTree.parse(xml).iter("data")
        except ElementTree.ParseError as error:
            raise Problem(
                f"{xml}: expected a whole IR, got one that ends early ({error}); is the disk full?"
            ) from error
        wanted = max((int(data.get("offset", 0)) + int(data.get("size", 0)) for data in layers), default=0)
        weights = xml.with_suffix(".bin")
        got = weights.stat().st_size
    if got < wanted:
        raise Problem(f"{weights}: expected {wanted} bytes of weights, got {got}; is the disk full?")
