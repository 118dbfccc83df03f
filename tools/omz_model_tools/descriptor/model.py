"""A model descriptor as values: the model, its files, their sources and checksums, the postprocessing steps.

Every field has Open Model Zoo's meaning; `recipe`, sha256, and sources beside the descriptor are ours.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import urlsplit

HEX_DIGITS = {"sha256": 64, "sha384": 96}
PRECISIONS = ("FP16", "FP16-INT1", "FP16-INT8", "FP32", "FP32-INT1", "FP32-INT8")


# Names of the files that these tools keep beside models: records, staging and old folders, partial downloads, locks.
OURS = re.compile(r"\.(postprocess.*|omz_.*|.*\.(part|lock|new|old))", re.IGNORECASE)


# What a part of a path cannot be on Windows: a device, whatever is behind its dot; a stream of another file (a:b); a
# name that Windows cuts (a. is a) or refuses (learn.microsoft.com: Naming Files, Paths, and Namespaces).
OF_WINDOWS = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?|.*[. ]|.*[<>:\"|?*].*", re.IGNORECASE
)


def relative_name(name: str) -> PurePosixPath:
    """Return a path that stays inside its folder on every system; ValueError, naming what is expected, for others."""
    if not name.isprintable():
        raise ValueError("a name without control characters")
    if "\\" in name or re.match("[A-Za-z]:", name):
        raise ValueError("a relative path with forward slashes")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError('a relative path without empty, "." and ".." parts')
    if any(map(OF_WINDOWS.fullmatch, name.split("/"))):
        raise ValueError('names that Windows has too: no CON or COM1, none of <>:"|?*, no dot or space at the end')
    return PurePosixPath(name)


@dataclass(frozen=True)
class Checksum:
    algorithm: str  # a key of HEX_DIGITS
    digest: str  # hexadecimal, lower case

    def __post_init__(self) -> None:
        digits = HEX_DIGITS[self.algorithm]
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", self.digest):
            raise ValueError(f"{digits} hexadecimal digits ({self.algorithm})")


@dataclass(frozen=True)
class HttpSource:
    url: str

    def __post_init__(self) -> None:
        wanted = "an http or https URL"
        if not re.fullmatch(r"[\x21-\x7e]+", self.url):
            raise ValueError(f"{wanted} of printable ASCII characters")
        try:
            parts = urlsplit(self.url)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            whole = False
        if not whole:
            raise ValueError(wanted)

    def __str__(self) -> str:
        """Return the URL as it may be printed: without its password."""
        return re.sub(r"(//[^/@:]*:)[^/@]*@", r"\1***@", self.url)


@dataclass(frozen=True)
class FileSource:
    path: Path  # beside the descriptor

    def __str__(self) -> str:
        return str(self.path)


Source = HttpSource | FileSource


@dataclass(frozen=True)
class ModelFile:
    name: PurePosixPath
    size: int | None  # None only where a sha256 is given
    checksum: Checksum
    sources: tuple[Source, ...]  # tried in order
    original_source: Source | None = None  # where a mirrored file came from; never fetched
    max_size: int | None = None  # of a file without a size: with more bytes it is another file

    @property
    def longest(self) -> int | None:
        """The most bytes that the file can have; None where the descriptor does not say."""
        return self.max_size if self.size is None else self.size


@dataclass(frozen=True)
class UnpackArchive:
    file: PurePosixPath
    format: str


@dataclass(frozen=True)
class RegexReplace:
    file: PurePosixPath
    pattern: re.Pattern[str]  # its run time has no bound; Ctrl-C ends it
    replacement: str
    count: int  # 0: every occurrence


Postprocessing = UnpackArchive | RegexReplace


class Downloadable(Protocol):
    """A named set of files with a descriptor: a model, or a data set."""

    @property
    def name(self) -> str: ...
    @property
    def subdirectory(self) -> PurePosixPath: ...
    @property
    def descriptor(self) -> Path: ...
    @property
    def files(self) -> tuple[ModelFile, ...]: ...
    @property
    def postprocessing(self) -> tuple[Postprocessing, ...]: ...


@dataclass(frozen=True)
class InputInfo:
    name: str
    shape: tuple[int, ...] | None
    layout: str | None


ModelInfoValue = str | float | tuple[str, ...] | tuple[float, ...] | tuple[int, ...]


@dataclass(frozen=True)
class Model:
    name: str
    subdirectory: PurePosixPath  # "public/gpt-2", below every download and output folder
    descriptor: Path
    description: str
    task_type: str
    framework: str
    license: str
    files: tuple[ModelFile, ...]
    precisions: tuple[str, ...]  # in which the model can be converted or downloaded
    recipe: str | None = None  # an entry point of the group omz_model_tools.recipes
    input_info: tuple[InputInfo, ...] = ()
    postprocessing: tuple[Postprocessing, ...] = ()
    conversion_to_onnx_args: tuple[str, ...] = ()
    model_optimizer_args: tuple[str, ...] | None = None  # None: no Model Optimizer conversion is defined
    model_info: tuple[tuple[str, ModelInfoValue], ...] = ()  # written into the IR's rt_info
    quantizable: bool = False
    quantized: str | None = None

    @property
    def is_converted(self) -> bool:
        """False for a model whose files are the IR."""
        return self.recipe is not None or self.model_optimizer_args is not None
