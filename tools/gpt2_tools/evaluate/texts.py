"""The texts that are scored: files of the user's and of published data sets, their checksum, words and tokens."""

import hashlib
import io
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gpt2_tools.common.problem import Problem
from gpt2_tools.common.text_stream import decoded, pieces
from omz_model_tools.common import read_file
from omz_model_tools.descriptor import packaged_dataset

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gpt2_text_prediction.text import GPT2Tokenizer

PIECE = 2**16
"""Characters, or a few more, that are encoded at a time: the tokenizer needs much memory per character."""

Encode = Callable[[str], list[int]]
"""A tokenizer's encode."""


@dataclass(frozen=True)
class Text:
    """A file's content, and the form in which it is encoded."""

    path: Path
    sha256: str
    bytes: int  # of the file
    text: str
    form: str = "the whole file"

    @cached_property
    def words(self) -> int:
        """The number of words between white space."""
        return sum(1 for _ in re.finditer(r"\S+", self.text))

    def facts(self) -> dict[str, str | int]:
        """Return what identifies the text in a result."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "bytes": self.bytes,
            "words": self.words,
            "form": self.form,
        }

    def with_universal_newlines(self) -> "Text":
        r"""Return the text as Open Model Zoo reads it, in Python's text mode: "\r\n" and "\r" are "\n"."""
        if "\r" not in self.text:
            return self
        newlines = self.text.replace("\r\n", "\n").replace("\r", "\n")
        return replace(self, text=newlines, form=r"the whole file, each \r\n and \r read as \n")

    def lines_joined(self) -> "Text":
        r"""Return the lines of a WikiText file joined by "\n\n", as Hugging Face's examples do it.

        Their data set has the file's lines, each with its line break, and those of white space as "".
        """
        lines = io.StringIO(self.text, newline=None)
        joined = "\n\n".join(line if line.strip() else "" for line in lines)
        return replace(self, text=joined, form="its lines joined by empty lines")


@dataclass(frozen=True)
class DatasetFile:
    """The file of a published data set that is scored."""

    dataset: str
    file: PurePosixPath
    sha256: str

    def path(self, folder: Path) -> Path:
        """Return its path; folder: the -o of omz_data_downloader."""
        return folder / "datasets" / self.dataset / self.file


LAMBADA = "lambada"
WIKITEXT_2 = "wikitext-2"
SCORED_FILES = {
    LAMBADA: PurePosixPath("lambada_test.jsonl"),
    WIKITEXT_2: PurePosixPath("wikitext-2-raw/wiki.test.raw"),
}


def dataset_file(name: str) -> DatasetFile:
    """Return the file of a data set that is scored, with the SHA-256 in its dataset.yml."""
    file = SCORED_FILES[name]
    return DatasetFile(name, file, packaged_dataset(name).checksum(file).digest)


def read_text(path: Path) -> Text:
    """Read a UTF-8 file. Raises Problem if it cannot be read, is empty or not UTF-8."""
    raw = read_file(path)
    if not raw:
        raise Problem(f"{path}: is empty; expected a text to score")
    text = "".join(decoded(path, [raw]))
    return Text(path, hashlib.sha256(raw).hexdigest(), len(raw), text)


def read_dataset(file: DatasetFile, folder: Path) -> Text:
    """Read it. Raises Problem, with the command that downloads it, if it is missing or has another checksum."""
    path = file.path(folder)
    where = [] if folder == Path() else ["-o", str(folder)]
    command = shlex.join(["omz_data_downloader", "--name", file.dataset, *where])
    if not path.is_file():
        raise Problem(
            f"{path}: there is no such file; download it with `{command}`, or give its folder with --data_dir"
        )
    text = read_text(path)
    if text.sha256 != file.sha256:
        raise Problem(
            f"{path}: expected the SHA-256 {file.sha256}, got {text.sha256}; download it again with `{command}`"
        )
    return text


def encode(tokenizer: "GPT2Tokenizer", text: str) -> "npt.NDArray[np.int64]":  # -> [N]
    """Return the tokens of a text of any length, the same as if it was encoded in one call.

    They have those with which the tokenizer begins or ends a text.
    """
    import numpy as np  # noqa: PLC0415  # the command line needs the names of this module only

    if not tokenizer.splits_at_words:
        return np.array(tokenizer.encode(text, template=True), np.int64)
    parts = [np.array(tokenizer.encode(piece), np.int64) for piece in pieces(text, PIECE)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def encode_pair(
    encode: Encode, context: str, continuation: str, encode_alone: Encode | None = None
) -> tuple[list[int], list[int]]:
    """Return the tokens of a context and of its continuation, as lm-evaluation-harness splits them.

    Both are encoded together and split after as many tokens as the context alone has. Where that leaves none for the
    continuation, which has vanished into the context's last token, it is encoded alone
    (lm-evaluation-harness, pull request 4055).
    """
    before, whole = encode(context), encode(context + continuation)
    after = whole[len(before) :] or (encode_alone or encode)(continuation)
    return before, after
