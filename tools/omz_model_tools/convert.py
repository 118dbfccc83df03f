"""Downloaded files to published IRs, through each model's recipe; it knows no recipe and no command line."""

import os
import shlex
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools import verify
from omz_model_tools.descriptor import Model
from omz_model_tools.ir import save_ir
from omz_model_tools.lock import exclusive
from omz_model_tools.problem import Problem, disk_problems, one_line
from omz_model_tools.publish import FolderPlace
from omz_model_tools.recipes import Conversion, Recipe
from omz_model_tools.report import Report

LOCK = ".omz_converter.lock"


@dataclass(frozen=True)
class Converter:
    download_dir: Path
    output_dir: Path
    precisions: Collection[str]
    report: Report
    load_recipe: Callable[[str], Recipe]
    dry_run: bool = False
    verify: bool = False

    def convert(self, model: Model) -> bool:
        """Publish an IR in each wanted precision; False, after telling why, at the first that fails."""
        wanted = sorted(set(model.precisions) & set(self.precisions))
        if not model.is_converted or not wanted:
            why = "all conversions skipped" if model.is_converted else "no conversions defined"
            self.report.section(f"Skipping {model.name} ({why})")
            self.report.line()
            return True
        try:
            if model.recipe is None:
                raise Problem(
                    f'{model.descriptor}: expected a "recipe", got arguments for Model Optimizer, '
                    "which this omz_converter does not run"
                )
            if self.dry_run:
                self._announce_all(model, wanted)
            else:
                self._convert_all(model, wanted)
        except Problem as problem:
            self.report.error(str(problem), *problem.details)
            self.report.line()
            return False
        return True

    def _announce_all(self, model: Model, wanted: list[str]) -> None:
        for precision in wanted:
            self._announce(model, precision, "(DRY RUN) ")
            self.report.line()

    def _announce(self, model: Model, precision: str, mark: str = "") -> None:
        self.report.section(f"{mark}Converting {model.name} to IR ({precision})")
        xml = self._place(model, precision).target / f"{model.name}.xml"
        self.report.line(f"Conversion recipe: {model.recipe} ({self._folder(model)}) -> {xml}")

    def _convert_all(self, model: Model, wanted: list[str]) -> None:
        folder = self.output_dir / model.subdirectory
        with disk_problems(folder):
            self._recover(model, folder)
            self._check_downloaded(model)
            recipe = self.load_recipe(model.recipe or "")
            folder.mkdir(parents=True, exist_ok=True)
            for precision in wanted:
                self._place(model, precision).check()
            conversion: Conversion | None = None
            for precision in wanted:
                self._announce(model, precision)
                conversion = conversion or self._build(model, recipe)
                with exclusive(folder / LOCK, self._say_waiting):
                    self._publish(model, conversion, precision)
                self.report.line()

    def _recover(self, model: Model, folder: Path) -> None:
        """Finish what a killed converter left, in every precision."""
        if folder.is_dir():
            with exclusive(folder / LOCK, self._say_waiting):
                for precision in model.precisions:
                    self._place(model, precision).recover()

    def _check_downloaded(self, model: Model) -> None:
        advice = shlex.join(["omz_downloader", "--name", model.name, "-o", str(self.download_dir)])
        for file in model.files:
            path = self.download_dir / model.subdirectory / file.name
            if not path.is_file():
                raise Problem(f"{path}: expected a downloaded file, got none; run: {advice}")
            if self.verify:
                try:
                    verify.check(path, file)
                except verify.Untrue as untrue:
                    raise Problem(*untrue.lines(path), f"Run:      {advice}") from untrue

    def _build(self, model: Model, recipe: Recipe) -> Conversion:
        """One model for all precisions: it is compressed as it is written."""
        try:
            conversion = recipe.convert(self._folder(model), self._checksums(model))
        except recipe.Problem as problem:
            raise Problem(one_line(problem)) from problem
        for section, facts in conversion.facts.items():
            for key, value in facts.items():
                conversion.model.set_rt_info(value, [section, key])
        for key, info in model.model_info:
            conversion.model.set_rt_info(list(info) if isinstance(info, tuple) else info, ["model_info", key])
        return conversion

    def _publish(self, model: Model, conversion: Conversion, precision: str) -> None:
        place = self._place(model, precision)
        place.recover()
        try:
            place.new.mkdir()
            xml = place.new / f"{model.name}.xml"
            save_ir(conversion.model, xml, compress_to_fp16=precision.startswith("FP16"))
            for companion in conversion.companions:
                shutil.copyfile(companion, place.new / companion.name)
            place.publish()
        finally:
            place.recover()

    def _checksums(self, model: Model) -> dict[str, str]:
        """What the descriptor says of the files a recipe is given, as far as their sizes bear it out.

        They are not hashed again: the downloader has done so, and --verify does.
        """
        folder, known = self._folder(model), {}
        for file in model.files:
            path = self.download_dir / model.subdirectory / file.name
            if file.checksum.algorithm == "sha256" and file.size in (None, path.stat().st_size):
                known[str(path.relative_to(folder))] = file.checksum.digest
        return known

    def _folder(self, model: Model) -> Path:
        """What a recipe is given: the deepest folder below which all the model's files lie."""
        common = os.path.commonpath([str(file.name.parent) for file in model.files])
        return self.download_dir / model.subdirectory / common

    def _place(self, model: Model, precision: str) -> FolderPlace:
        return FolderPlace(self.output_dir / model.subdirectory / precision)

    def _say_waiting(self) -> None:
        self.report.line("Waiting for another omz_converter at work on this model...")
