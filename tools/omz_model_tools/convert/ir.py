"""One precision of a converted model as a folder: the IR, its companions, its facts; and whether the disk has room.

It knows neither descriptors nor checkpoints.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from omz_model_tools.common.problem import Problem, disk_problems, one_line, openvino_reason
from omz_model_tools.common.publish import PublishedFolder, free_bytes, require_room
from omz_model_tools.convert.recipes import Conversion, Recipe
from omz_model_tools.convert.write_progress import Watch

LOCK = ".omz_converter.lock"
"""Held, beside the folders of IRs, by whoever replaces one of them."""
SMALL_FILES = 8 << 20  # bytes: the .xml and the companions of one precision

MAKERS = {
    "optimum": "optimum-intel",
    "MO_version": "Model Optimizer",
    "conversion_parameters": "openvino.convert_model",
}
"""What other converters write into rt_info -> who they are, the most telling first."""


def build(recipe: Recipe, folder: Path, checksums: Mapping[str, str]) -> Conversion:
    """One model for all precisions, with its facts: it is compressed as it is written."""
    try:
        conversion = recipe.convert(folder, checksums)
    except recipe.Problem as problem:
        raise Problem(one_line(problem)) from problem
    write_facts(conversion.model, conversion.facts)
    return conversion


def write_facts(model: Any, facts: Mapping[str, Mapping[str, str | int]]) -> None:
    """Into the model's rt_info."""
    for section, content in facts.items():
        for key, value in content.items():
            model.set_rt_info(value, [section, key])


def check_room(model: Any, places: Sequence[PublishedFolder], free_in: Callable[[Path], int] = free_bytes) -> None:
    """Refuse what will not fit on the disk, all precisions together, before the first is written.

    The IR that is there stays until the new one is whole.
    """
    grown, peak = 0, 0
    for place in places:
        new = ir_bytes(model, _is_compressed(place)) + SMALL_FILES
        peak = max(peak, grown + new)
        grown += new - _bytes_in(place.target)
    names = ", ".join(place.target.name for place in places)
    require_room(places[0].target.parent, peak, names, "make room, or ask for fewer --precisions", free_in)


def publish_ir(conversion: Conversion, folder: PublishedFolder, name: str, watch: Watch) -> None:
    """Replace the folder by one with NAME.xml, NAME.bin and the companions; only inside `locked_folders`."""
    compressed = _is_compressed(folder)
    weights = ir_bytes(conversion.model, compressed)
    with folder.replacing(weights + SMALL_FILES) as new:
        xml = new / f"{name}.xml"
        with watch(xml.with_suffix(".bin"), weights):
            save_ir(conversion.model, xml, compressed)
        for companion in conversion.companions:
            if isinstance(companion, Path):
                shutil.copyfile(companion, new / companion.name)
            else:
                (new / companion.name).write_bytes(companion.content)


def ir_bytes(model: Any, compress_to_fp16: bool) -> int:
    """What the .bin of a model will take: its constants, in half where they are compressed."""
    sizes = 0
    for op in model.get_ops():
        if op.get_type_name() == "Constant":
            halved = compress_to_fp16 and op.get_element_type().get_type_name() == "f32"
            sizes += op.get_byte_size() // (2 if halved else 1)
    return sizes


def save_ir(model: Any, xml: Path, compress_to_fp16: bool) -> None:
    """Write `xml` and its .bin."""
    import openvino  # noqa: PLC0415 (a third of a second that nobody waits for who only lists models)

    try:
        openvino.save_model(model, xml, compress_to_fp16=compress_to_fp16)
    except RuntimeError as error:  # "iostream error", which says neither which file nor why
        free = shutil.disk_usage(xml.parent).free >> 20
        raise Problem(f"{xml}: could not be written ({openvino_reason(error)}); free space there: {free} MB") from error
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


def read_ir(xml: Path) -> Any:  # -> openvino.Model
    """Read a whole IR, or raise Problem."""
    import openvino  # noqa: PLC0415

    check_ir(xml)
    try:
        return openvino.Core().read_model(xml)
    except RuntimeError as error:
        raise Problem(f"{xml}: OpenVINO cannot read it: {openvino_reason(error)}; convert the model again") from error


def facts_of(model: Any, recipe: str) -> str | None:
    """The section of rt_info with the facts of this recipe, or None where the IR is not of its making."""
    for section in model.get_rt_info():
        if _fact(model, [section, "recipe"]) == recipe:
            return str(section)
    return None


def maker(model: Any) -> str:
    """Who made an IR that is not of a recipe."""
    known = model.get_rt_info()
    return next((name for key, name in MAKERS.items() if key in known), "an unknown converter")


def _is_compressed(place: PublishedFolder) -> bool:
    return place.target.name.startswith("FP16")


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*")) if folder.is_dir() else 0


def _fact(model: Any, path: list[str]) -> str | None:
    try:
        return str(model.get_rt_info(path).value)
    except (RuntimeError, TypeError, AttributeError):  # a section of another shape
        return None
