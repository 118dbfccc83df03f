"""Read a dataset.yml into a data set: named files with a licence."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from omz_model_tools.descriptor import schema, strict_yaml
from omz_model_tools.descriptor.model import ModelFile, Postprocessing
from omz_model_tools.descriptor.model_yml import files_of, name_of, postprocessing_of
from omz_model_tools.descriptor.schema import Location


@dataclass(frozen=True)
class Dataset:
    name: str
    subdirectory: PurePosixPath  # "datasets/lambada", below every download folder
    descriptor: Path
    description: str
    license: str
    files: tuple[ModelFile, ...]
    postprocessing: tuple[Postprocessing, ...] = ()


def read_dataset(raw: bytes, path: Path, subdirectory: PurePosixPath, location: Location) -> Dataset:
    """Parse the bytes of a dataset.yml; `files` and `postprocessing` are as in a model.yml."""
    name = name_of(subdirectory, location)
    parsed = strict_yaml.parse(raw, ": ".join(location.crumbs))
    value = schema.fields(location, parsed, ("description", "license", "files"), ("postprocessing",))
    return Dataset(
        name=name,
        subdirectory=subdirectory,
        descriptor=path,
        description=schema.text(location.key("description"), value["description"]),
        license=schema.text(location.key("license"), value["license"]),
        files=files_of(location, value["files"], path.parent),
        postprocessing=postprocessing_of(location, value.get("postprocessing", [])),
    )
