"""Convert downloaded models: check the files, build by a route, publish an IR in each precision."""

import contextlib
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.problem import Problem, disk_problems
from omz_model_tools.common.publish import locked_folders
from omz_model_tools.common.report import Report
from omz_model_tools.convert.ir import LOCK, check_room, publish_ir
from omz_model_tools.convert.recipes import Conversion
from omz_model_tools.convert.route import Job, Route
from omz_model_tools.convert.write_progress import Watch, unwatched
from omz_model_tools.descriptor.catalogue import flags_selecting
from omz_model_tools.descriptor.finished import check_finished, finished_files, without_archives
from omz_model_tools.descriptor.model import Model, RegexReplace

BY_QUANTIZER = ("-INT8", "-INT4")
"""The ends of the precisions that omz_quantizer makes."""
INSTEAD = {"model.safetensors": "pytorch_model.bin"}
"""A file of weights -> the one that Open Model Zoo's own downloader puts in its place."""


@dataclass(frozen=True)
class Converter:
    download_dir: Path
    output_dir: Path
    precisions: Collection[str]
    report: Report
    route_of: Callable[[Model], Route]
    dry_run: bool = False
    verify: bool = False
    watch: Watch = unwatched

    def convert(self, model: Model) -> bool:
        """Publish an IR in each wanted precision; False, after reporting why, for the first that fails."""
        wanted = sorted(set(model.precisions) & set(self.precisions))
        if not model.is_converted or not wanted:
            why = "all conversions skipped" if model.is_converted else "no conversions defined"
            self.report.section(f"Skipping {model.name} ({why})")
            self.report.line()
            self._say_others(model)
            return True
        job = Job(model, self.download_dir, self.output_dir)
        try:
            if self.dry_run:
                self._announce_all(job, wanted)
            else:
                self._convert_all(job, wanted)
        except Problem as problem:
            self.report.error(str(problem), *problem.details)
            self.report.line()
            return False
        self._say_others(model)
        return True

    def _say_others(self, model: Model) -> None:
        """Say which of the precisions that were asked for are not made here, and what makes them."""
        others = sorted(set(self.precisions) - set(model.precisions)) if model.is_converted else []
        quantized = [precision for precision in others if precision.endswith(BY_QUANTIZER)]
        if unknown := [precision for precision in others if precision not in quantized]:
            made = ", ".join(model.precisions)
            self.report.warning(f"--precisions: {model.name} is not made in {','.join(unknown)}, only in {made}")
        if quantized:
            names = ",".join(quantized)
            flags = [*flags_selecting(model), "--model_dir", str(self.output_dir)]
            command = shlex.join(["omz_quantizer", *flags, "--precisions", names])
            self.report.warning(f"--precisions: {names} is made of a converted model, by another command: {command}")

    def _announce_all(self, job: Job, wanted: list[str]) -> None:
        route = self.route_of(job.model)
        route.announce_dry_run(job)
        for precision in wanted:
            self._announce(job, route, precision, "(DRY RUN) ")
            self.report.line()

    def _announce(self, job: Job, route: Route, precision: str, mark: str = "") -> None:
        how = route.announce(job, precision)
        self.report.section(f"{mark}Converting {job.model.name} to IR ({precision})")
        self.report.line(how)

    def _convert_all(self, job: Job, wanted: list[str]) -> None:
        lock = job.converted / LOCK
        with disk_problems(job.converted):
            if job.converted.is_dir():  # also the precisions that are not wanted now, and before anything can fail
                with exclusive(lock, self._say_waiting):
                    for precision in job.model.precisions:
                        job.published(precision).recover()
            self._check_downloaded(job)
            route = self.route_of(job.model)
            with locked_folders(lock, [job.published(precision) for precision in wanted], self._say_waiting):
                self._make_all(job, route, wanted)

    def _make_all(self, job: Job, route: Route, wanted: list[str]) -> None:
        with route.start(job) as make:
            completed: Conversion | None = None
            for count, precision in enumerate(wanted):
                self._announce(job, route, precision)
                conversion = make(precision)
                if conversion is not completed:  # else the same model serves this precision too
                    self._complete(job.model, conversion)
                completed = conversion
                folders = [job.published(precision) for precision in wanted[count:]]
                check_room(conversion.model, folders)  # for all that are still to be written
                publish_ir(conversion, folders[0], job.model.name, self.watch)
                self.report.line()

    def _complete(self, model: Model, conversion: Conversion) -> None:
        for key, info in model.model_info:
            conversion.model.set_rt_info(list(info) if isinstance(info, tuple) else info, ["model_info", key])
        for note in conversion.notes:
            self.report.warning(note)

    def _check_downloaded(self, job: Job) -> None:
        advice = shlex.join(["omz_downloader", *flags_selecting(job.model), "-o", str(self.download_dir)])
        recorded = finished_files(job.model, job.downloaded)
        for file in without_archives(job.model) if recorded is None else recorded:
            path = job.downloaded / file.name
            other = path.with_name(INSTEAD.get(path.name, path.name))
            if other.is_file() and not path.is_file() and not self.verify:
                self.report.line(f"{other} is read, as Open Model Zoo downloads it: there is no {path.name} beside it")
            elif not path.is_file():
                raise Problem(f"{path}: expected a downloaded file, got none; run: {advice}")
        if recorded is None:
            self._check_steps(job, advice)
        for path, error in check_finished(job.model, job.downloaded) if self.verify else ():
            if error is not None:
                raise Problem(*error.lines(path), f"Run:      {advice}") from error

    def _check_steps(self, job: Job, advice: str) -> None:
        """Check by their traces that the steps were done: Open Model Zoo's own downloader leaves no record."""
        for step in job.model.postprocessing:
            path = job.downloaded / step.file
            if isinstance(step, RegexReplace):
                original = path.with_name(f"{path.name}.orig")
                if not original.is_file():
                    raise Problem(
                        f"{path}: expected a changed text, {original.name} beside it, got none; run: {advice}"
                    )
            elif path.is_file():
                raise Problem(f"{path}: expected what is in this archive, got the archive itself; run: {advice}")
            elif not _has_others(job, path.parent):
                raise Problem(f"{path}: expected a downloaded file, or what is in it, got neither; run: {advice}")
        if not self.verify:
            done = "there is no record of its postprocessing"
            self.report.line(f"{job.downloaded} is read as Open Model Zoo leaves it: {done}")

    def _say_waiting(self) -> None:
        self.report.line("Waiting for another omz_converter at work on this model...")


def _has_others(job: Job, folder: Path) -> bool:
    """Whether a folder has anything that neither the descriptor nor the converter puts there."""
    known = {job.downloaded / precision for precision in job.model.precisions}
    for file in job.model.files:
        known |= {job.downloaded / name for name in (file.name, *file.name.parents)}
    with contextlib.suppress(FileNotFoundError):
        return any(path not in known and not path.name.startswith(".") for path in folder.iterdir())
    return False
