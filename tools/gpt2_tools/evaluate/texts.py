"""A text file as it is measured: its bytes, its sum, its words, its tokens; it knows no model."""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.problem import readable
from gpt2_text_prediction.text import GPT2Tokenizer
from gpt2_tools.common.problem import Problem

PIECE = 2**16
"""So many characters, or a little more, are encoded at once: the tokenizer's own record of them takes much memory."""

CUT = re.compile(r"(?<=[!-~])[ \n]")
"""Where a text can be cut without a change to its tokens: before white space that follows none."""


@dataclass(frozen=True)
class Text:
    """What a file holds, and the form of it that is encoded; nothing of it is cleaned."""

    path: Path
    sha256: str
    bytes: int  # of the file
    text: str
    form: str = "the whole file"

    @cached_property
    def words(self) -> int:
        """How many there are between white space."""
        return sum(1 for _ in re.finditer(r"\S+", self.text))

    def facts(self) -> dict[str, str | int]:
        """Return what says which text it was."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "bytes": self.bytes,
            "words": self.words,
            "form": self.form,
        }

    def lines_joined(self) -> "Text":
        r"""Return the lines of a WikiText file joined by "\n\n", as Hugging Face's examples do it.

        Their data set has the file's lines, each with its line break, and those of white space as "".
        """
        lines = io.StringIO(self.text, newline=None)
        joined = "\n\n".join(line if line.strip() else "" for line in lines)
        return replace(self, text=joined, form="its lines joined by empty lines")


@dataclass(frozen=True)
class Dataset:
    """The file of a data set that is measured."""

    name: str
    file: PurePosixPath
    sha256: str

    def path(self, folder: Path) -> Path:
        """Return where it lies; folder: omz_data_downloader's -o."""
        return folder / "datasets" / self.name / self.file


WIKITEXT_2 = Dataset(
    "wikitext-2",
    PurePosixPath("wikitext-2-raw/wiki.test.raw"),
    "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
)
DATASETS = {dataset.name: dataset for dataset in (WIKITEXT_2,)}


def read_text(path: Path) -> Text:
    """Read a file of UTF-8.

    Raises Problem where there is none, it is empty or not UTF-8.
    """
    with readable(path):
        raw = path.read_bytes()
    if not raw:
        raise Problem(f"{path}: is empty; expected a text to score")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        place = error.start - raw.rfind(b"\n", 0, error.start)
        got = f"0x{raw[error.start]:02x} as byte {place} of line {line}"
        raise Problem(f"{path}: expected UTF-8, got {got} (byte {error.start + 1} of the file)") from None
    return Text(path, hashlib.sha256(raw).hexdigest(), len(raw), text)


def read_dataset(dataset: Dataset, folder: Path) -> Text:
    """Read a data set's text. Raises Problem, naming the command that brings it, where it is not there or another."""
    path = dataset.path(folder)
    command = f"omz_data_downloader --name {dataset.name}" + ("" if folder == Path() else f" -o {folder}")
    if not path.is_file():
        raise Problem(f"{path}: there is no such file; `{command}` brings it, and --data_dir says where it is")
    text = read_text(path)
    if text.sha256 != dataset.sha256:
        raise Problem(f"{path}: expected the SHA-256 {dataset.sha256}, got {text.sha256}; `{command}` brings it again")
    return text


def encode(tokenizer: GPT2Tokenizer, text: str) -> npt.NDArray[np.int64]:  # -> [N]
    """Return the tokens of a text of any length, the same as if it was encoded at once."""
    parts = [np.array(tokenizer.encode(piece), np.int64) for piece in pieces(text, PIECE)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def pieces(text: str, size: int) -> Iterator[str]:
    """Cut a text where its tokens do not change, at the first such place behind `size` characters."""
    start = 0
    while start < len(text):
        cut = CUT.search(text, start + size)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end
