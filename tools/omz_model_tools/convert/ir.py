"""Build, save, check, publish and read an IR: its .xml and .bin, its companions, and its facts in rt_info."""

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
"""The lock file beside the folders of IRs, for whoever replaces one of them."""
SMALL_FILES = 8 << 20  # bytes, at most, of the .xml and the companions of one precision

CONVERTERS = {
    "optimum": "optimum-intel",
    "MO_version": "Model Optimizer",
    "conversion_parameters": "openvino.convert_model",
}
"""A key that another converter writes into rt_info -> its name, the most specific first."""


def build(recipe: Recipe, folder: Path, checksums: Mapping[str, str], adapter: Path | None = None) -> Conversion:
    """Build one model for all precisions, with its facts; save_model compresses it to FP16."""
    try:
        if adapter is None:  # a recipe need not know of adapters
            conversion = recipe.convert(folder, checksums)
        else:
            conversion = recipe.convert(folder, checksums, adapter)
    except recipe.Problem as problem:
        raise Problem(one_line(problem)) from problem
    write_facts(conversion.model, conversion.facts)
    return conversion


def write_facts(model: Any, facts: Mapping[str, Mapping[str, str | int]]) -> None:
    """Write facts into the model's rt_info, by section."""
    for section, content in facts.items():
        for key, value in content.items():
            model.set_rt_info(value, [section, key])


def check_room(model: Any, folders: Sequence[PublishedFolder], free_in: Callable[[Path], int] = free_bytes) -> None:
    """Raise Problem if the IRs will not all fit on the disk, before the first is written.

    Each old IR takes its space until the new one is complete.
    """
    growth, peak = 0, 0
    for folder in folders:
        new = ir_bytes(model, _is_compressed(folder)) + SMALL_FILES
        peak = max(peak, growth + new)
        growth += new - _bytes_in(folder.target)
    names = ", ".join(folder.target.name for folder in folders)
    require_room(folders[0].target.parent, peak, names, "make room, or ask for fewer --precisions", free_in)


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
    """Return the size of the .bin of a model: its constants, f32 at half their size where compressed to FP16."""
    sizes = 0
    for op in model.get_ops():
        if op.get_type_name() == "Constant":
            halved = compress_to_fp16 and op.get_element_type().get_type_name() == "f32"
            sizes += op.get_byte_size() // (2 if halved else 1)
    return sizes


def save_ir(model: Any, xml: Path, compress_to_fp16: bool) -> None:
    """Write `xml` and its .bin, and check that they are complete."""
    import openvino  # noqa: PLC0415 (slow to import, and only listing models does not need it)

    try:
        openvino.save_model(model, xml, compress_to_fp16=compress_to_fp16)
    except RuntimeError as error:  # "iostream error", without the file or the reason
        free = shutil.disk_usage(xml.parent).free >> 20
        raise Problem(f"{xml}: could not be written ({openvino_reason(error)}); free space there: {free} MB") from error
    check_ir(xml)


def check_ir(xml: Path) -> None:
    """Raise Problem for a truncated IR: on a full disk, OpenVINO 2025.0 leaves one without an error."""
    with disk_problems(xml):
        try:
            layers = ElementTree.parse(xml).iter("data")
        except ElementTree.ParseError as error:
            raise Problem(
                f"{xml}: expected a whole IR, got one that ends early ({error}); is the disk full?"
            ) from error
        needed = max((int(data.get("offset", 0)) + int(data.get("size", 0)) for data in layers), default=0)
        weights = xml.with_suffix(".bin")
        got = weights.stat().st_size
    if got < needed:
        raise Problem(f"{weights}: expected {needed} bytes of weights, got {got}; is the disk full?")


def read_ir(xml: Path) -> Any:  # -> openvino.Model
    """Read a whole IR, or raise Problem."""
    import openvino  # noqa: PLC0415

    check_ir(xml)
    try:
        return openvino.Core().read_model(xml)
    except RuntimeError as error:
        raise Problem(f"{xml}: OpenVINO cannot read it: {openvino_reason(error)}; convert the model again") from error


def recipe_section(model: Any, recipe: str) -> str | None:
    """Return the section of rt_info with the facts of this recipe; None if another converter made the IR."""
    for section in model.get_rt_info():
        if _fact(model, [section, "recipe"]) == recipe:
            return str(section)
    return None


def recipe_of(model: Any) -> str | None:
    """Return the recipe that made an IR, from its rt_info; None if another converter made it."""
    return next((recipe for section in model.get_rt_info() if (recipe := _fact(model, [section, "recipe"]))), None)


def provenance(model: Any) -> str:
    """Return which converter made an IR that is not of a recipe, from its rt_info."""
    known = model.get_rt_info()
    return next((name for key, name in CONVERTERS.items() if key in known), "an unknown converter")


def _is_compressed(folder: PublishedFolder) -> bool:
    return folder.target.name.startswith("FP16")


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*")) if folder.is_dir() else 0


def _fact(model: Any, path: list[str]) -> str | None:
    try:
        return str(model.get_rt_info(path).value)
    except (RuntimeError, TypeError, AttributeError):  # no such key, or no section but a value
        return None
