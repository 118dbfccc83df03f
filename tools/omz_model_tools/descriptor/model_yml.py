"""Parse and check a model.yml."""

import re
import warnings
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from omz_model_tools.descriptor import schema, strict_yaml
from omz_model_tools.descriptor.model import (
    HEX_DIGITS,
    OURS,
    PRECISIONS,
    Checksum,
    FileSource,
    HttpSource,
    InputInfo,
    Model,
    ModelFile,
    ModelInfoValue,
    Postprocessing,
    RegexReplace,
    Source,
    UnpackArchive,
    relative_name,
)
from omz_model_tools.descriptor.schema import Location

FRAMEWORKS = ("caffe", "dldt", "mxnet", "onnx", "paddle", "pytorch", "tf")
TASK_TYPES = (
    "action_recognition",
    "background_matting",
    "classification",
    "colorization",
    "detection",
    "face_recognition",
    "feature_extraction",
    "head_pose_estimation",
    "human_pose_estimation",
    "image_inpainting",
    "image_processing",
    "image_translation",
    "instance_segmentation",
    "machine_translation",
    "monocular_depth_estimation",
    "named_entity_recognition",
    "noise_suppression",
    "object_attributes",
    "optical_character_recognition",
    "place_recognition",
    "question_answering",
    "salient_object_detection",
    "semantic_segmentation",
    "sound_classification",
    "speech_recognition",
    "style_transfer",
    "text_prediction",
    "text_to_speech",
    "time_series",
    "token_recognition",
)
ARCHIVES = ("bztar", "gztar", "tar", "xztar", "zip")
REQUIRED = ("description", "task_type", "files", "framework", "license")
OPTIONAL = (
    "recipe",
    "input_info",
    "postprocessing",
    "conversion_to_onnx_args",
    "model_optimizer_args",
    "model_info",
    "quantizable",
    "quantized",
)
GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="


def read_model(raw: bytes, path: Path, subdirectory: PurePosixPath, location: Location) -> Model:
    """Parse the bytes of the model.yml at `path`; `location` begins each error message."""
    name = name_of(subdirectory, location)
    value = schema.fields(location, strict_yaml.parse(raw, ": ".join(location.crumbs)), REQUIRED, OPTIONAL)
    files = files_of(location, value["files"], path.parent)
    framework = schema.one_of(location.key("framework"), value["framework"], FRAMEWORKS)
    quantized = schema.one_of(location.key("quantized"), value["quantized"], ["INT8"]) if "quantized" in value else None
    return Model(
        name=name,
        subdirectory=subdirectory,
        descriptor=path,
        description=schema.text(location.key("description"), value["description"]),
        task_type=schema.one_of(location.key("task_type"), value["task_type"], TASK_TYPES),
        framework=framework,
        license=schema.text(location.key("license"), value["license"]),
        files=files,
        precisions=_precisions(location, value, name, files),
        recipe=_recipe(location, value),
        input_info=_input_info(location, value.get("input_info", [])),
        postprocessing=postprocessing_of(location, value.get("postprocessing", [])),
        conversion_to_onnx_args=_conversion_to_onnx_args(location, value, framework),
        model_optimizer_args=_strings(location, value, "model_optimizer_args"),
        model_info=_model_info(location.key("model_info"), value.get("model_info", strict_yaml.Mapping())),
        quantizable=schema.boolean(location.key("quantizable"), value.get("quantizable", False)),
        quantized=quantized,
    )


def name_of(subdirectory: PurePosixPath, location: Location) -> str:
    """Return the name of a model, which is that of its folder."""
    if not re.fullmatch(r"[0-9a-zA-Z._-]+", subdirectory.name):
        raise location.expected("a folder name of letters, digits and ._-", subdirectory.name)
    return subdirectory.name


def _strings(location: Location, value: Any, key: str) -> tuple[str, ...] | None:
    if key not in value:
        return None
    return tuple(schema.text(where, element) for where, element in schema.items(location, key, value[key]))


def _recipe(location: Location, value: Any) -> str | None:
    if "recipe" not in value:
        return None
    location = location.key("recipe")
    recipe = schema.text(location, value["recipe"])
    if not re.fullmatch(r"[0-9a-zA-Z._-]+", recipe):
        raise location.expected("the name of a recipe (letters, digits and ._-)", recipe)
    if value["framework"] == "dldt":
        raise location.problem('expected no recipe, since with "framework: dldt" the files are the IR')
    return recipe


def _conversion_to_onnx_args(location: Location, value: Any, framework: str) -> tuple[str, ...]:
    key = "conversion_to_onnx_args"
    args = _strings(location, value, key) or ()
    if framework == "pytorch" and not args and "recipe" not in value:
        raise location.key(key).problem(
            'expected a list, since "framework: pytorch" without a recipe goes through ONNX'
        )
    if framework != "pytorch" and args:
        raise location.key(key).problem(f'expected no such key with "framework: {framework}"')
    return args


def files_of(location: Location, value: Any, beside: Path) -> tuple[ModelFile, ...]:
    """The value of the key `files`; files that a source names by path lie beside the descriptor, in `beside`."""
    files: dict[PurePosixPath, ModelFile] = {}
    for where, element in schema.items(location, "files", value):
        file_location, file = _file(where, element, beside)
        if file.name in files:
            raise file_location.key("name").problem("expected a name of its own, got that of an earlier file")
        if any(OURS.fullmatch(part) for part in file.name.parts):
            raise file_location.key("name").problem(
                "expected a name of its own, got one that these tools keep for themselves"
            )
        for other in files:
            if other in file.name.parents or file.name in other.parents:
                raise file_location.key("name").problem(f'expected a place of its own, but "{other}" is a file too')
        files[file.name] = file
    if not files:
        raise location.key("files").problem("expected at least one file, got none")
    return tuple(files.values())


def _file(location: Location, value: Any, beside: Path) -> tuple[Location, ModelFile]:
    if isinstance(value, dict) and isinstance(value.get("name"), str) and value["name"].isprintable():
        location = Location((*location.crumbs[:-1], f'{location.crumbs[-1]} "{value["name"]}"'))
    schema.fields(location, value, ("name", "checksum", "source"), ("size", "max_size", "original_source"))
    checksum = checksum_of(location.key("checksum"), value["checksum"])
    # OMZ requires a size beside its sha384; only a file with a tagged sha256 may leave it out.
    if "size" not in value and checksum.algorithm != "sha256":
        raise location.key("size").problem("expected a non-negative integer, got no such key")
    if "size" in value and "max_size" in value:
        raise location.key("max_size").problem("expected no such key beside a size, which the file has exactly")
    original = value.get("original_source")
    return location, ModelFile(
        name=file_name_of(location.key("name"), value["name"]),
        size=schema.integer(location.key("size"), value["size"]) if "size" in value else None,
        checksum=checksum,
        sources=_sources(location, value["source"], beside),
        original_source=None if original is None else _source(location.key("original_source"), original, beside),
        max_size=schema.integer(location.key("max_size"), value["max_size"]) if "max_size" in value else None,
    )


def file_name_of(location: Location, value: Any) -> PurePosixPath:
    try:
        return relative_name(schema.text(location, value))
    except ValueError as error:
        raise location.expected(str(error), value) from None


def checksum_of(location: Location, value: Any) -> Checksum:
    algorithm = "sha384"
    if not isinstance(value, str):
        schema.fields(location, value, ("$type", "value"))
        algorithm = schema.one_of(location.key("$type"), value["$type"], HEX_DIGITS)
        location, value = location.key("value"), value["value"]
    try:
        return Checksum(algorithm, schema.text(location, value).lower())
    except ValueError as error:
        raise location.expected(str(error), value) from None


def _sources(location: Location, value: Any, beside: Path) -> tuple[Source, ...]:
    if not isinstance(value, list):
        return (_source(location.key("source"), value, beside),)
    if not value:
        raise location.key("source").problem("expected at least one source, got none")
    return tuple(_source(where, element, beside) for where, element in schema.items(location, "source", value))


def _source(location: Location, value: Any, beside: Path) -> Source:
    if isinstance(value, str):
        return _http(location, value)
    fields = {"http": "url", "google_drive": "id", "file": "path"}
    if not isinstance(value, dict):
        raise location.expected("a URL or a mapping", value)
    if "$type" not in value:
        raise location.key("$type").problem(f"expected one of {', '.join(sorted(fields))}, got no such key")
    kind = schema.one_of(location.key("$type"), value["$type"], fields)
    key = fields[kind]
    schema.fields(location, value, ("$type", key))
    if kind == "file":
        return FileSource(beside / file_name_of(location.key(key), value[key]))
    content = schema.text(location.key(key), value[key])
    return _http(location.key(key), content if kind == "http" else GOOGLE_DRIVE + quote(content, safe=""))


def _http(location: Location, url: str) -> HttpSource:
    try:
        return HttpSource(schema.text(location, url))
    except ValueError as error:
        raise location.expected(str(error), url) from None


def _input_info(location: Location, value: Any) -> tuple[InputInfo, ...]:
    found = []
    for where, element in schema.items(location, "input_info", value):
        schema.fields(where, element, ("name",), ("shape", "layout"))
        shape = None
        if "shape" in element:
            shape = tuple(schema.integer(at, size) for at, size in schema.items(where, "shape", element["shape"]))
        layout = schema.text(where.key("layout"), element["layout"]) if "layout" in element else None
        found.append(InputInfo(schema.text(where.key("name"), element["name"]), shape, layout))
    return tuple(found)


def postprocessing_of(location: Location, value: Any) -> tuple[Postprocessing, ...]:
    """Parse the value of the key `postprocessing`."""
    readers = {"unpack_archive": _unpack_archive, "regex_replace": _regex_replace}
    found = []
    for where, element in schema.items(location, "postprocessing", value):
        if not isinstance(element, dict):
            raise where.expected("a mapping", element)
        kind = schema.one_of(where.key("$type"), element.get("$type"), readers)
        found.append(readers[kind](where, element))
    return tuple(found)


def _unpack_archive(location: Location, value: Any) -> Postprocessing:
    schema.fields(location, value, ("$type", "file", "format"))
    kind = schema.one_of(location.key("format"), value["format"], ARCHIVES)
    return UnpackArchive(file_name_of(location.key("file"), value["file"]), kind)


def _regex_replace(location: Location, value: Any) -> Postprocessing:
    schema.fields(location, value, ("$type", "file", "pattern", "replacement"), ("count",))
    return RegexReplace(
        file=file_name_of(location.key("file"), value["file"]),
        pattern=_pattern(location.key("pattern"), value["pattern"]),
        replacement=schema.text(location.key("replacement"), value["replacement"]),
        count=schema.integer(location.key("count"), value.get("count", 0)),
    )


def _pattern(location: Location, value: Any) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "possible nested set", for a pattern of Open Model Zoo's
            return re.compile(schema.text(location, value))
    except (re.error, OverflowError, RecursionError) as error:
        raise location.problem(f"expected a regular expression, got {schema.short_repr(value)} ({error})") from None


def _model_info(location: Location, value: Any) -> tuple[tuple[str, ModelInfoValue], ...]:
    texts, numbers = ("model_type", "resize_type"), ("confidence_threshold", "iou_threshold")
    lists: dict[str, Any] = {"anchors": schema.number, "masks": schema.integer, "labels": schema.text}
    schema.fields(location, value, (), (*texts, *numbers, *lists))
    found: list[tuple[str, ModelInfoValue]] = []
    for key, content in value.items():
        if key in lists:
            found.append((key, tuple(lists[key](at, element) for at, element in schema.items(location, key, content))))
        else:
            found.append((key, (schema.text if key in texts else schema.number)(location.key(key), content)))
    return tuple(found)


def _precisions(location: Location, value: Any, name: str, files: tuple[ModelFile, ...]) -> tuple[str, ...]:
    if "recipe" in value or "model_optimizer_args" in value:
        suffix = f"-{value['quantized']}" if "quantized" in value else ""
        return f"FP16{suffix}", f"FP32{suffix}"
    if value["framework"] != "dldt":
        raise location.problem('expected "recipe" or "model_optimizer_args": the model is no IR and needs a conversion')
    return _ir_precisions(location, name, files)


def _ir_precisions(location: Location, name: str, files: tuple[ModelFile, ...]) -> tuple[str, ...]:
    """Return the precisions of a model whose files are IRs, FP16/NAME.xml with FP16/NAME.bin."""
    names = {str(file.name) for file in files}
    folders = {file.name.parts[0] for file in files if len(file.name.parts) == 2 and file.name.parts[0][:2] == "FP"}
    for folder in sorted(folders):
        schema.one_of(location.key("files"), folder, PRECISIONS)
        for wanted in (f"{folder}/{name}.xml", f"{folder}/{name}.bin"):
            if wanted not in names:
                raise location.key("files").problem(f'expected "{wanted}" with the other files of {folder}')
    return tuple(sorted(folders))
