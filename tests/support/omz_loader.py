"""The rules by which Open Model Zoo's own loader takes a model.yml, written down from reading openvino-dev 2024.6.0.

It ignores keys that it does not know. Beside the loader itself, on its 264 descriptors and 3,000 random changes of
some: the same verdict, but where it takes a text or a mapping for a list of letters or keys.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

FRAMEWORKS = ("dldt", "onnx", "pytorch", "tf")
PRECISIONS = ("FP16", "FP16-INT1", "FP16-INT8", "FP32", "FP32-INT1", "FP32-INT8")
TASK_TYPES = (
    *("action_recognition", "background_matting", "classification", "colorization", "detection", "face_recognition"),
    *("feature_extraction", "head_pose_estimation", "human_pose_estimation", "image_inpainting", "image_processing"),
    *("image_translation", "instance_segmentation", "machine_translation", "monocular_depth_estimation"),
    *("named_entity_recognition", "noise_suppression", "object_attributes", "optical_character_recognition"),
    *("place_recognition", "question_answering", "salient_object_detection", "semantic_segmentation"),
    *("sound_classification", "speech_recognition", "style_transfer", "text_prediction", "text_to_speech"),
    *("time_series", "token_recognition"),
)
SOURCES = {"http": "url", "google_drive": "id"}
STEPS = {"regex_replace": ("pattern", "replacement"), "unpack_archive": ("format",)}


def complaints(path: Path) -> list[str]:
    """Return what the loader refuses in a descriptor, or fails at; nothing for one that it takes."""
    value = yaml.safe_load(path.read_bytes())
    return [*_names(value, path), *_files(value), *_steps(value), *_conversion(value, path), *_texts(value)]


def _names(value: dict[str, Any], path: Path) -> Iterator[str]:
    yield from (f"the key {key}" for key in ("name", "subdirectory") if key in value)
    if not re.fullmatch(r"[0-9a-zA-Z._-]+", path.parent.name):
        yield "the name of the folder"


def _files(value: dict[str, Any]) -> Iterator[str]:
    seen = set()
    for file in value["files"]:
        name = file["name"]
        if not _is_relative(name) or PurePosixPath(name) in seen:
            yield f"files: the name {name}"
        seen.add(PurePosixPath(name))
        if not isinstance(file.get("size"), int) or file["size"] < 0:
            yield f"{name}: size"
        checksum = file.get("checksum")
        if isinstance(checksum, dict):
            checksum = checksum.get("value") if checksum.get("$type") == "sha384" else None
        if not isinstance(checksum, str) or not re.fullmatch("[0-9a-fA-F]{96}", checksum):
            yield f"{name}: checksum"
        source = file.get("source")
        if isinstance(source, dict):
            source = source.get(SOURCES.get(source.get("$type"), ""))
        if not isinstance(source, str):
            yield f"{name}: source"


def _steps(value: dict[str, Any]) -> Iterator[str]:
    for number, step in enumerate(value.get("postprocessing", [])):
        wanted = STEPS.get(step.get("$type"))
        if wanted is None or not _is_relative(step.get("file")):
            yield f"postprocessing {number}"
        elif not all(isinstance(step.get(key), str) for key in wanted):
            yield f"postprocessing {number}: its texts"
        elif not isinstance(step.get("count", 0), int) or step.get("count", 0) < 0:
            yield f"postprocessing {number}: count"


def _conversion(value: dict[str, Any], path: Path) -> Iterator[str]:
    framework, exported = value.get("framework"), value.get("conversion_to_onnx_args")
    if framework not in FRAMEWORKS:
        yield "framework"
    if bool(exported) != (framework == "pytorch") or not _are_texts(exported or []):
        yield "conversion_to_onnx_args"
    if "model_optimizer_args" in value:
        if not _are_texts(value["model_optimizer_args"]):
            yield "model_optimizer_args"
    elif framework != "dldt":
        yield "neither model_optimizer_args nor dldt"
    else:
        yield from _irs([PurePosixPath(file["name"]) for file in value["files"]], path.parent.name)
    for info in value.get("input_info", []):
        name, shape, layout = info.get("name"), info.get("shape", []), info.get("layout", "")
        if not (isinstance(name, str) and isinstance(shape, list) and isinstance(layout, str)):
            yield f"input_info {name}"


def _irs(names: list[PurePosixPath], model: str) -> Iterator[str]:
    for folder in {name.parts[0] for name in names if len(name.parts) == 2 and name.parts[0].startswith("FP")}:
        if folder not in PRECISIONS:
            yield f"the precision {folder}"
        elif not {PurePosixPath(folder, f"{model}.{end}") for end in ("xml", "bin")} <= set(names):
            yield f"the files of {folder}"


def _texts(value: dict[str, Any]) -> Iterator[str]:
    yield from (key for key in ("description", "license") if not isinstance(value.get(key), str))
    if value.get("task_type") not in TASK_TYPES:
        yield "task_type"


def _is_relative(name: Any) -> bool:
    return isinstance(name, str) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
