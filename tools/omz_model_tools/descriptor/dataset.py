"""Read a dataset.yml into a data set: named files with a licence."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from omz_model_tools.descriptor import schema, strict_yaml
from omz_model_tools.descriptor.model import Checksum, ModelFile, Postprocessing
from omz_model_tools.descriptor.model_yml import checksum_of, file_name_of, files_of, name_of, postprocessing_of
from omz_model_tools.descriptor.schema import Location


@dataclass(frozen=True)
class UnpackedFile:
    """A file that an archive of the data set contains."""

    name: PurePosixPath
    size: int
    checksum: Checksum


@dataclass(frozen=True)
class Dataset:
    name: str
    subdirectory: PurePosixPath  # "datasets/lambada", below every download folder
    descriptor: Path
    description: str
    license: str
    files: tuple[ModelFile, ...]
    postprocessing: tuple[Postprocessing, ...] = ()
    contents: tuple[UnpackedFile, ...] = ()  # files of its archives that tools check before they use them

    def checksum(self, name: PurePosixPath) -> Checksum:
        """The checksum of a file, downloaded or unpacked."""
        files: list[ModelFile | UnpackedFile] = [*self.files, *self.contents]
        return next(file.checksum for file in files if file.name == name)


def read_dataset(raw: bytes, path: Path, subdirectory: PurePosixPath, location: Location) -> Dataset:
    """Parse the bytes of a dataset.yml; `files` and `postprocessing` are as in a model.yml."""
    name = name_of(subdirectory, location)
    parsed = strict_yaml.parse(raw, ": ".join(location.crumbs))
    value = schema.fields(location, parsed, ("description", "license", "files"), ("postprocessing", "contents"))
    return Dataset(
        name=name,
        subdirectory=subdirectory,
        descriptor=path,
        description=schema.text(location.key("description"), value["description"]),
        license=schema.text(location.key("license"), value["license"]),
        files=files_of(location, value["files"], path.parent),
        postprocessing=postprocessing_of(location, value.get("postprocessing", [])),
        contents=tuple(_unpacked(*item) for item in schema.items(location, "contents", value.get("contents", []))),
    )


def _unpacked(location: Location, value: Any) -> UnpackedFile:
    schema.fields(location, value, ("name", "size", "checksum"))
    return UnpackedFile(
        name=file_name_of(location.key("name"), value["name"]),
        size=schema.integer(location.key("size"), value["size"]),
        checksum=checksum_of(location.key("checksum"), value["checksum"]),
    )
