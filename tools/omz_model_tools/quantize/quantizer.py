"""IRs of a recipe with their weights compressed to 8 or 4 bits by NNCF; it knows no command line and no tokenizer.

Activations stay as they are, so that INT8 needs no data and the IR keeps its inputs, its output and its facts.
"""

import contextlib
import importlib.metadata
import io
import logging
import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.problem import Problem, disk_problems, one_line
from omz_model_tools.common.publish import FolderPlace
from omz_model_tools.common.report import Report
from omz_model_tools.convert.converter import LOCK
from omz_model_tools.convert.ir import SMALL_FILES, facts_of, ir_bytes, maker, require_room, save_ir
from omz_model_tools.descriptor.model import Model

QUANTIZED = ("FP16-INT8", "FP16-INT4", "FP32-INT8", "FP32-INT4")
"""SOURCE-WEIGHTS: the precision of the IR that is read, and that of the weights that are written."""
EACH_CHANNEL = -1
"""The group size that means one scale for a whole channel."""

CALIBRATIONS = "omz_model_tools.calibrations"
"""The group of entry points, named as the recipes, of those who read a text for the models of a recipe."""


class Calibration(Protocol):
    """A module, as its entry point names it."""

    Problem: type[Exception]  # what it raises for what the user can mend

    def inputs(self, text: Path, ir: Path) -> Sequence[Any]: ...  # of the model, made of the text


@dataclass(frozen=True)
class FourBits:
    """How the weights of an INT4 IR are compressed; embeddings and head are INT8 unless all_layers."""

    group_size: int = 64  # weights of a channel that share a scale, or EACH_CHANNEL
    ratio: float = 1.0  # the share of the other weights that becomes INT4; the rest is INT8
    all_layers: bool = False
    calibration_text: Path | None = None
    awq: bool = False
    scale_estimation: bool = False

    def __post_init__(self) -> None:
        if self.group_size != EACH_CHANNEL and self.group_size < 2:
            raise Problem(f"--group_size: expected a number from 2, or -1 for whole channels, got {self.group_size}")
        if not 0 < self.ratio <= 1:  # NNCF takes 0 for 1
            raise Problem(f"--ratio: expected a number above 0 and at most 1, got {self.ratio}")
        for flag, given in (("--awq", self.awq), ("--scale_estimation", self.scale_estimation)):
            if given and self.calibration_text is None:
                raise Problem(f"{flag}: expected a text to calibrate with; give --calibration_text FILE")
        if self.calibration_text is not None and self.ratio == 1 and not self.awq and not self.scale_estimation:
            raise Problem(
                "--calibration_text: changes nothing alone; give --awq, --scale_estimation or a --ratio below 1"
            )

    def text(self) -> str:
        """What is written into the IR and told to the user."""
        group = "whole channels" if self.group_size == EACH_CHANNEL else f"groups of {self.group_size}"
        means = [name for name, given in (("AWQ", self.awq), ("scale estimation", self.scale_estimation)) if given]
        scope = "all layers" if self.all_layers else "embeddings and head INT8"
        chosen = "" if self.calibration_text is None else " chosen on a text"
        ratio = [] if self.ratio == 1 else [f"ratio {self.ratio:g}{chosen}"]
        return ", ".join(["INT4 asymmetric", group, scope, *ratio, *means])


MOST = 2.0**127

INT8 = "INT8 symmetric, whole channels"

Compress: TypeAlias = Callable[[Any, FourBits | None, Sequence[Any] | None], Any]
"""(model, None for INT8, inputs to calibrate with) -> the model with compressed weights."""


@dataclass(frozen=True)
class Quantizer:
    model_dir: Path
    output_dir: Path
    precisions: Collection[str]  # of QUANTIZED
    report: Report
    compress: Compress
    load_calibration: Callable[[str], Calibration]  # by the name of the recipe
    four_bits: FourBits = FourBits()
    dry_run: bool = False

    def quantize(self, model: Model) -> bool:
        """Publish an IR in each wanted precision; False, after telling why, at the first that fails."""
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
        self.report.line(f"{source} -> {self._place(model, precision).target / source.name}")

    def _quantize(self, model: Model, recipe: str, precision: str) -> None:
        place = self._place(model, precision)
        place.check()
        source = self._source(model, precision)
        folder = place.target.parent
        if not source.is_file():
            raise Problem(f"{source}: expected an IR, got none; run: omz_converter --name {model.name}")
        calibration = self._calibration(recipe, precision)  # where Ctrl-C has nothing to clean up
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / LOCK, self._say_waiting):
            place.recover()
            try:
                compressed = self._compressed(source, recipe, precision, calibration)
                require_room(folder, ir_bytes(compressed, False) + SMALL_FILES, precision, "make room")
                place.new.mkdir()
                save_ir(compressed, place.new / source.name, compress_to_fp16=False)
                _copy_companions(source, place.new)
                before, after = _size(source.parent, source.stem), _size(place.new, source.stem)
                place.publish()
            finally:
                place.recover()
        self.report.line(f"Size: {before / 1e6:.1f} MB -> {after / 1e6:.1f} MB")

    def _compressed(self, source: Path, recipe: str, precision: str, calibration: Calibration | None) -> Any:
        model = _read(source)
        section = facts_of(model, recipe)
        if section is None:
            raise Problem(
                f"{source}: expected an IR of the recipe {recipe}, got one of {maker(model)}; quantize it with its "
                "maker's own tools, or convert the checkpoint with omz_converter --route direct"
            )
        if "nncf" in model.get_rt_info():
            raise Problem(f"{source}: is quantized already; expected the IR that omz_converter writes")
        inputs = None
        if precision.endswith("INT4"):
            check_group_size(source, model, self.four_bits)
            inputs = self._calibration_inputs(source, calibration)
        compressed = self.compress(model, self.four_bits if precision.endswith("INT4") else None, inputs)
        compressed.set_rt_info(self._method(precision), [section, "quantization"])
        return compressed

    def _calibration(self, recipe: str, precision: str) -> Calibration | None:
        wanted = precision.endswith("INT4") and self.four_bits.calibration_text is not None
        return self.load_calibration(recipe) if wanted else None

    def _calibration_inputs(self, source: Path, calibration: Calibration | None) -> Sequence[Any] | None:
        text = self.four_bits.calibration_text
        if text is None or calibration is None:
            return None
        try:
            return calibration.inputs(text, source)
        except calibration.Problem as problem:
            raise Problem(one_line(problem)) from problem

    def _method(self, precision: str) -> str:
        return self.four_bits.text() if precision.endswith("INT4") else INT8

    def _source(self, model: Model, precision: str) -> Path:
        return self.model_dir / model.subdirectory / precision.partition("-")[0] / f"{model.name}.xml"

    def _place(self, model: Model, precision: str) -> FolderPlace:
        return FolderPlace(self.output_dir / model.subdirectory / precision)

    def _say_waiting(self) -> None:
        self.report.line("Waiting for another process at work on this model...")


def load_calibration(recipe: str) -> Calibration:
    """The installed calibration of a recipe."""
    for entry in importlib.metadata.entry_points(group=CALIBRATIONS):
        if entry.name == recipe:
            with ends_at_once():
                calibration: Calibration = entry.load()
            return calibration
    raise Problem(f"--calibration_text: nothing that is installed reads a text for the recipe {recipe}")


def load_compress() -> Compress:
    """NNCF's compression; Problem where NNCF is missing."""
    os.environ.setdefault("NNCF_CI", "1")  # what NNCF offers to switch its telemetry off
    try:
        with ends_at_once(), _silence():
            import nncf  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Problem(f"{error.name}: is not installed; run: pip install 'omz-gpt2[quantize]'") from None
    nncf.set_log_level(logging.CRITICAL)
    return partial(_compress, nncf)


def _compress(nncf: Any, model: Any, four_bits: FourBits | None, inputs: Sequence[Any] | None) -> Any:
    _turn_weights(model)
    if four_bits is not None and four_bits.awq:
        _mark_for_awq(model)
    with _silence():
        if four_bits is None:
            compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        else:
            compressed = nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT4_ASYM,
                group_size=four_bits.group_size,
                ratio=four_bits.ratio,
                all_layers=four_bits.all_layers,
                dataset=None if inputs is None else nncf.Dataset(inputs),
                subset_size=len(inputs or [0]),
                awq=four_bits.awq or None,
                scale_estimation=four_bits.scale_estimation or None,
            )
    _remove_marks(compressed)
    _name_new_ops(compressed)
    return compressed


def check_group_size(source: Path, model: Any, four_bits: FourBits) -> None:
    """Raise Problem unless the group size divides the width of every matrix that becomes INT4."""
    products = [op for op, _ in _products(model)]
    inner = products if four_bits.all_layers else products[:-1]  # the last one is the head
    widths = sorted({op.input_value(1).get_shape()[1 if op.get_attributes()["transpose_b"] else 0] for op in inner})
    group = four_bits.group_size
    if group != EACH_CHANNEL and any(width % group for width in widths):
        raise Problem(
            f"--group_size: expected a divisor of the widths of {source}, {', '.join(map(str, widths))}, "
            f"got {group}; -1 gives whole channels"
        )


def _read(source: Path) -> Any:
    import openvino  # noqa: PLC0415

    try:
        return openvino.Core().read_model(source)
    except RuntimeError as error:
        raise Problem(f"{source}: OpenVINO cannot read it: {one_line(error)}; convert the model again") from error


def _copy_companions(source: Path, folder: Path) -> None:
    """What lies beside an IR, such as its vocabulary, belongs to it."""
    own = {source.name, source.with_suffix(".bin").name}
    for path in sorted(source.parent.iterdir()):
        if path.is_file() and path.name not in own:
            shutil.copyfile(path, folder / path.name)


def _size(folder: Path, stem: str) -> int:
    return sum((folder / f"{stem}{suffix}").stat().st_size for suffix in (".xml", ".bin"))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep NNCF's tables, progress bars and warnings off our streams."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _products(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every MatMul with a matrix of weights, and the Constant that holds them."""
    for op in model.get_ordered_ops():
        if op.get_type_name() == "MatMul":
            weight = op.input_value(1).get_node()
            stored = weight.input_value(0).get_node() if weight.get_type_name() == "Convert" else weight
            if stored.get_type_name() == "Constant" and len(stored.get_output_shape(0)) == 2:
                yield op, stored


def _turn_weights(model: Any) -> None:
    """Store every matrix as [out, in]: NNCF's data-aware methods go wrong on the other layout (its issue 3494)."""
    from openvino import opset13 as ops  # noqa: PLC0415

    for op, stored in list(_products(model)):
        attributes = op.get_attributes()
        if not attributes["transpose_b"]:
            weight = op.input_value(1).get_node()
            turned = ops.constant(stored.data.T.copy(), name=stored.get_friendly_name())
            if stored is not weight:
                turned = ops.convert(turned, "f32", name=weight.get_friendly_name())
            product = ops.matmul(op.input_value(0), turned, attributes["transpose_a"], transpose_b=True)
            product.set_friendly_name(op.get_friendly_name())
            op.output(0).replace(product.output(0))


def _mark_for_awq(model: Any) -> None:
    """Put a Clamp that clamps nothing before every matrix: NNCF's AWQ looks for one of some activations, Gelu not."""
    from openvino import opset13 as ops  # noqa: PLC0415

    for op, _ in list(_products(model)):
        mark = ops.clamp(op.input_value(0), -MOST, MOST, name=f"{op.get_friendly_name()}/input")
        op.input(0).replace_source_output(mark.output(0))
    model.validate_nodes_and_infer_types()


def _remove_marks(model: Any) -> None:
    for op in model.get_ordered_ops():
        if op.get_type_name() == "Clamp" and op.get_attributes()["max"] == MOST:
            op.output(0).replace(op.input_value(0))
    model.validate_nodes_and_infer_types()


def _name_new_ops(model: Any) -> None:
    """Number the ops without a name of their own by type and order: NNCF's differ from run to run."""
    seen: Counter[str] = Counter()
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", op.get_friendly_name()):
            op.set_friendly_name(f"{kind}_{seen[kind]}")
            seen[kind] += 1
