"""omz_model_tools' downloader with a network, a clock, a disk and chances that a test has in its hand."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omz_model_tools.common.report import Report
from omz_model_tools.descriptor.model import Source
from omz_model_tools.download.downloader import Downloader
from omz_model_tools.download.fetch import Fetcher
from omz_model_tools.download.progress import NoDisplay
from omz_model_tools.download.sources import Delivery, Sources, Unavailable
from support import HANGS_AFTER
from support.model_tree import descriptor, file_entry, load_models, write_model

TRUE = b"The poem was written by the sea." * 1000
DIGEST = hashlib.sha256(TRUE).hexdigest()
PART = f".{DIGEST[:32]}.part"
HEADING = "################|| Downloading toy ||################\n\n"


def toy(*sources: Any, **changed: Any) -> dict[str, Any]:
    """Describe the one file of the model `toy`, which holds TRUE."""
    return file_entry("sub/x.bin", TRUE, list(sources), **changed)


def names(folder: Path) -> list[str]:
    """All names in a folder, hidden ones too: a temporary file that stayed would show."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@dataclass(frozen=True)
class Run:
    success: bool
    out: str
    err: str
    delays: list[float]


def download(
    tmp_path: Path, *entries: dict[str, Any], num_attempts: int = 1, kind: type[Report] = Report, **settings: Any
) -> Run:
    """Download the model `toy`, made of these files, into tmp_path/out, with the longest delays and no sleep."""
    write_model(tmp_path / "models", "toy", descriptor(*entries, postprocessing=settings.pop("postprocessing", None)))
    out, err, delays = io.StringIO(), io.StringIO(), list[float]()
    jobs = settings.pop("jobs", 1)
    usual = {
        "open": Sources("omz_downloader/test", (HANGS_AFTER, HANGS_AFTER)).open,
        "num_attempts": num_attempts,
        "random": lambda: 1.0,
        "free_space": lambda folder: 1 << 40,
        "sleep": lambda token, seconds: delays.append(seconds),
    }
    fetcher = Fetcher(**{**usual, **settings})
    work = Downloader(tmp_path / "out", fetcher.fetch, kind(out, err), NoDisplay(), jobs)
    failed = work.download(load_models([tmp_path / "models"]))
    assert failed in ([], ["toy"])
    return Run(not failed, out.getvalue(), err.getvalue(), delays)


@dataclass(frozen=True)
class Script:
    """What a source gives, instead of a network: its bytes from where it was asked for, and perhaps a failure."""

    chunks: tuple[bytes, ...]
    failure: Unavailable | None = None
    resumes: bool = True


class Scripted:
    """Sources that answer by the book, one script after the other; the last one stays."""

    def __init__(self, scripts: Mapping[str, list[Script]]) -> None:
        self.scripts = {url: list(answers) for url, answers in scripts.items()}
        self.asked: list[tuple[str, int]] = []

    @contextmanager
    def open(self, source: Source, start: int, size: int | None) -> Iterator[Delivery]:
        self.asked.append((str(source), start))
        answers = self.scripts[str(source)]
        script = answers.pop(0) if len(answers) > 1 else answers[0]
        start = start if script.resumes else 0
        yield Delivery(start, self._chunks(script, start))

    def _chunks(self, script: Script, start: int) -> Iterator[bytes]:
        for chunk in script.chunks:
            rest, start = chunk[start:], max(start - len(chunk), 0)
            if rest:
                yield rest
        if script.failure is not None:
            raise script.failure
