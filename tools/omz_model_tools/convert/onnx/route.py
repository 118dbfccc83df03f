"""The route through ONNX: a PyTorch model is exported first; then an IR maker converts the ONNX file.

The makers, openvino.convert_model and Model Optimizer, both get the descriptor's model_optimizer_args.
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
from omz_model_tools.convert.route import BuiltModel, Job, Make
from omz_model_tools.descriptor.model import InputInfo

EXPORTED = "pytorch"  # the framework whose models are exported to ONNX first
PRE_CONVERT = "pre-convert.py"
"""A script beside the descriptor that prepares the downloaded files, in Open Model Zoo."""
TOKENIZER_SUFFIXES = (".json", ".txt")
"""The downloaded files to copy beside the IR of a model without a recipe."""


@dataclass(frozen=True)
class ModelSpec:
    """The model to convert, and Model Optimizer's `arguments` for it."""

    name: str
    framework: str
    arguments: tuple[str, ...]
    inputs: tuple[InputInfo, ...]
    scratch: Path  # a working folder, not there yet
    shown: Path  # the folder of IRs, for messages

    def xml(self, precision: str) -> Path:
        return self.shown / precision / f"{self.name}.xml"

    def value(self, flag: str) -> str | None:
        """Return the value of the last argument --FLAG=VALUE."""
        values = [argument[len(flag) + 1 :] for argument in self.arguments if argument.startswith(f"{flag}=")]
        return values[-1] if values else None


MakeModel: TypeAlias = Callable[[str], Any]
"""precision -> openvino.Model, which may be the same for several precisions."""


class IRMaker(Protocol):
    def announce(self, spec: ModelSpec, precision: str) -> str: ...

    def start(self, spec: ModelSpec, say: Callable[[str], None]) -> AbstractContextManager[MakeModel]:
        """Raise Problem for what the maker cannot do, before the model is exported; `say` gets a program's output."""

    @property
    def folder(self) -> Path:
        """$mo_dir in a descriptor."""


@dataclass(frozen=True)
class OnnxRoute:
    report: Report
    load_recipe: Callable[[str], Recipe]
    maker: IRMaker
    input_shape: str | None = None  # instead of the descriptor's
    output: str | None = None
    python: Path = Path(sys.executable)  # for the pre-convert script, which may need the maker's libraries

    def announce_dry_run(self, job: Job) -> None:
        self._spec(job)  # a Problem comes before the first line of output
        if self._say_pre_convert(job, "(DRY RUN) "):
            self.report.line()
        if job.model.framework == EXPORTED:
            self._say_export(job, "(DRY RUN) ")
            self.report.line()

    def announce(self, job: Job, precision: str) -> str:
        return self.maker.announce(self._spec(job), precision)

    @contextmanager
    def start(self, job: Job) -> Iterator[Make]:
        spec, about = self._spec(job), self._description(job)
        with self.maker.start(spec, self.report.line) as make_model:
            self._pre_convert(job)
            if job.model.framework == EXPORTED:
                self._export(job)
            made: dict[int, BuiltModel] = {}

            def make(precision: str) -> BuiltModel:
                model = make_model(precision)
                if id(model) not in made:
                    write_facts(model, about.facts)
                    made[id(model)] = BuiltModel(model, about.companions, about.facts, about.notes if not made else ())
                return made[id(model)]

            yield make

    def _say_pre_convert(self, job: Job, mark: str = "") -> list[str]:
        """Return the command of the script beside the descriptor, if there is one, after reporting it."""
        script = job.model.descriptor.with_name(PRE_CONVERT)
        if not script.is_file():
            return []
        command = [str(self.python), "--", str(script), "--", str(job.downloaded), str(job.converted)]
        self.report.section(f"{mark}Running pre-convert script for {job.model.name}")
        self.report.line(f"Pre-convert command: {shlex.join(command)}")
        return command

    def _pre_convert(self, job: Job) -> None:
        if command := self._say_pre_convert(job):
            code = run(command, self.report.line, {"PYTHONWARNINGS": ""})
            if code:
                raise Problem(f"{command[2]}: expected exit code 0, got {code}{_hint(code)}; what it said is above")
            self.report.line()

    def _say_export(self, job: Job, mark: str = "") -> list[str]:
        command = export_command(job, self._variables(job))
        self.report.section(f"{mark}Converting {job.model.name} to ONNX")
        self.report.line(f"Conversion to ONNX command: {shlex.join(command)}")
        return command

    def _export(self, job: Job) -> None:
        lines = LastLineHeld(self.report.line)
        # PYTHONSAFEPATH: a folder torch/ in the current directory must not be imported.
        code = run(self._say_export(job), lines, {"PYTHONSAFEPATH": "1"})
        if code:
            raise Problem(lines.last or f"conversion to ONNX: expected exit code 0, got {code}{_hint(code)}")
        lines.release()
        self.report.line()

    def _description(self, job: Job) -> Description:
        if job.model.recipe is None:
            files = [job.downloaded / file.name for file in job.model.files]
            return BuiltModel(None, [path for path in files if path.suffix in TOKENIZER_SUFFIXES])
        recipe = self.load_recipe(job.model.recipe)
        try:
            return recipe.describe(job.folder, job.checksums())
        except recipe.Problem as problem:
            raise Problem(one_line(problem)) from problem

    def _spec(self, job: Job) -> ModelSpec:
        given = job.model.model_optimizer_args
        if given is None:
            raise _missing(job, "model_optimizer_args")
        changed = {"--input_shape": self.input_shape, "--output": self.output}
        kept = [argument for argument in given if changed.get(argument.partition("=")[0]) is None]
        return ModelSpec(
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
        """Return Open Model Zoo's variables, which a descriptor's arguments may contain."""
        folders = {"dl_dir": job.downloaded, "conv_dir": job.converted, "config_dir": job.model.descriptor.parent}
        optimizer = self.maker.folder
        extensions = optimizer / "extensions"
        return {**folders, "mo_dir": optimizer, "mo_ext_dir": extensions if extensions.is_dir() else optimizer}


def export_command(job: Job, variables: Mapping[str, Path]) -> list[str]:
    """Return the command that exports a model to ONNX; a process of its own, since it runs the model's own code."""
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
    return Problem(f'{job.model.descriptor}: expected "{key}" for the route through ONNX, got no such key')


def _hint(code: int) -> str:
    return " (killed; is there enough memory?)" if code == 128 + 9 else ""
