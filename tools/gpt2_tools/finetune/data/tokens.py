"""The tokens of a data set on the disk, memory-mapped, and cut into blocks: any size needs the same memory."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gpt2_text_prediction.engine import checksum
from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.common.text_stream import CHUNK, byte_chunks
from gpt2_tools.finetune.data.documents import is_tokens, read_pieces, read_tokens
from omz_model_tools.common import disk_problems, publishing

TRAIN, VALIDATION, FACTS = "train.bin", "validation.bin", "tokens.json"
AT_ONCE = 64
"""Pieces that are encoded at a time, on all processors."""

Tokens = npt.NDArray[Any]
EncodeAll = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True)
class Encoder:
    """Encodes many texts at once. end: the token that ends a document; None: the vocabulary has none."""

    encode: EncodeAll
    end: int | None
    vocab_size: int

    @property
    def dtype(self) -> str:
        """How the tokens are stored."""
        return "<u2" if self.vocab_size <= 2**16 else "<u4"

    def encode_checked(self, texts: Sequence[str], place: object) -> list[list[int]]:
        """Encode texts of a place, a path or a flag. Raises Problem for a token that the model has no row for."""
        found = self.encode(texts)
        largest = max((self.end or 0, *(max(ids, default=0) for ids in found)))
        if largest >= self.vocab_size:
            raise Problem(
                f"{place}: has the token id {largest}, by the tokenizer; the model has {self.vocab_size} tokens; "
                "resize its embedding, or put back its own tokenizer"
            )
        return found


def file_facts(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return what identifies files in run.json."""
    return [{"path": str(path), "bytes": path.stat().st_size, "sha256": checksum(path)} for path in files]


@dataclass(frozen=True)
class Source:
    """The files of a data set, and the column of a table that is read."""

    files: Sequence[Path]
    column: str | None = None

    def facts(self) -> list[dict[str, Any]]:
        """Return what identifies the files in run.json."""
        return [{**facts, "column": self.column} for facts in file_facts(self.files)]

    def require_documents(self, count: int) -> None:
        """Raise Problem if none were found in it."""
        if not count:
            raise Problem(f"{', '.join(map(str, self.files))}: has no documents; expected a text in it")


@dataclass(frozen=True)
class TokenFiles:
    """What was written: the numbers of documents and tokens, and how the tokens are stored.

    held_out: in words, what the validation is.
    """

    documents: int
    train: int
    validation: int
    dtype: str
    held_out: str | None


def write_tokens(folder: Path, source: Source, encoder: Encoder, held_out: Source | float) -> TokenFiles:
    """Write train.bin, validation.bin and, when they are whole, tokens.json into a folder.

    held_out: the data set to validate on, or the share of this one that is: of documents, or where there are too few
    the end of the text.
    """
    share = Fraction(str(held_out) if isinstance(held_out, float) else 0)
    percent = f"{float(share * 100):.3g}"
    with disk_problems(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).unlink(missing_ok=True)
        with (folder / TRAIN).open("wb") as train, (folder / VALIDATION).open("wb") as validation:
            documents = _write(source, encoder, lambda i: validation if (i + 1) * share % 1 < share else train)
            words = f"{percent}% of the {documents} documents" if share else None
            if not isinstance(held_out, float):
                _write(held_out, encoder, lambda i: validation)
                words = ", ".join(map(str, held_out.files))
        width = np.dtype(encoder.dtype).itemsize
        if share and documents * share < 1:
            _move_end(folder / TRAIN, folder / VALIDATION, share, width)
            words = f"the last {percent}% of the text"
        train_tokens, validation_tokens = _counts(folder, width)
        facts = TokenFiles(documents, train_tokens, validation_tokens, encoder.dtype, words)
        with publishing(folder / FACTS) as out:
            out.write(f"{json.dumps({**asdict(facts), 'sha256': _checksums(folder)})}\n".encode())
    return facts


def open_tokens(folder: Path) -> TokenFiles | None:
    """Return what is in a folder of token files; None if they are not there, or not as they were written."""
    try:
        found = dict(json.loads((folder / FACTS).read_bytes()))
        is_whole = found.pop("sha256", None) == _checksums(folder)
        return TokenFiles(**found) if is_whole else None
    except (Problem, OSError, ValueError, TypeError):
        return None


def _checksums(folder: Path) -> list[str]:
    return [checksum(folder / name) for name in (TRAIN, VALIDATION)]


def _counts(folder: Path, width: int) -> tuple[int, int]:
    """Return the tokens in train.bin and validation.bin."""
    return (folder / TRAIN).stat().st_size // width, (folder / VALIDATION).stat().st_size // width


def _write(source: Source, encoder: Encoder, file_of: Callable[[int], IO[bytes]]) -> int:
    """Append the tokens of each document to the file that its number has; return the number of documents."""
    document = 0
    for tokens, ends in _encoded(source, encoder):
        file_of(document).write(tokens.astype(encoder.dtype).tobytes())
        document += ends
    source.require_documents(document)
    return document


def _encoded(source: Source, encoder: Encoder) -> Iterator[tuple[Tokens, bool]]:
    """Yield runs of tokens, and whether a document ends with them."""
    end = [] if encoder.end is None else [encoder.end]
    for path in source.files:
        if is_tokens(path):
            yield from ((tokens, True) for tokens in read_tokens(path, encoder.vocab_size))
            continue
        pieces = read_pieces(path, source.column, _with_progress)
        while some := list(islice(pieces, AT_ONCE)):
            for piece, ids in zip(some, encoder.encode_checked([piece.text for piece in some], path), strict=True):
                yield np.array([*ids, *(end if piece.ends else [])], np.int64), piece.ends


def _with_progress(path: Path) -> Iterator[bytes]:
    return counted(byte_chunks(path), -(-path.stat().st_size // CHUNK), "MB")


def texts_of(source: Source) -> Iterator[str]:
    """Yield the text of a data set in pieces, to train a vocabulary on."""
    count = 0
    for path in source.files:
        for piece in read_pieces(path, source.column, _with_progress):
            count += 1
            yield piece.text
    source.require_documents(count)


def _move_end(train: Path, validation: Path, share: Fraction, width: int) -> None:
    """Move the last tokens of the one file to the other."""
    count = train.stat().st_size // width
    kept = (count - round(count * share)) * width
    with ExitStack() as stack:
        old, new = stack.enter_context(train.open("rb+")), stack.enter_context(validation.open("ab"))
        old.seek(kept)
        while chunk := old.read(CHUNK):
            new.write(chunk)
        old.truncate(kept)


class Blocks:
    """The whole blocks of a token file, as a data set of PyTorch; tokens of a last, partial one are left out.

    most: blocks at most, spread evenly over the file.
    """

    def __init__(self, path: Path, dtype: str, size: int, most: int | None = None) -> None:
        self.size = size
        count = path.stat().st_size // np.dtype(dtype).itemsize // size
        self._tokens: Tokens = np.memmap(path, dtype, "r", shape=(count, size)) if count else np.zeros((0, size))
        self._rows: Sequence[int] = range(count)
        if most is not None and count > most:
            self._rows = np.linspace(0, count - 1, most).astype(int).tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> npt.NDArray[np.int64]:  # -> [L]
        block: npt.NDArray[np.int64] = self._tokens[self._rows[index]].astype(np.int64)
        return block


def collate(blocks: Sequence[npt.NDArray[np.int64]]) -> dict[str, Any]:  # B times [L] -> [B, L] each
    """Return a batch. Every token is a label, that which ends a document too; the model shifts them itself."""
    import torch  # noqa: PLC0415

    tokens = torch.from_numpy(np.stack(blocks))
    return {"input_ids": tokens, "labels": tokens}
