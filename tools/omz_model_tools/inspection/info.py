"""The output of omz_info_dumper for a model: Open Model Zoo's keys and types, then ours."""

from pathlib import Path
from typing import Any

from omz_model_tools.descriptor.model import Checksum, Model, ModelFile
from omz_model_tools.inspection.stats import Stats


def info_of(model: Model) -> dict[str, Any]:
    """Return plain values for JSON; paths are absolute, unknown values null."""
    sizes = [file.size for file in model.files if file.size is not None]
    return {
        "name": model.name,
        "composite_model_name": None,
        "description": model.description,
        "framework": model.framework,
        "license_url": model.license,
        "accuracy_config": _path(model.descriptor.with_name("accuracy-check.yml")),
        "model_config": _path(model.descriptor),
        "precisions": sorted(model.precisions),
        "subdirectory": str(model.subdirectory),
        "task_type": model.task_type,
        "input_info": [
            {"name": given.name, "shape": list(given.shape or ()), "layout": given.layout or ""}
            for given in model.input_info
        ],
        "model_stages": [],
        "recipe": model.recipe,
        "download_size": sum(sizes) if len(sizes) == len(model.files) else None,
        "files": [_file(file) for file in model.files],
    }


def info_of_stats(stats: Stats, xml: Path) -> dict[str, Any]:
    """Return GFlops and MParams as in Open Model Zoo's specification tables, and what they were counted on."""
    return {
        "gflops": round(stats.flops / 1e9, 4),
        "mparams": round(stats.parameters / 1e6, 4),
        "input_shapes": {name: list(shape) for name, shape in stats.input_shapes.items()},
        "counted": stats.counted,
        "model": str(xml.absolute()),
    }


def _path(path: Path) -> str | None:
    return str(path.absolute()) if path.exists() else None


def _file(file: ModelFile) -> dict[str, Any]:
    return {
        "name": str(file.name),
        "size": file.size,
        "checksum": _checksum(file.checksum),
        "sources": [str(source) for source in file.sources],
        "original_source": None if file.original_source is None else str(file.original_source),
    }


def _checksum(checksum: Checksum) -> dict[str, str]:
    return {"$type": checksum.algorithm, "value": checksum.digest}
