"""Models, downloaded: their files, several at once, then their postprocessing; it knows no HTTP and no command line.

The transcript is that of one file after the other, however many are under way.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.problem import Problem, disk_problems
from omz_model_tools.common.report import Report
from omz_model_tools.descriptor.model import Downloadable, ModelFile
from omz_model_tools.download.partial import Place, clear_strangers
from omz_model_tools.download.postprocess import clear_leftovers, is_done, postprocess
from omz_model_tools.download.progress import Display, Gauge
from omz_model_tools.download.tasks import Task, under_way

LOCK = ".omz_downloader.lock"
TICK = 0.1  # seconds between two pictures of the progress

Provide = Callable[[ModelFile, Path, Task], bool]


@dataclass(frozen=True)
class Downloader:
    output_dir: Path
    provide: Provide
    report: Report
    display: Display
    jobs: int = 1  # files under way at once

    def download(self, models: Sequence[Downloadable]) -> list[str]:
        """Fetch what is not there yet; the names of the models that are not wholly there at the end."""
        works: list[_Work] = []
        for model in models:
            works.append(_Work(model, self.output_dir / model.subdirectory, self.provide, tuple(works)))
        tasks = [task for work in works for task in work.tasks]
        missing = {folder for work in works for folder in work.folders() if not os.path.lexists(folder)}
        with contextlib.ExitStack() as stack:
            stack.callback(_remove_empty, missing)
            for work in works:
                stack.callback(work.release)
            stack.callback(self.display.close)
            stack.enter_context(under_way(tasks, self.jobs))
            gauges = [task.gauge for task in tasks]
            return [work.model.name for work in works if not self._see_through(work, gauges)]

    def _see_through(self, work: "_Work", gauges: list[Gauge]) -> bool:
        model = work.model
        self.report.group(f"Downloading {model.name}")
        self.report.event("model_download_begin", model=model.name, num_files=len(model.files))
        try:
            successful = all(self._follow(work, *pair, gauges) for pair in zip(model.files, work.tasks, strict=True))
            if successful and model.postprocessing:
                self._postprocess(work)
        except Problem as problem:
            self.report.error(str(problem), *problem.details)
            self.report.line()
            successful = False
        if not successful:
            work.give_up()
        work.release()
        self.report.event("model_download_end", model=model.name, successful=successful)
        return successful

    def _follow(self, work: "_Work", file: ModelFile, task: Task, gauges: list[Gauge]) -> bool:
        """Say what a file's task says, until its end."""
        event = functools.partial(self.report.event, model=work.model.name, model_file=str(file.name))
        event("model_file_download_begin", size=file.size)
        successful = False
        try:
            self._listen(task, gauges, functools.partial(event, "model_file_download_progress"))
            successful = task.outcome()
        finally:
            event("model_file_download_end", successful=successful)
        self.report.line()
        return successful

    def _listen(self, task: Task, gauges: list[Gauge], progress: Callable[..., None]) -> None:
        told = None
        for saying in task.talk.listen(TICK):
            if saying is not None:
                with self.display.hidden():
                    saying(self.report)
            else:
                self.display.show(gauges)
                if task.gauge.moved and task.gauge.done != told:
                    told = task.gauge.done
                    progress(size=told)
        if task.gauge.moved and task.gauge.done != told:
            progress(size=task.gauge.done)

    def _postprocess(self, work: "_Work") -> None:
        self.report.event("model_postprocessing_begin", model=work.model.name)
        try:
            with self.display.hidden():
                work.postprocess(self.report.section)
                self.report.line()
        finally:
            self.report.event("model_postprocessing_end", model=work.model.name)


def _remove_empty(folders: Collection[Path]) -> None:
    for folder in sorted(folders, reverse=True):  # the inner ones first
        with contextlib.suppress(OSError):
            folder.rmdir()


class _Work:
    """What there is to do for one model; `before` are those whose turns come before this one's."""

    def __init__(self, model: Downloadable, folder: Path, provide: Provide, before: Sequence["_Work"]) -> None:
        self.model = model
        self.folder = folder
        self.tasks = [
            Task(functools.partial(self._bring, file), Gauge(file.name.name, file.size)) for file in model.files
        ]
        self._provide = provide
        self._before = [work for work in before if work.model.postprocessing]
        self._beginning = threading.Lock()
        self._begun = False
        self._has_lock_or_none = threading.Event()
        self._is_done = False
        self._held = contextlib.ExitStack()

    def folders(self) -> set[Path]:
        """All in which its files lie, with those around them."""
        return {folder for file in self.model.files for folder in (self.folder / file.name).parents}

    def postprocess(self, say: Callable[[str], None]) -> None:
        if self._is_done:
            with disk_problems(self.folder):
                clear_leftovers(self.model, self.folder)
        else:
            postprocess(self.model, self.folder, say)

    def release(self) -> None:
        """Let other processes have the model."""
        self._held.close()

    def give_up(self) -> None:
        for task in self.tasks:
            task.stop.want()

    def _bring(self, file: ModelFile, task: Task) -> bool:
        with self._beginning:  # whichever task of the model comes first
            if not self._begun:
                try:
                    self._begin(task)
                finally:
                    self._has_lock_or_none.set()
                self._begun = True
        destination = self.folder / file.name
        if self._is_done:
            task.gauge.skip()
            task.talk.section(f"Retained {destination} (already there and postprocessed)")
            return True
        return self._provide(file, destination, task)

    def _begin(self, task: Task) -> None:
        with disk_problems(self.folder):
            self._is_done = is_done(self.model, self.folder)
            if self.model.postprocessing and not self._is_done:
                self._take_lock(task)
                self._is_done = is_done(self.model, self.folder)
            places = {Place.of(self.folder / file.name, file) for file in self.model.files}
            for folder in {place.folder for place in places}:
                clear_strangers(folder, places)

    def _take_lock(self, task: Task) -> None:
        """Postprocessing changes files that another process would take for untrue.

        In the order of the models' turns: then whatever this process holds it lets go without the lock it waits
        for, and two processes with the same models in other orders do not wait for each other.
        """
        while not all(work._has_lock_or_none.is_set() for work in self._before):
            task.stop.sleep(TICK)
        self.folder.mkdir(parents=True, exist_ok=True)
        waiting = "Waiting for another omz_downloader at work on this model..."
        self._held.enter_context(exclusive(self.folder / LOCK, lambda: task.talk.line(waiting), task.stop.sleep))
