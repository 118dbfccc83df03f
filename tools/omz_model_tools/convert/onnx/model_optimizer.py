"""Make IRs by Model Optimizer, run in the Python environment that has openvino-dev."""

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
from omz_model_tools.common.own_names import remove_planted
from omz_model_tools.common.problem import Problem, openvino_reason
from omz_model_tools.convert.onnx.child_process import run
from omz_model_tools.convert.onnx.route import MakeModel, ModelSpec

PROBE = "import importlib.util; print(*importlib.util.find_spec('openvino.tools.mo').submodule_search_locations)"
ANOTHER_ENVIRONMENT = (
    "leave --python out, since the converter needs no Model Optimizer, or make an environment for it "
    "(Python 3.8-3.12): python3 -m venv DIR && DIR/bin/python -m pip install openvino-dev==2024.6.0"
)
"""Never an environment that is there already: openvino-dev would replace its openvino and numpy by older ones."""


@dataclass(frozen=True)
class ModelOptimizer:
    program: tuple[str, ...]
    folder: Path  # $mo_dir in a descriptor
    extra: tuple[str, ...] = ()  # the user's arguments
    advice: str = ""  # for the error of a program that fails

    def announce(self, spec: ModelSpec, precision: str) -> str:
        return f"Conversion command: {shlex.join(self.command(spec, precision))}"

    def command(self, spec: ModelSpec, precision: str) -> list[str]:
        """Return the command in Open Model Zoo's form; it writes the IR to a scratch folder, to be checked there."""
        own: list[str] = []
        if spec.inputs and spec.value("--input") is None:
            own.append(f"--input={','.join(info.name for info in spec.inputs)}")
        layouts = [f"{info.name}({info.layout})" for info in spec.inputs if info.layout]
        shapes = [f"[{','.join(map(str, info.shape))}]" for info in spec.inputs if info.shape]
        derived = [f"--layout={','.join(layouts)}"] if layouts and spec.value("--layout") is None else []
        if shapes and spec.value("--input_shape") is None:
            derived.append(f"--input_shape={','.join(shapes)}")
        return [
            *self.program,
            f"--framework={spec.framework}",
            f"--output_dir={spec.scratch}",
            f"--model_name={spec.name}",
            *own,
            *spec.arguments,
            *derived,
            f"--compress_to_fp16={precision.startswith('FP16')}",
            *self.extra,
        ]

    @contextmanager
    def start(self, spec: ModelSpec, say: Callable[[str], None]) -> Iterator[MakeModel]:
        _remove(spec.scratch)  # a killed run's
        try:
            yield lambda precision: self._make(spec, precision, say)
        finally:
            _remove(spec.scratch)

    def _make(self, spec: ModelSpec, precision: str, say: Callable[[str], None]) -> Any:
        with ends_at_once():
            import openvino  # noqa: PLC0415
        _remove(spec.scratch)
        # Warnings about its own libraries must not stop it where we run with -W error.
        code = run(self.command(spec, precision), say, {"PYTHONWARNINGS": ""})
        if code:
            raise Problem(f"Model Optimizer: expected exit code 0, got {code}; what it said is above{self.advice}")
        xml = spec.scratch / f"{spec.name}.xml"
        if not xml.is_file():
            raise Problem(f"Model Optimizer: expected it to write {xml}, got nothing there")
        try:
            return openvino.Core().read_model(xml)
        except RuntimeError as error:
            raise Problem(f"{xml}: written by Model Optimizer, cannot be read: {openvino_reason(error)}") from error


def find_model_optimizer(
    python: Path | None,
    mo: Path | None,
    extra: tuple[str, ...] = (),
    which: Callable[[str], str | None] = shutil.which,
) -> ModelOptimizer:
    """Find the Model Optimizer of --python and --mo, either of which may be left out; Problem if there is none."""
    package = None if python is None else _package(python)
    if mo is None:
        mo = _program(python, which)
    if not mo.is_file():
        raise Problem(f"--mo: {mo}: expected Model Optimizer's program, mo or mo.py, got no such file")
    path = Path(os.path.abspath(mo))  # noqa: PTH100 (resolving a link would leave the environment it is in)
    if python is None and path.suffix != ".py":
        if not os.access(path, os.X_OK):
            raise Problem(f"--mo: {mo}: expected a program, got a file that cannot be run; give its --python too")
        return ModelOptimizer((str(path),), path.parent, extra)
    folder = path.parent if package is None or path.suffix == ".py" else package
    chosen = python or _python_above(path)
    advice = "; give --python, that of an environment with openvino-dev" if chosen is None else ""
    return ModelOptimizer((str(chosen or sys.executable), "--", str(path)), folder, extra, advice)


def _python_above(script: Path) -> Path | None:
    """Return the Python of the environment in whose site-packages the script lies, if any."""
    packages = next((folder for folder in script.parents if folder.name in ("site-packages", "dist-packages")), None)
    for environment in () if packages is None else list(packages.parents)[:3]:  # lib/python3.11/, or Windows' Lib/
        for name in ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe"):
            if (environment / name).is_file():
                return environment / name
    return None


def _program(python: Path | None, which: Callable[[str], str | None]) -> Path:
    beside = None if python is None else which(str(python.absolute().parent / "mo"))
    found = beside or which("mo")
    if found is None:
        where = "on the PATH" if python is None else f"beside {python}, nor on the PATH"
        raise Problem(f"Model Optimizer: there is no mo {where}; give --mo, {ANOTHER_ENVIRONMENT}")
    return Path(found)


def _package(python: Path) -> Path:
    try:
        done = subprocess.run([str(python), "-c", PROBE], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Problem(f"--python: {python}: cannot be run: {error.strerror}") from None
    if done.returncode:
        raise Problem(
            f"--python: {python}: expected a Python with openvino-dev, got one without; {ANOTHER_ENVIRONMENT}"
        )
    return Path(done.stdout.splitlines()[-1])


def _remove(folder: Path) -> None:
    remove_planted(folder)
    if folder.exists():
        shutil.rmtree(folder)
