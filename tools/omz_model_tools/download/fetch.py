"""Fetch one file: retain it if it is there, else download, verify and publish it.

An existing file is replaced only by verified bytes.
"""

import contextlib
import math
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools.common.lock import exclusive
from omz_model_tools.common.problem import Problem, disk_problems, one_line
from omz_model_tools.descriptor import verify
from omz_model_tools.descriptor.model import FileSource, HttpSource, ModelFile, Source
from omz_model_tools.download.cache import Cache
from omz_model_tools.download.mirror import mirrored
from omz_model_tools.download.partial import Partial, PartPaths
from omz_model_tools.download.retry import RetryPolicy
from omz_model_tools.download.sources import Delivery, Open, Unavailable
from omz_model_tools.download.tasks import CancellationToken, Task

MB = 1_000_000
LEAST_FREE = 256 * MB  # bytes that a file of unknown length leaves free on the disk


@dataclass(frozen=True)
class SourceFailure:
    source: Source
    reason: str
    attempts: int  # 0: not tried


@dataclass(frozen=True)
class Fetcher:
    open: Open
    num_attempts: int  # failed attempts at each source that made no progress
    random: Callable[[], float]
    free_space: Callable[[Path], int]  # bytes
    sleep: Callable[[CancellationToken, float], None] = lambda token, seconds: token.sleep(seconds)
    mirror: str | None = None
    cache: Cache | None = None
    offline: bool = False

    def fetch(self, file: ModelFile, destination: Path, task: Task) -> bool:
        """Retain or download the file; False, after reporting why, if no source has it. Problem for a disk error."""
        request = _Request(file, destination, task)
        with disk_problems(destination):
            if verify.matches(destination, file):
                PartPaths.of(destination, file).clear()
                return self._retain(request)
            destination.parent.mkdir(parents=True, exist_ok=True)
        task.messages.section(f"Downloading {destination}")
        paths = PartPaths.of(destination, file)
        with disk_problems(destination, temporary=paths.lock), self._locked(paths, task):
            if verify.matches(destination, file):  # another process downloaded it meanwhile
                return self._retain(request)
            return self._fetch(request, paths)

    def _retain(self, request: "_Request") -> bool:
        request.task.progress.skip()
        request.task.messages.section(f"Retained {request.destination} (already there, checksum matches)")
        self._keep_in_cache(request)
        return True

    def _locked(self, paths: PartPaths, task: Task) -> contextlib.AbstractContextManager[None]:
        waiting = "Waiting for another omz_downloader at work on this file..."
        return exclusive(paths.lock, lambda: task.messages.line(waiting), task.cancellation.sleep)

    def _fetch(self, request: "_Request", paths: PartPaths) -> bool:
        with (
            contextlib.closing(Partial(paths, request.file)) as part,
            _disk_problems(request, part),
            request.track_progress(part),
        ):
            if not part.is_whole():
                self._check_space(request, part)
                if not self._from_cache(request, part) and not self._from_sources(request, part):
                    return False
            part.publish(request.destination)
        self._keep_in_cache(request)
        return True

    def _check_space(self, request: "_Request", part: Partial) -> None:
        needed = 0 if request.file.size is None else request.file.size - part.size
        if missing := self._missing_space(request, needed):
            raise Problem(f"{request.destination}: {missing}")

    def _missing_space(self, request: "_Request", needed: int) -> str | None:
        free = self.free_space(request.destination.parent)
        if needed <= free:
            return None
        return (
            f"expected {math.ceil(needed / MB)} MB free, got {free // MB} MB; "
            "make room, or choose another folder with -o"
        )

    def _from_cache(self, request: "_Request", part: Partial) -> bool:
        if self.cache is None:
            return False
        entry = self.cache.find(request.file.checksum)
        if entry is None:
            return False
        try:
            self._transfer(request, part, FileSource(entry), 0)
            return True
        except (Unavailable, verify.VerificationError) as failure:
            request.task.messages.warning(f"{entry}: damaged in the cache: {failure}; it is removed and fetched again")
        with _cache_failures(self.cache, request):
            entry.unlink()
        return False

    def _keep_in_cache(self, request: "_Request") -> None:
        if self.cache is not None:
            with _cache_failures(self.cache, request):
                self.cache.put(request.destination, request.file.checksum)

    def _from_sources(self, request: "_Request", part: Partial) -> bool:
        failures = []
        for source in mirrored(request.file.sources, self.mirror):
            if self.offline and isinstance(source, HttpSource):
                failures.append(SourceFailure(source, "not used (--offline)", 0))
            else:
                failure = self._try_source(request, part, source)
                if failure is None:
                    return True
                failures.append(failure)
        entry = None if self.cache is None else self.cache.entry(request.file.checksum)
        kept = part.kept() if part.size else None
        request.task.messages.error(*failure_report(request.destination, entry, failures, kept))
        return False

    def _try_source(self, request: "_Request", part: Partial, source: Source) -> SourceFailure | None:
        """Return why the source was given up, or None once the file is complete."""
        policy = RetryPolicy(self.num_attempts, self.random, part.size)
        while True:
            began = part.size
            try:
                self._transfer(request, part, source, began)
                return None
            except (Unavailable, verify.VerificationError) as failure:
                request.task.cancellation.check()  # cancelling breaks the connection, which is no failure of the source
                request.task.messages.error(*_failure_lines(failure, source, request.destination))
                delay = policy.delay_after(failure, began, part.size)
                if delay is None:
                    return SourceFailure(source, str(failure), policy.attempts)
            request.task.messages.line(f"Will retry in {math.ceil(delay)} seconds...")
            self.sleep(request.task.cancellation, delay)

    def _transfer(self, request: "_Request", part: Partial, source: Source, start: int) -> None:
        task = request.task
        with (
            self._opened(request, part, source, start) as delivery,
            task.cancellation.on_cancel(delivery.wake),
            part.receiving(source, delivery) as stored,
        ):
            is_bounded = delivery.version.length is not None or request.file.longest is not None
            least_free = 0 if is_bounded else min(LEAST_FREE, self.free_space(request.destination.parent) // 2)
            for chunk in delivery.chunks:
                task.cancellation.check()
                stored.add(chunk)
                task.progress.reach(stored.size)
                if least_free and self.free_space(request.destination.parent) < least_free:
                    stored.drop()
                    raise Unavailable(
                        f"does not say how long its file is, and less than {math.ceil(least_free / MB)} MB are free; "
                        "make room, or choose another folder with -o",
                        temporary=False,
                    )
            task.cancellation.check()

    @contextlib.contextmanager
    def _opened(self, request: "_Request", part: Partial, source: Source, start: int) -> Iterator[Delivery]:
        """Open a source at `start`, or anew where it says that the part is of another file, which is dropped then."""
        with contextlib.ExitStack() as opened:
            delivery = opened.enter_context(self.open(source, start, request.file.size))
            if part.is_disowned_by(source, delivery):
                part.drop()
                if delivery.start:
                    opened.close()
                    delivery = opened.enter_context(self.open(source, 0, request.file.size))
            length = delivery.version.length
            if request.file.size is None and length is not None:
                verify.check_length(length, request.file)
                if missing := self._missing_space(request, length - delivery.start):
                    raise Unavailable(missing, temporary=False)
            yield delivery


@dataclass(frozen=True)
class _Request:
    file: ModelFile
    destination: Path
    task: Task

    @contextlib.contextmanager
    def track_progress(self, part: Partial) -> Iterator[None]:
        self.task.progress.begin(part.size)
        try:
            yield
        finally:
            self.task.progress.end()


@contextlib.contextmanager
def _cache_failures(cache: Cache, request: _Request) -> Iterator[None]:
    """Turn an error of the cache into one warning: the download itself goes on without it."""
    try:
        yield
    except OSError as error:
        if cache.is_first_failure():
            path = error.filename2 or error.filename or cache.folder
            reason = error.strerror or one_line(error)
            request.task.messages.warning(f"{path}: {reason}; not everything is kept in the cache")


@contextlib.contextmanager
def _disk_problems(request: _Request, part: Partial) -> Iterator[None]:
    """Turn a disk error into a Problem that also names the kept part: on a full disk, it takes space."""
    try:
        yield
    except OSError as error:
        kept = f"; {part.kept()}" if part.path.exists() and part.path.stat().st_size else ""
        raise Problem(f"{request.destination}: {error.strerror or one_line(error)}{kept}") from error


def _failure_lines(failure: Unavailable | verify.VerificationError, source: Source, destination: Path) -> list[str]:
    if isinstance(failure, verify.HashMismatch):
        return [*failure.lines(destination), f"Source:   {source}"]
    return [f"{source} -> {destination}: {failure}"]


def failure_report(
    destination: Path, cache_entry: Path | None, failures: Iterable[SourceFailure], kept: str | None
) -> list[str]:
    """Return the error line and its details: why each source failed, what is kept, how to fetch it by hand."""
    failures = list(failures)
    lines = [f"{destination}: could not be downloaded"]
    if cache_entry is not None:
        lines.append(f"{cache_entry}: not in the cache")
    lines += [f"{failure.source}: {failure.reason}{_attempts(failure.attempts)}" for failure in failures]
    if kept:
        lines.append(kept)
    urls = [str(failure.source) for failure in failures if isinstance(failure.source, HttpSource)]
    if urls:
        curl = ["curl", "--fail", "--location", "--create-dirs", "--output", str(destination), urls[0]]
        lines.append(f"by hand: {shlex.join(curl)}")
    return lines


def _attempts(count: int) -> str:
    return f" ({count} {'attempt' if count == 1 else 'attempts'})" if count else ""
