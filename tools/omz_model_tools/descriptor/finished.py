"""What a finished download has in its folder: the descriptor's files, or what postprocessing has made of them.

Postprocessing leaves a record of its results. The downloader, its --verify and the converter all ask here.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from omz_model_tools.common.problem import disk_problems
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.model import (
    Checksum,
    Downloadable,
    ModelFile,
    Postprocessing,
    UnpackArchive,
    relative_name,
)

RECORD = ".postprocessed.json"
DAMAGED_RECORD = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)  # raised by a record that we did not write


class NotPostprocessed(verify.VerificationError):
    def __init__(self) -> None:
        super().__init__('expected the results of the descriptor\'s "postprocessing", got no record of them')


def finished_files(model: Downloadable, folder: Path) -> tuple[ModelFile, ...] | None:
    """Return the files that should be there: those that no step has touched, and the results of the steps.

    None if the record of the steps is missing, damaged, or of other files or steps.
    """
    if not model.postprocessing:
        return model.files
    results = _results(model, folder)
    if results is None:
        return None
    made = {result.name for result in results}
    return (*(file for file in without_archives(model) if file.name not in made), *results)


def is_postprocessed(model: Downloadable, folder: Path) -> bool:
    """Whether there are steps, exactly these were done on exactly these files, and every file matches its checksum."""
    with disk_problems(folder):
        files = finished_files(model, folder) if model.postprocessing else None
        return files is not None and all(_matches(folder / file.name, file) for file in files)


def check_finished(model: Downloadable, folder: Path) -> Iterator[tuple[Path, verify.VerificationError | None]]:
    """Yield each file with why it does not match, or None if it does; Problem for a folder in its place.

    Without the record of the steps, these are the descriptor's files, and then the folder as NotPostprocessed.
    """
    with disk_problems(folder):
        files = finished_files(model, folder)
    for file in model.files if files is None else files:
        path = folder / file.name
        with disk_problems(path):
            yield path, verify.find_error(path, file)
    if files is None:
        yield folder, NotPostprocessed()


def _matches(path: Path, file: ModelFile) -> bool:
    """Whether the file matches; a folder in its place counts as missing."""
    return path.is_file() and verify.matches(path, file)


def archives(model: Downloadable) -> list[PurePosixPath]:
    """Return the archives of the descriptor, which are deleted once they are unpacked."""
    unpacked = {step.file for step in model.postprocessing if isinstance(step, UnpackArchive)}
    return [file.name for file in model.files if file.name in unpacked]


def without_archives(model: Downloadable) -> tuple[ModelFile, ...]:
    gone = archives(model)
    return tuple(file for file in model.files if file.name not in gone)


def inputs_of(model: Downloadable) -> dict[str, Any]:
    """Return the descriptor's files and steps in JSON types, as the record has them beside the results."""
    files = [[str(file.name), file.checksum.algorithm, file.checksum.digest] for file in model.files]
    return {"files": files, "steps": [_described(step) for step in model.postprocessing]}


def _described(step: Postprocessing) -> list[str | int]:
    if isinstance(step, UnpackArchive):
        return ["unpack_archive", str(step.file), step.format]
    return ["regex_replace", str(step.file), step.pattern.pattern, step.replacement, step.count]


def _results(model: Downloadable, folder: Path) -> list[ModelFile] | None:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if {key: record[key] for key in inputs_of(model)} != inputs_of(model):
            return None
        return [_as_file(**output) for output in record["outputs"]]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, *DAMAGED_RECORD):
        return None


def _as_file(path: str, size: int, sha256: str) -> ModelFile:
    """Read a result in a record; an exception of DAMAGED_RECORD if it is not one of ours."""
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(size)
    return ModelFile(relative_name(path), size, Checksum("sha256", sha256), ())
