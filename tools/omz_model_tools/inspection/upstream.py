"""A descriptor in the form that Open Model Zoo's own loader takes (openvino-dev 2024.6.0).

Ours may say more: several sources of a file, sources beside the descriptor, SHA-256, files without a size, a recipe.
Open Model Zoo's loader takes one source in the network, SHA-384 and a size, and its converter goes through ONNX.
"""

import hashlib
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml

from omz_model_tools.common.problem import Problem, disk_problems
from omz_model_tools.common.publish import check_file, publishing
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.catalogue import flags_selecting
from omz_model_tools.descriptor.model import HttpSource, Model, ModelFile
from omz_model_tools.descriptor.strict_yaml import Mapping, parse

FRAMEWORKS = ("dldt", "onnx", "pytorch", "tf")
BESIDE = ("model.py", "pre-convert.py", "accuracy-check.yml")
"""What its converter and its accuracy checker read beside a descriptor."""


class _Dumper(yaml.SafeDumper):
    """Knows the mappings of our parser, and indents lists as Open Model Zoo does."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Dumper.add_representer(Mapping, yaml.SafeDumper.represent_dict)


def write_upstream(model: Model, tree: Path, download_dir: Path) -> Path:
    """Write tree/public/NAME with what Open Model Zoo needs; return the path of the model.yml.

    A SHA-384 that the descriptor has not is that of the file in the download folder, once it is verified.
    Raises Problem, before anything is written, for a model that cannot be described so.
    """
    target = tree / model.subdirectory / "model.yml"
    text = upstream_text(model, download_dir)
    with disk_problems(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent.samefile(model.descriptor.parent):
            raise Problem(f"{target}: expected another tree than that of the descriptor, got the same")
        beside = [path for name in BESIDE if (path := model.descriptor.with_name(name)).is_file()]
        for path in (target, *beside):
            check_file(target.with_name(path.name))
        for path in beside:
            shutil.copyfile(path, target.with_name(path.name))
        with publishing(target) as out:
            out.write(text.encode())
    return target


def upstream_text(model: Model, download_dir: Path) -> str:
    """Return the descriptor's text."""
    if model.framework not in FRAMEWORKS:
        raise _refused(model, f'"framework": expected one of {", ".join(FRAMEWORKS)}, got {model.framework}')
    if model.recipe is not None and model.model_optimizer_args is None:
        raise _refused(model, 'expected "model_optimizer_args" beside the recipe, got no such key')
    if model.framework == "pytorch" and not model.conversion_to_onnx_args:
        raise _refused(model, 'expected "conversion_to_onnx_args" beside the recipe, got no such key')
    with disk_problems(model.descriptor):
        value = parse(model.descriptor.read_bytes(), str(model.descriptor))
    value.pop("recipe", None)
    for entry, file in zip(value["files"], model.files, strict=True):
        entry.pop("max_size", None)
        entry.update(_file(model, file, download_dir))
    if any(argument.startswith("--input_shape=") for argument in model.model_optimizer_args or ()):
        for entry in value.get("input_info", []):  # its converter would append this shape, and so replace that one
            entry.pop("shape", None)
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _file(model: Model, file: ModelFile, download_dir: Path) -> dict[str, Any]:
    source = next((source for source in file.sources if isinstance(source, HttpSource)), None)
    if source is None:
        raise _refused(model, f'files "{file.name}": expected a source in the network, got only a file beside it')
    if file.checksum.algorithm == "sha384":
        return {"size": file.size, "checksum": file.checksum.digest, "source": source.url}
    path = download_dir / model.subdirectory / file.name
    error = verify.find_error(path, file)
    if error is not None:
        command = shlex.join(["omz_downloader", *flags_selecting(model), "-o", str(download_dir)])
        raise Problem(f"{path}: its SHA-384 is needed: {error}; run: {command}")
    with disk_problems(path), path.open("rb") as stream:
        digest = hashlib.sha384()
        while chunk := stream.read(verify.CHUNK):
            digest.update(chunk)
        return {"size": stream.tell(), "checksum": digest.hexdigest(), "source": source.url}


def _refused(model: Model, words: str) -> Problem:
    return Problem(f"{model.descriptor}: {words}: Open Model Zoo cannot take it")
