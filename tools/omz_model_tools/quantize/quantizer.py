"""Quantize converted models: weights compressed to 8 or 4 bits, published as IRs of further precisions.

Only weights are compressed, not activations, so INT8 needs no calibration data, and the IR keeps its inputs, its output
and its facts.
"""

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.problem import Problem, disk_problems, one_line
from omz_model_tools.common.publish import PublishedFolder, locked_folders
from omz_model_tools.common.report import Report
from omz_model_tools.convert.ir import LOCK, SMALL_FILES, ir_bytes, provenance, read_ir, recipe_section, save_ir
from omz_model_tools.descriptor.model import Model
from omz_model_tools.quantize.nncf import Compress, check_group_size
from omz_model_tools.quantize.settings import INT8, Int4Settings

QUANTIZED = ("FP16-INT8", "FP16-INT4", "FP32-INT8", "FP32-INT4")
"""SOURCE-WEIGHTS: the precision of the source IR, and that of the compressed weights."""
CALIBRATIONS = "omz_model_tools.calibrations"
"""Group of entry points, each named after a recipe, that turn a calibration text into inputs of its models."""


class Calibration(Protocol):
    """The module that an entry point names."""

    Problem: type[Exception]  # what it raises for an error that the user can fix

    def inputs(self, text: Path, ir: Path) -> Sequence[Any]: ...  # model inputs, made of the text


@dataclass(frozen=True)
class Quantizer:
    model_dir: Path
    output_dir: Path
    precisions: Collection[str]  # of QUANTIZED
    report: Report
    compress: Compress
    load_calibration: Callable[[str], Calibration]  # by the name of the recipe
    int4: Int4Settings = field(default_factory=Int4Settings)
    dry_run: bool = False

    def quantize(self, model: Model) -> bool:
        """Publish an IR in each wanted precision; False, after reporting why, for the first that fails."""
        if model.recipe is None:
            self.report.section(f"Skipping {model.name} (no recipe, and only IRs of a recipe are quantized)")
            self.report.line()
            return True
        try:
            for precision in self.precisions:
                self._announce(model, precision)
                if not self.dry_run:
                    with disk_problems(self.output_dir / model.subdirectory):
                        self._quantize(model, model.recipe, precision)
                self.report.line()
        except Problem as problem:
            self.report.error(str(problem))
            self.report.line()
            return False
        return True

    def _announce(self, model: Model, precision: str) -> None:
        mark = "(DRY RUN) " if self.dry_run else ""
        source = self._source(model, precision)
        self.report.section(f"{mark}Quantizing {model.name} from {source.parent.name} to {precision}")
        self.report.line(f"Weights: {self._method(precision)}")
        self.report.line(f"{source} -> {self._folder(model, precision).target / source.name}")

    def _quantize(self, model: Model, recipe: str, precision: str) -> None:
        source, folder = self._source(model, precision), self._folder(model, precision)
        if not source.is_file():
            raise Problem(f"{source}: expected an IR, got none; run: omz_converter --name {model.name}")
        calibration = self._calibration(recipe, precision)  # imported where Ctrl-C has nothing to clean up
        with locked_folders(folder.target.with_name(LOCK), [folder], self._say_waiting):
            compressed = self._compressed(source, recipe, precision, calibration)
            with folder.replacing(ir_bytes(compressed, False) + SMALL_FILES) as new:
                save_ir(compressed, new / source.name, compress_to_fp16=False)
                _copy_companions(source, new)
            before, after = _size(source.parent, source.stem), _size(folder.target, source.stem)
        self.report.line(f"Size: {before / 1e6:.1f} MB -> {after / 1e6:.1f} MB")

    def _compressed(self, source: Path, recipe: str, precision: str, calibration: Calibration | None) -> Any:
        model = read_ir(source)
        section = recipe_section(model, recipe)
        if section is None:
            raise Problem(
                f"{source}: expected an IR of the recipe {recipe}, got one of {provenance(model)}; "
                "quantize it with its maker's own tools, or convert the checkpoint with omz_converter --route direct"
            )
        if "nncf" in model.get_rt_info():
            raise Problem(f"{source}: is quantized already; expected the IR that omz_converter writes")
        inputs = None
        if precision.endswith("INT4"):
            check_group_size(source, model, self.int4)
            inputs = self._calibration_inputs(source, calibration)
        compressed = self.compress(model, self.int4 if precision.endswith("INT4") else None, inputs)
        compressed.set_rt_info(self._method(precision), [section, "quantization"])
        return compressed

    def _calibration(self, recipe: str, precision: str) -> Calibration | None:
        wanted = precision.endswith("INT4") and self.int4.calibration_text is not None
        return self.load_calibration(recipe) if wanted else None

    def _calibration_inputs(self, source: Path, calibration: Calibration | None) -> Sequence[Any] | None:
        text = self.int4.calibration_text
        if text is None or calibration is None:
            return None
        try:
            return calibration.inputs(text, source)
        except calibration.Problem as problem:
            raise Problem(one_line(problem)) from problem

    def _method(self, precision: str) -> str:
        return self.int4.text() if precision.endswith("INT4") else INT8

    def _source(self, model: Model, precision: str) -> Path:
        return self.model_dir / model.subdirectory / precision.partition("-")[0] / f"{model.name}.xml"

    def _folder(self, model: Model, precision: str) -> PublishedFolder:
        return PublishedFolder(self.output_dir / model.subdirectory / precision)

    def _say_waiting(self) -> None:
        self.report.line("Waiting for another process at work on this model...")


def load_calibration(recipe: str) -> Calibration:
    """Return the installed calibration of a recipe."""
    from importlib import metadata  # noqa: PLC0415 - slow to import

    for entry in metadata.entry_points(group=CALIBRATIONS):
        if entry.name == recipe:
            with ends_at_once():
                calibration: Calibration = entry.load()
            return calibration
    raise Problem(f"--calibration_text: nothing that is installed reads a text for the recipe {recipe}")


def _copy_companions(source: Path, folder: Path) -> None:
    """Copy the files beside an IR, such as its vocabulary."""
    own = {source.name, source.with_suffix(".bin").name}
    for path in sorted(source.parent.iterdir()):
        if path.is_file() and path.name not in own:
            shutil.copyfile(path, folder / path.name)


def _size(folder: Path, stem: str) -> int:
    return sum((folder / f"{stem}{suffix}").stat().st_size for suffix in (".xml", ".bin"))
