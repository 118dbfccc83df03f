"""Quantize converted models: weights compressed to 8 or 4 bits, published as IRs of further precisions.

Only weights are compressed, not activations, so INT8 needs no calibration data, and the IR keeps its inputs, its output
and its facts.
"""

import shlex
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.problem import Problem, disk_problems, one_line
from omz_model_tools.common.publish import PublishedFolder, locked_folders
from omz_model_tools.common.report import Report
from omz_model_tools.convert.ir import (
    LOCK,
    SMALL_FILES,
    ir_bytes,
    provenance,
    read_ir,
    recipe_of,
    recipe_section,
    save_ir,
)
from omz_model_tools.descriptor.catalogue import flags_selecting
from omz_model_tools.descriptor.model import Model
from omz_model_tools.quantize.nncf import Compress, check_group_size
from omz_model_tools.quantize.settings import INT8, Int4Settings

QUANTIZED = ("FP16-INT8", "FP16-INT4", "FP32-INT8", "FP32-INT4")
"""SOURCE-WEIGHTS: the precision of the source IR, and that of the compressed weights."""
SOURCES = ("FP16", "FP32")
CALIBRATIONS = "omz_model_tools.calibrations"
"""Group of entry points, each named after a recipe, that turn a calibration text into inputs of its models."""


class Calibration(Protocol):
    """The module that an entry point names."""

    Problem: type[Exception]  # what it raises for an error that the user can fix

    def inputs(self, text: Path, ir: Path) -> Sequence[Any]: ...  # model inputs, made of the text


@dataclass(frozen=True)
class Job:
    """An IR to quantize, the recipe that made it, and the folder of the quantized IR, named after its precision."""

    name: str
    recipe: str
    source: Path
    folder: PublishedFolder

    @property
    def precision(self) -> str:
        return self.folder.target.name


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
                source = self.model_dir / model.subdirectory / precision.partition("-")[0] / f"{model.name}.xml"
                folder = PublishedFolder(self.output_dir / model.subdirectory / precision)
                convert = ["omz_converter", *flags_selecting(model), "-d", str(self.model_dir)]
                self._run(Job(model.name, model.recipe, source, folder), shlex.join(convert))
        except Problem as problem:
            self.report.error(str(problem))
            self.report.line()
            return False
        return True

    def quantize_ir(self, ir: Path) -> None:
        """Publish an IR of any folder in each wanted precision, below output_dir.

        Raises Problem for the first that fails, and for a precision that is not of the IR's folder.
        """
        source = source_precision(ir)
        for precision in self.precisions:
            if not precision.startswith(f"{source}-"):
                raise Problem(f"--precisions: expected {source}-INT8 or {source}-INT4 of {ir}, got {precision}")
        if not ir.is_file():
            raise Problem(f"{ir}: expected the .xml of an IR, got {'a folder' if ir.is_dir() else 'none'}")
        recipe = recipe_of(read_ir(ir)) or ""
        for precision in self.precisions:
            self._run(Job(ir.stem, recipe, ir, PublishedFolder(self.output_dir / precision)))

    def _run(self, job: Job, command: str = "") -> None:
        self._announce(job)
        if not self.dry_run:
            if not job.source.is_file():
                raise Problem(f"{job.source}: expected an IR, got none; run: {command}")
            with disk_problems(job.folder.target.parent):
                self._quantize(job)
        self.report.line()

    def _announce(self, job: Job) -> None:
        mark = "(DRY RUN) " if self.dry_run else ""
        self.report.section(f"{mark}Quantizing {job.name} from {job.source.parent.name} to {job.precision}")
        self.report.line(f"Weights: {self._method(job.precision)}")
        self.report.line(f"{job.source} -> {job.folder.target / job.source.name}")

    def _quantize(self, job: Job) -> None:
        source, folder = job.source, job.folder
        calibration = self._calibration(job.recipe, job.precision)  # imported where Ctrl-C has nothing to clean up
        with locked_folders(folder.target.with_name(LOCK), [folder], self._say_waiting):
            compressed = self._compressed(job, calibration)
            with folder.replacing(ir_bytes(compressed, False) + SMALL_FILES) as new:
                save_ir(compressed, new / source.name, compress_to_fp16=False)
                _copy_companions(source, new)
            before, after = _size(source.parent, source.stem), _size(folder.target, source.stem)
        self.report.line(f"Size: {before / 1e6:.1f} MB -> {after / 1e6:.1f} MB")

    def _compressed(self, job: Job, calibration: Calibration | None) -> Any:
        model, source = read_ir(job.source), job.source
        section = recipe_section(model, job.recipe) if job.recipe else None
        if section is None:
            expected = f"an IR of the recipe {job.recipe}" if job.recipe else "an IR of a recipe"
            raise Problem(
                f"{source}: expected {expected}, got one of {provenance(model)}; "
                "quantize it with its maker's own tools, or convert the checkpoint with omz_converter --route direct"
            )
        if "nncf" in model.get_rt_info():
            raise Problem(f"{source}: is quantized already; expected the IR that omz_converter writes")
        inputs = None
        if job.precision.endswith("INT4"):
            check_group_size(source, model, self.int4)
            inputs = self._calibration_inputs(source, calibration)
        compressed = self.compress(model, self.int4 if job.precision.endswith("INT4") else None, inputs)
        compressed.set_rt_info(self._method(job.precision), [section, "quantization"])
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

    def _say_waiting(self) -> None:
        self.report.line("Waiting for another process at work on this model...")


def source_precision(ir: Path) -> str:
    """Return the precision that the folder of an IR is named after; FP16 for a folder of another name."""
    name = ir.absolute().parent.name
    return name if name in SOURCES else "FP16"


def folder_above(ir: Path) -> Path:
    """Return the folder in which FP16-INT8 belongs: beside FP16, or where the folder of the IR is none, in it."""
    folder = ir.absolute().parent
    return folder.parent if folder.name in SOURCES else folder


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
