"""A model's files, fetched, verified and put in place; it knows no HTTP and no command line.

Whatever was at a file's place stays there until true bytes can replace it.
"""

import contextlib
import math
import os
import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from omz_model_tools import verify
from omz_model_tools.descriptor import Model, ModelFile, Source
from omz_model_tools.problem import Problem, disk_problems
from omz_model_tools.progress import Progress
from omz_model_tools.publish import publish_file
from omz_model_tools.report import Report
from omz_model_tools.sources import Unavailable

LONGEST_DELAY = 10  # seconds between two tries, Open Model Zoo's


@dataclass(frozen=True)
class Downloader:
    output_dir: Path
    num_attempts: int  # tries at each source
    report: Report
    read: Callable[[Source], Generator[bytes, None, None]]
    progress: Progress
    sleep: Callable[[float], None]

    def download(self, model: Model) -> bool:
        """Fetch what is not there yet; False, after telling why, at the first file that cannot be had."""
        self.report.group(f"Downloading {model.name}")
        try:
            _refuse_postprocessing(model)
            return all(self._provide(file, self.output_dir / model.subdirectory / file.name) for file in model.files)
        except Problem as problem:
            self.report.error(str(problem))
            self.report.line()
            return False

    def _provide(self, file: ModelFile, destination: Path) -> bool:
        with disk_problems(destination):
            if _is_there(file, destination):
                self.report.section(f"Retained {destination} (already there, checksum matches)")
                arrived = True
            else:
                destination.parent.mkdir(parents=True, exist_ok=True)
                self.report.section(f"Downloading {destination}")
                arrived = any(self._try_source(file, source, destination) for source in file.sources)
        self.report.line()
        return arrived

    def _try_source(self, file: ModelFile, source: Source, destination: Path) -> bool:
        for attempt in range(1, self.num_attempts + 1):
            if attempt > 1:
                self._wait(attempt)
            try:
                self._fetch(file, source, destination)
                return True
            except (Unavailable, verify.Untrue) as failure:
                self.report.error(*_failure_lines(failure, source, destination))
                if attempt >= _most_attempts(failure):
                    break
        return False

    def _wait(self, attempt: int) -> None:
        delay = min(2 ** min(attempt - 2, 10), LONGEST_DELAY)  # 1, 2, 4, 8, 10, 10...
        self.report.line(f"Will retry in {delay} seconds...")
        self.sleep(delay)

    def _fetch(self, file: ModelFile, source: Source, destination: Path) -> None:
        # A file of this process's own: two downloads of one file cannot mix their bytes.
        part = destination.with_name(f".download-{os.getpid()}-{secrets.token_hex(4)}.part")
        tally = verify.Tally(file)
        try:
            with (
                disk_problems(destination, temporary=part),
                part.open("xb") as out,
                self.progress(destination.name, file.size) as advance,
                contextlib.closing(self.read(source)) as chunks,
            ):
                for chunk in chunks:
                    tally.add(chunk)
                    out.write(chunk)
                    advance(len(chunk))
                tally.check()
                out.flush()
                os.fsync(out.fileno())
            publish_file(part, destination)
        finally:
            part.unlink(missing_ok=True)


def _refuse_postprocessing(model: Model) -> None:
    if model.postprocessing:
        raise Problem(
            f'{model.descriptor}: "postprocessing": expected none, got {len(model.postprocessing)} steps, '
            "which this omz_downloader does not carry out; nothing was fetched"
        )


def _is_there(file: ModelFile, destination: Path) -> bool:
    if destination.is_dir():
        raise Problem(f"{destination}: expected a file or nothing, got a folder; move it away")
    if not destination.exists():
        return False
    try:
        verify.check(destination, file)
    except verify.Untrue:
        return False
    return True


def _most_attempts(failure: Unavailable | verify.Untrue) -> float:
    """How often one source is worth asking, if it fails in this way."""
    if isinstance(failure, verify.HashMismatch):
        return 2  # a proxy may have garbled it once; twice, and the file itself is another
    if isinstance(failure, verify.TooLong):
        return 1
    if isinstance(failure, Unavailable) and not failure.passing:
        return 1
    return math.inf


def _failure_lines(failure: Unavailable | verify.Untrue, source: Source, destination: Path) -> list[str]:
    if isinstance(failure, verify.HashMismatch):
        return [*failure.lines(destination), f"Source:   {source}"]
    return [f"{source} -> {destination}: {failure}"]
