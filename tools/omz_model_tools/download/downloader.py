"""Download models: their files, several at once, then their postprocessing.

The output is that of one file after the other, however many are in transfer.
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
from omz_model_tools.descriptor.finished import is_postprocessed
from omz_model_tools.descriptor.model import Downloadable, ModelFile
from omz_model_tools.download.partial import PartPaths, remove_stale_parts
from omz_model_tools.download.postprocess import clear_leftovers, postprocess
from omz_model_tools.download.progress import Display, TransferProgress
from omz_model_tools.download.tasks import Task, running

LOCK = ".omz_downloader.lock"
TICK = 0.1  # seconds between two updates of the progress bars

Fetch = Callable[[ModelFile, Path, Task], bool]


@dataclass(frozen=True)
class Downloader:
    output_dir: Path
    fetch: Fetch
    report: Report
    display: Display
    jobs: int = 1  # files in transfer at once

    def download(self, models: Sequence[Downloadable]) -> list[str]:
        """Download what is missing; return the names of the models that failed."""
        downloads: list[_ModelDownload] = []
        for model in models:
            downloads.append(_ModelDownload(model, self.output_dir / model.subdirectory, self.fetch, tuple(downloads)))
        tasks = [task for download in downloads for task in download.tasks]
        missing = {folder for download in downloads for folder in download.folders() if not os.path.lexists(folder)}
        with contextlib.ExitStack() as stack:
            stack.callback(_remove_empty, missing)
            for download in downloads:
                stack.callback(download.release)
            stack.callback(self.display.close)
            stack.enter_context(running(tasks, self.jobs))
            transfers = [task.progress for task in tasks]
            return [download.model.name for download in downloads if not self._complete(download, transfers)]

    def _complete(self, download: "_ModelDownload", transfers: list[TransferProgress]) -> bool:
        model = download.model
        with self.display.hidden():  # the files of another model may be in transfer
            self.report.group(f"Downloading {model.name}")
            self.report.event("model_download_begin", model=model.name, num_files=len(model.files))
        pairs = zip(model.files, download.tasks, strict=True)
        successful = self._try(lambda: all(self._follow(download, *pair, transfers) for pair in pairs))
        if not successful:
            download.cancel()
        self.report.event("model_download_end", model=model.name, successful=successful)
        if successful and model.postprocessing:
            self.report.event("model_postprocessing_begin", model=model.name)
            successful = self._try(lambda: self._postprocess(download))
            self.report.event("model_postprocessing_end", model=model.name, successful=successful)
        download.release()
        return successful

    def _try(self, work: Callable[[], bool]) -> bool:
        """Return what the work returns; False, after reporting it, for a Problem."""
        try:
            return work()
        except Problem as problem:
            with self.display.hidden():
                self.report.error(str(problem), *problem.details)
                self.report.line()
            return False

    def _follow(
        self, download: "_ModelDownload", file: ModelFile, task: Task, transfers: list[TransferProgress]
    ) -> bool:
        """Report the messages of a file's task until it ends."""
        event = functools.partial(self.report.event, model=download.model.name, model_file=str(file.name))
        event("model_file_download_begin", size=file.size)
        successful = False
        try:
            self._listen(task, transfers, functools.partial(event, "model_file_download_progress"))
            successful = task.outcome()
        finally:
            event("model_file_download_end", successful=successful)
        with self.display.hidden():
            self.report.line()
        return successful

    def _listen(self, task: Task, transfers: list[TransferProgress], progress: Callable[..., None]) -> None:
        reported = None
        for message in task.messages.read(TICK):
            if message is not None:
                with self.display.hidden():
                    message(self.report)
            else:
                self.display.show(transfers)
                if task.progress.moved and task.progress.done != reported:
                    reported = task.progress.done
                    progress(size=reported)
        if task.progress.moved and task.progress.done != reported:
            progress(size=task.progress.done)

    def _postprocess(self, download: "_ModelDownload") -> bool:
        with self.display.hidden():
            download.postprocess(self.report.section)
            self.report.line()
        return True


def _remove_empty(folders: Collection[Path]) -> None:
    for folder in sorted(folders, reverse=True):  # inner folders first
        with contextlib.suppress(OSError):
            folder.rmdir()


class _ModelDownload:
    """The download of one model; `before` are the downloads that come earlier in the same run."""

    def __init__(self, model: Downloadable, folder: Path, fetch: Fetch, before: Sequence["_ModelDownload"]) -> None:
        self.model = model
        self.folder = folder
        self.tasks = [
            Task(functools.partial(self._fetch_file, file), TransferProgress(file.name.name, file.size))
            for file in model.files
        ]
        self._fetch = fetch
        self._before = [download for download in before if download.model.postprocessing]
        self._beginning = threading.Lock()
        self._begun = False
        self._has_lock_or_needs_none = threading.Event()
        self._is_done = False
        self._held = contextlib.ExitStack()

    def folders(self) -> set[Path]:
        """Return every folder that the download may create."""
        return {folder for file in self.model.files for folder in (self.folder / file.name).parents}

    def postprocess(self, say: Callable[[str], None]) -> None:
        if self._is_done:
            with disk_problems(self.folder):
                clear_leftovers(self.model, self.folder)
        else:
            postprocess(self.model, self.folder, say)

    def release(self) -> None:
        """Release the lock of the model."""
        self._held.close()

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancellation.cancel()

    def _fetch_file(self, file: ModelFile, task: Task) -> bool:
        with self._beginning:  # the first task of the model does it for all
            if not self._begun:
                try:
                    self._begin(task)
                finally:
                    self._has_lock_or_needs_none.set()
                self._begun = True
        destination = self.folder / file.name
        if self._is_done:
            task.progress.skip()
            task.messages.section(f"Retained {destination} (already there and postprocessed)")
            return True
        return self._fetch(file, destination, task)

    def _begin(self, task: Task) -> None:
        with disk_problems(self.folder):
            self._is_done = is_postprocessed(self.model, self.folder)
            if self.model.postprocessing and not self._is_done:
                self._take_lock(task)
                self._is_done = is_postprocessed(self.model, self.folder)
            parts = {PartPaths.of(self.folder / file.name, file) for file in self.model.files}
            for folder in {part.folder for part in parts}:
                remove_stale_parts(folder, parts)

    def _take_lock(self, task: Task) -> None:
        """Lock the model: another process would reject, and fetch again, files that postprocessing has changed.

        Locks are taken in the order of the models in this run, and each is released without waiting for a later one, so
        two downloaders that were given the same models in other orders cannot deadlock.
        """
        while not all(download._has_lock_or_needs_none.is_set() for download in self._before):
            task.cancellation.sleep(TICK)
        self.folder.mkdir(parents=True, exist_ok=True)
        waiting = "Waiting for another omz_downloader at work on this model..."
        self._held.enter_context(
            exclusive(self.folder / LOCK, lambda: task.messages.line(waiting), task.cancellation.sleep)
        )
