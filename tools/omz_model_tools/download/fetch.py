"""One file, brought to its place: found there, or fetched, verified and published; it knows no HTTP and no model.

Whatever was at its place stays there until true bytes can replace it.
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
from omz_model_tools.download.partial import Partial, Place
from omz_model_tools.download.retry import Patience
from omz_model_tools.download.sources import Open, Unavailable
from omz_model_tools.download.tasks import Stop, Task

MB = 1_000_000


@dataclass(frozen=True)
class Defeat:
    source: Source
    reason: str
    tries: int  # 0: it was not asked


@dataclass(frozen=True)
class Provider:
    open: Open
    num_attempts: int  # fruitless tries at each source
    random: Callable[[], float]
    free_space: Callable[[Path], int]  # bytes
    sleep: Callable[[Stop, float], None] = lambda stop, seconds: stop.sleep(seconds)
    mirror: str | None = None
    cache: Cache | None = None
    offline: bool = False

    def provide(self, file: ModelFile, destination: Path, task: Task) -> bool:
        """Retain or fetch it; False, after telling why, if no source has it. Problem where the disk refuses."""
        errand = _Errand(file, destination, task)
        with disk_problems(destination):
            if verify.is_true(destination, file):
                Place.of(destination, file).clear()
                return self._retain(errand)
            destination.parent.mkdir(parents=True, exist_ok=True)
        task.talk.section(f"Downloading {destination}")
        place = Place.of(destination, file)
        with disk_problems(destination, temporary=place.lock), self._alone(place, task):
            if verify.is_true(destination, file):  # another process was faster
                return self._retain(errand)
            return self._fetch(errand, place)

    def _retain(self, errand: "_Errand") -> bool:
        errand.task.gauge.skip()
        errand.task.talk.section(f"Retained {errand.destination} (already there, checksum matches)")
        self._keep_in_cache(errand)
        return True

    def _alone(self, place: Place, task: Task) -> contextlib.AbstractContextManager[None]:
        waiting = "Waiting for another omz_downloader at work on this file..."
        return exclusive(place.lock, lambda: task.talk.line(waiting), task.stop.sleep)

    def _fetch(self, errand: "_Errand", place: Place) -> bool:
        with contextlib.closing(Partial(place, errand.file)) as part, _disk_problems(errand, part), errand.gauge(part):
            if not part.is_whole():
                self._check_space(errand, part)
                if not self._from_cache(errand, part) and not self._from_sources(errand, part):
                    return False
            part.publish(errand.destination)
        self._keep_in_cache(errand)
        return True

    def _check_space(self, errand: "_Errand", part: Partial) -> None:
        if errand.file.size is None:
            return
        needed, free = errand.file.size - part.size, self.free_space(errand.destination.parent)
        if needed > free:
            raise Problem(
                f"{errand.destination}: expected {math.ceil(needed / MB)} MB free, got {free // MB} MB; "
                "make room, or choose another folder with -o"
            )

    def _from_cache(self, errand: "_Errand", part: Partial) -> bool:
        if self.cache is None:
            return False
        entry = self.cache.find(errand.file.checksum)
        if entry is None:
            return False
        try:
            self._transfer(errand, part, FileSource(entry), 0)
            return True
        except (Unavailable, verify.Untrue) as failure:
            errand.task.talk.warning(f"{entry}: damaged in the cache: {failure}; it is removed and fetched again")
        with _cache_trouble(self.cache, errand):
            entry.unlink()
        return False

    def _keep_in_cache(self, errand: "_Errand") -> None:
        if self.cache is not None:
            with _cache_trouble(self.cache, errand):
                self.cache.put(errand.destination, errand.file.checksum)

    def _from_sources(self, errand: "_Errand", part: Partial) -> bool:
        defeats = []
        for source in mirrored(errand.file.sources, self.mirror):
            if self.offline and isinstance(source, HttpSource):
                defeats.append(Defeat(source, "not asked (--offline)", 0))
            else:
                defeat = self._ask(errand, part, source)
                if defeat is None:
                    return True
                defeats.append(defeat)
        entry = None if self.cache is None else self.cache.entry(errand.file.checksum)
        kept = part.kept() if part.size else None
        errand.task.talk.error(*defeated(errand.destination, entry, defeats, kept))
        return False

    def _ask(self, errand: "_Errand", part: Partial, source: Source) -> Defeat | None:
        """None once the whole file is there."""
        patience = Patience(self.num_attempts, self.random, part.size)
        while True:
            began = part.size
            try:
                self._transfer(errand, part, source, began)
                return None
            except (Unavailable, verify.Untrue) as failure:
                errand.task.stop.check()  # who stops a transfer breaks its connection
                errand.task.talk.error(*_failure_lines(failure, source, errand.destination))
                delay = patience.delay_after(failure, began, part.size)
                if delay is None:
                    return Defeat(source, str(failure), patience.tries)
            errand.task.talk.line(f"Will retry in {math.ceil(delay)} seconds...")
            self.sleep(errand.task.stop, delay)

    def _transfer(self, errand: "_Errand", part: Partial, source: Source, start: int) -> None:
        task = errand.task
        with (
            self.open(source, start, errand.file.size) as delivery,
            task.stop.waking(delivery.wake),
            part.receiving(delivery.start) as growing,
        ):
            for chunk in delivery.chunks:
                task.stop.check()
                growing.add(chunk)
                task.gauge.reach(growing.size)
            task.stop.check()


@dataclass(frozen=True)
class _Errand:
    file: ModelFile
    destination: Path
    task: Task

    @contextlib.contextmanager
    def gauge(self, part: Partial) -> Iterator[None]:
        self.task.gauge.begin(part.size)
        try:
            yield
        finally:
            self.task.gauge.end()


@contextlib.contextmanager
def _cache_trouble(cache: Cache, errand: _Errand) -> Iterator[None]:
    """The cache is a convenience: when it takes nothing, the download goes on, and one complaint is enough."""
    try:
        yield
    except OSError as error:
        if cache.is_first_trouble():
            place = error.filename2 or error.filename or cache.folder
            reason = error.strerror or one_line(error)
            errand.task.talk.warning(f"{place}: {reason}; not everything is kept in the cache")


@contextlib.contextmanager
def _disk_problems(errand: _Errand, part: Partial) -> Iterator[None]:
    """Of the part it is told what is kept of it, since that also takes room."""
    try:
        yield
    except OSError as error:
        kept = f"; {part.kept()}" if part.path.exists() and part.path.stat().st_size else ""
        raise Problem(f"{errand.destination}: {error.strerror or one_line(error)}{kept}") from error


def _failure_lines(failure: Unavailable | verify.Untrue, source: Source, destination: Path) -> list[str]:
    if isinstance(failure, verify.HashMismatch):
        return [*failure.lines(destination), f"Source:   {source}"]
    return [f"{source} -> {destination}: {failure}"]


def defeated(destination: Path, cache_entry: Path | None, defeats: Iterable[Defeat], kept: str | None) -> list[str]:
    """The error and its details; `kept` says what is there of the file."""
    defeats = list(defeats)
    lines = [f"{destination}: could not be downloaded"]
    if cache_entry is not None:
        lines.append(f"{cache_entry}: not in the cache")
    lines += [f"{defeat.source}: {defeat.reason}{_tries(defeat.tries)}" for defeat in defeats]
    if kept:
        lines.append(kept)
    urls = [str(defeat.source) for defeat in defeats if isinstance(defeat.source, HttpSource)]
    if urls:
        curl = ["curl", "--location", "--create-dirs", "--output", str(destination), urls[0]]
        lines.append(f"by hand: {shlex.join(curl)}")
    return lines


def _tries(count: int) -> str:
    return f" ({count} {'try' if count == 1 else 'tries'})" if count else ""
