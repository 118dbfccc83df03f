"""The route through ONNX: a PyTorch model is exported first; then somebody makes IRs of the ONNX file.

Who makes them, openvino.convert_model or Model Optimizer, is not known here; both are told in Model Optimizer's words.
"""

import shlex
import string
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from omz_model_tools.common.problem import Problem, one_line
from omz_model_tools.common.report import Report
from omz_model_tools.convert.ir import write_facts
from omz_model_tools.convert.onnx.child_process import LastLineHeld, run
from omz_model_tools.convert.recipes import Description, Recipe
from omz_model_tools.convert.route import Job, Made, Make
from omz_model_tools.descriptor.model import InputInfo

EXPORTED = "pytorch"  # the framework whose models become ONNX first
TOKENIZER_SUFFIXES = (".json", ".txt")
"""What of a download without a recipe belongs beside the IR: no weights."""


@dataclass(frozen=True)
class Order:
    """What to make an IR of, and how; `arguments` are Model Optimizer's, whole."""

    name: str
    framework: str
    arguments: tuple[str, ...]
    inputs: tuple[InputInfo, ...]
    scratch: Path  # a folder to work in, not there yet
    shown: Path  # the folder of IRs, for what is said

    def xml(self, precision: str) -> Path:
        return self.shown / precision / f"{self.name}.xml"

    def value(self, flag: str) -> str | None:
        """Of an argument --FLAG=VALUE, the last one's value."""
        values = [argument[len(flag) + 1 :] for argument in self.arguments if argument.startswith(f"{flag}=")]
        return values[-1] if values else None


MakeModel: TypeAlias = Callable[[str], Any]
"""precision -> openvino.Model; one and the same for several precisions, or one for each."""


class Maker(Protocol):
    def announce(self, order: Order, precision: str) -> str: ...

    def start(self, order: Order) -> AbstractContextManager[MakeModel]:
        """Refuse what it cannot do; the ONNX file may come after that."""

    @property
    def folder(self) -> Path:
        """What a descriptor calls $mo_dir."""


@dataclass(frozen=True)
class ThroughOnnx:
    report: Report
    load_recipe: Callable[[str], Recipe]
    maker: Maker
    input_shape: str | None = None  # instead of the descriptor's
    output: str | None = None

    def rehearse(self, job: Job) -> None:
        self._order(job)  # refused before anything is said
        if job.model.framework == EXPORTED:
            self._say_export(job, "(DRY RUN) ")
            self.report.line()

    def announce(self, job: Job, precision: str) -> str:
        return self.maker.announce(self._order(job), precision)

    @contextmanager
    def start(self, job: Job) -> Iterator[Make]:
        order, about = self._order(job), self._description(job)
        with self.maker.start(order) as make_model:
            if job.model.framework == EXPORTED:
                self._export(job)
            made: dict[int, Made] = {}

            def make(precision: str) -> Made:
                model = make_model(precision)
                if id(model) not in made:
                    write_facts(model, about.facts)
                    made[id(model)] = Made(model, about.companions, about.facts, about.notes if not made else ())
                return made[id(model)]

            yield make

    def _say_export(self, job: Job, mark: str = "") -> list[str]:
        command = export_command(job, self._variables(job))
        self.report.section(f"{mark}Converting {job.model.name} to ONNX")
        self.report.line(f"Conversion to ONNX command: {shlex.join(command)}")
        return command

    def _export(self, job: Job) -> None:
        lines = LastLineHeld(self.report.line)
        # Safe: a folder torch/ where the user happens to be is none of ours.
        code = run(self._say_export(job), lines, {"PYTHONSAFEPATH": "1"})
        if code:
            raise Problem(lines.last or f"conversion to ONNX: expected exit code 0, got {code}{_hint(code)}")
        lines.release()
        self.report.line()

    def _description(self, job: Job) -> Description:
        if job.model.recipe is None:
            files = [job.downloaded / file.name for file in job.model.files]
            return Made(None, [path for path in files if path.suffix in TOKENIZER_SUFFIXES])
        recipe = self.load_recipe(job.model.recipe)
        try:
            return recipe.describe(job.folder, job.checksums())
        except recipe.Problem as problem:
            raise Problem(one_line(problem)) from problem

    def _order(self, job: Job) -> Order:
        given = job.model.model_optimizer_args
        if given is None:
            raise _missing(job, "model_optimizer_args")
        changed = {"--input_shape": self.input_shape, "--output": self.output}
        kept = [one for one in given if changed.get(one.partition("=")[0]) is None]
        return Order(
            name=job.model.name,
            framework="onnx" if job.model.framework == EXPORTED else job.model.framework,
            arguments=(
                *_expanded(job, "model_optimizer_args", kept, self._variables(job)),
                *(f"{flag}={value}" for flag, value in changed.items() if value is not None),
            ),
            inputs=job.model.input_info,
            scratch=job.converted / ".omz_converter.scratch",
            shown=job.converted,
        )

    def _variables(self, job: Job) -> dict[str, Path]:
        """Open Model Zoo's, for the arguments of a descriptor."""
        folders = {"dl_dir": job.downloaded, "conv_dir": job.converted, "config_dir": job.model.descriptor.parent}
        return {**folders, "mo_dir": self.maker.folder}


def export_command(job: Job, variables: Mapping[str, Path]) -> list[str]:
    """What exports a model to ONNX, in a process of its own: PyTorch runs a model's own code."""
    arguments = job.model.conversion_to_onnx_args
    if not arguments:
        raise _missing(job, "conversion_to_onnx_args")
    expanded = _expanded(job, "conversion_to_onnx_args", arguments, variables)
    return [sys.executable, "-m", "omz_model_tools.convert.onnx.export", *expanded]


def _expanded(job: Job, key: str, arguments: Sequence[str], variables: Mapping[str, Path]) -> list[str]:
    expanded = []
    for argument in arguments:
        try:
            expanded.append(string.Template(argument).substitute(variables))
        except (KeyError, ValueError):
            known = ", ".join(f"${name}" for name in variables)
            raise Problem(f'{job.model.descriptor}: "{key}": expected only {known}, got {argument!r}') from None
    return expanded


def _missing(job: Job, key: str) -> Problem:
    return Problem(f'{job.model.descriptor}: expected "{key}" for the way through ONNX, got no such key')


def _hint(code: int) -> str:
    return " (killed; is there enough memory?)" if code == 128 + 9 else ""
