"""Where a model's file is, found by a path, a name or a folder, and whether it is whole: without OpenVINO."""

import os
import re
from difflib import get_close_matches
from pathlib import Path

from gpt2_text_prediction.problem import Problem, readable

MODEL_SUFFIXES = (".xml", ".onnx")
PUBLIC = Path("public")
"""The folder of converted models, below the current one, where omz_converter writes them."""
PRECISION = "FP16"
ALIKE = 0.8
"""How alike two names are of which one may be the other, misspelt: gpt-2 and gpt-2-mini are less so."""
NO_PATH = "there is no such folder or model file (.xml)"


def model_path(model: str | Path, precision: str | None = None) -> Path:
    """Return the path of a model.

    model: a file; or a folder that omz_converter has written, of a model with its precisions or of one of them; or the
    name of a model in ./public, which goes before a folder of that name here. precision: FP16 unless given.
    Raises Problem, with what there is, where there is no such model.
    """
    if not str(model):
        raise Problem("model: expected a name or a path, got nothing")
    path = Path(model)
    with readable(path):
        if path.suffix in MODEL_SUFFIXES or (path.exists() and not path.is_dir()):
            if precision is not None:
                raise Problem(f"precision: is for a model's name or folder; {path} is a file")
            return path
        is_name = len(path.parts) == 1 and path.name != ".."
        if is_name and (PUBLIC / path).is_dir():
            return _in_folder(PUBLIC / path, precision)
        if not path.is_dir():
            raise Problem(f"{model}: {_no_such_name(path) if is_name else NO_PATH}")
        return _in_folder(path, precision)


def _in_folder(folder: Path, precision: str | None) -> Path:
    here = sorted(folder.glob("*.xml"))
    if precision is None and len(here) == 1:
        return here[0]
    if precision is None and here:
        raise Problem(f"{folder}: has several models: give one of {', '.join(path.name for path in here)}")
    below = {path.parent.name: path for path in sorted(folder.glob(f"*/{folder.resolve().name}.xml"))}
    wanted = precision or PRECISION
    if wanted in below:
        return below[wanted]
    if below:
        how = "give one as precision" if precision else f"give one of {', '.join(str(folder / name) for name in below)}"
        raise Problem(f"{folder}: has no model of {wanted}; it has {', '.join(below)}: {how}")
    if models := sorted({path.parents[1].name for path in folder.glob("*/*/*.xml")}):
        raise Problem(f"{folder}: holds models: give one of {', '.join(str(folder / name) for name in models)}")
    raise Problem(f"{folder}: has no model of {wanted}; convert the model with omz_converter")


def _no_such_name(model: Path) -> str:
    names = sorted(path.name for path in PUBLIC.iterdir() if path.is_dir()) if PUBLIC.is_dir() else []
    missing = f"there is no such model in {PUBLIC.resolve()}"
    if near := get_close_matches(str(model), names, 1, ALIKE):
        return f"{missing}; did you mean {near[0]}?"
    known = f"; {PUBLIC}{os.sep} has {', '.join(names)}" if names else ""
    return f"{missing}{known}; to get it, run omz_downloader --name {model} && omz_converter --name {model}"


def check_files(path: Path) -> None:
    """Raise Problem unless there is a model file, and for an .xml its .bin of the right size beside it."""
    expected = "expected an .xml of omz_converter, such as public/gpt-2-mini/FP16/gpt-2-mini.xml"
    with readable(path):
        if not path.is_file():
            raise Problem(f"{path}: {'is a folder' if path.is_dir() else 'there is no such model file'}; {expected}")
        if path.suffix not in MODEL_SUFFIXES:
            raise Problem(f"{path}: is no model file; {expected}")
        if path.suffix == ".xml":
            _check_weights(path)


def _check_weights(path: Path) -> None:
    description = path.read_bytes()
    # OpenVINO would try to read anything else as a model of each framework it supports.
    if not re.search(rb'<net [^>]*version="1[01]"', description):
        raise Problem(f"{path}: is no OpenVINO IR: it has no <net> of version 10 or 11; convert the model again")
    if not description.rstrip().endswith(b"</net>"):
        raise Problem(f"{path}: is cut: it does not end with </net>; convert the model again")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise Problem(f"{weights}: there is no such file; the weights must lie beside {path.name}: convert again")
    ends = [int(m[1]) + int(m[2]) for m in re.finditer(rb'offset="(\d{1,18})" size="(\d{1,18})"', description)]
    expected, found = max(ends, default=0), weights.stat().st_size
    if found != expected:
        raise Problem(f"{weights}: expected {expected} bytes as {path.name} says, got {found}: convert again")
