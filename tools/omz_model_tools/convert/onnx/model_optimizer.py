"""Model Optimizer of openvino-dev as the maker of IRs: found in the environment it lives in, and run there."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omz_model_tools.common.interrupt import ends_at_once
from omz_model_tools.common.problem import Problem, openvino_reason
from omz_model_tools.common.report import Report
from omz_model_tools.convert.onnx.child_process import run
from omz_model_tools.convert.onnx.route import MakeModel, Order

PROBE = "import importlib.util; print(*importlib.util.find_spec('openvino.tools.mo').submodule_search_locations)"
INSTALL = "-m pip install openvino-dev==2024.6.0"


@dataclass(frozen=True)
class ModelOptimizer:
    report: Report
    program: tuple[str, ...]
    folder: Path  # what a descriptor calls $mo_dir
    extra: tuple[str, ...] = ()  # the user's arguments

    def announce(self, order: Order, precision: str) -> str:
        return f"Conversion command: {shlex.join(self.command(order, precision))}"

    def command(self, order: Order, precision: str) -> list[str]:
        """In Open Model Zoo's form; the IR goes to a folder to be checked in."""
        own: list[str] = []
        if order.inputs and order.value("--input") is None:
            own.append(f"--input={','.join(info.name for info in order.inputs)}")
        layouts = [f"{info.name}({info.layout})" for info in order.inputs if info.layout]
        shapes = [f"[{','.join(map(str, info.shape))}]" for info in order.inputs if info.shape]
        derived = [f"--layout={','.join(layouts)}"] if layouts and order.value("--layout") is None else []
        if shapes and order.value("--input_shape") is None:
            derived.append(f"--input_shape={','.join(shapes)}")
        return [
            *self.program,
            f"--framework={order.framework}",
            f"--output_dir={order.scratch}",
            f"--model_name={order.name}",
            *own,
            *order.arguments,
            *derived,
            f"--compress_to_fp16={precision.startswith('FP16')}",
            *self.extra,
        ]

    @contextmanager
    def start(self, order: Order) -> Iterator[MakeModel]:
        _remove(order.scratch)  # a killed run's
        try:
            yield lambda precision: self._make(order, precision)
        finally:
            _remove(order.scratch)

    def _make(self, order: Order, precision: str) -> Any:
        with ends_at_once():
            import openvino  # noqa: PLC0415
        _remove(order.scratch)
        # It warns of its own libraries: that is no matter of ours, nor of whoever runs us with -W error.
        code = run(self.command(order, precision), self.report.line, {"PYTHONWARNINGS": ""})
        if code:
            raise Problem(f"Model Optimizer: expected exit code 0, got {code}; what it said is above")
        xml = order.scratch / f"{order.name}.xml"
        if not xml.is_file():
            raise Problem(f"Model Optimizer: expected it to write {xml}, got nothing there")
        try:
            return openvino.Core().read_model(xml)
        except RuntimeError as error:
            raise Problem(f"{xml}: written by Model Optimizer, cannot be read: {openvino_reason(error)}") from error


def find_model_optimizer(
    report: Report,
    python: Path | None,
    mo: Path | None,
    extra: tuple[str, ...] = (),
    which: Callable[[str], str | None] = shutil.which,
) -> ModelOptimizer:
    """What --python and --mo name, either of which may be left out; Problem where there is no Model Optimizer."""
    package = None if python is None else _package(python)
    if mo is None:
        mo = _program(python, which)
    if not mo.is_file():
        raise Problem(f"--mo: {mo}: expected Model Optimizer's program, mo or mo.py, got no such file")
    path = Path(os.path.abspath(mo))  # noqa: PTH100 (a link in an environment's bin/ is to stay one)
    if python is None and path.suffix != ".py":
        if not os.access(path, os.X_OK):
            raise Problem(f"--mo: {mo}: expected a program, got a file that cannot be run; give its --python too")
        return ModelOptimizer(report, (str(path),), path.parent, extra)
    folder = path.parent if package is None or path.suffix == ".py" else package
    return ModelOptimizer(report, (str(python or sys.executable), "--", str(path)), folder, extra)


def _program(python: Path | None, which: Callable[[str], str | None]) -> Path:
    beside = None if python is None else which(str(python.absolute().parent / "mo"))
    found = beside or which("mo")
    if found is None:
        where = "on the PATH" if python is None else f"beside {python}, nor on the PATH"
        raise Problem(f"Model Optimizer: there is no mo {where}; give --mo, or run: PYTHON {INSTALL} (Python 3.8-3.12)")
    return Path(found)


def _package(python: Path) -> Path:
    try:
        done = subprocess.run([str(python), "-c", PROBE], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Problem(f"--python: {python}: cannot be run: {error.strerror}") from None
    if done.returncode:
        raise Problem(
            f"--python: {python}: expected a Python with openvino-dev, got one without; run: {python} {INSTALL}"
        )
    return Path(done.stdout.splitlines()[-1])


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
