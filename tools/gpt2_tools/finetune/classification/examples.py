"""The texts of a data set as tokens on the disk, memory-mapped, with their labels and whether they are held out."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.common.text_stream import CHUNK, byte_chunks
from gpt2_tools.finetune.classification.labels import MOST_LABELS, sort_labels, stratified
from gpt2_tools.finetune.classification.rows import Columns, Row, place, read_rows
from gpt2_tools.finetune.tokens import AT_ONCE, FACTS, Encoder, Source
from omz_model_tools.common import disk_problems, publish_file

TOKENS, ENDS, LABELS, HELD = "texts.bin", "ends.npy", "labels.npy", "held_out.npy"
LISTED = 10
"""Labels that a line lists."""

Ids = npt.NDArray[Any]


@dataclass(frozen=True)
class ExampleFiles:
    """What was written. train, validation: tokens; texts: of each label to train on, and how many are held out.

    cut: the texts that had more tokens than a sequence may have. held_out: in words, what the validation is.
    """

    labels: list[str]
    texts: list[int]
    held_out_texts: int
    train: int
    validation: int
    cut: int
    dtype: str
    held_out: str


@dataclass(frozen=True)
class Form:
    """How a row becomes an example: its columns, the encoder, and the tokens of a text at most."""

    columns: Columns
    encoder: Encoder
    most: int


@dataclass
class _Read:
    """What was read of the data sets so far."""

    kinds: dict[str, int] = field(default_factory=dict)  # label -> its number by appearance
    labels: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    cut: int = 0


def write_examples(
    folder: Path,
    source: Source,
    held_out: Source | float,
    form: Form,
    in_order: Callable[[Sequence[str]], list[str]] = sort_labels,
) -> ExampleFiles:
    """Write the texts' tokens, their labels and the hold-out, then tokens.json.

    held_out: the data set to validate on, or the share of each label's texts that is. in_order: sorts the labels.
    Raises Problem for a row without text or label, for labels of one kind or of too many, and for labels to validate
    on that are none to train on.
    """
    read = _Read()
    with disk_problems(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).unlink(missing_ok=True)
        with (folder / TOKENS).open("wb") as file:
            for ids in _encoded(source, form, read):
                file.write(ids.astype(form.encoder.dtype).tobytes())
            known, count = _trained_labels(source, form.columns, read), len(read.labels)
            if isinstance(held_out, Source):
                for ids in _encoded(held_out, form, read):
                    file.write(ids.astype(form.encoder.dtype).tobytes())
                _refuse_none(held_out, len(read.labels) - count)
                _refuse_unseen(held_out, known, read.kinds)
        order = in_order(known)
        ids_of = np.array([order.index(label) for label in read.kinds])
        labels = ids_of[read.labels].astype(np.int32)
        held = np.arange(len(labels)) >= count if isinstance(held_out, Source) else stratified(labels, held_out)
        np.save(folder / ENDS, np.cumsum([0, *read.lengths]))
        np.save(folder / LABELS, labels)
        np.save(folder / HELD, held)
        facts = _facts(order, labels, held, read, form, held_out)
        new = folder / f".{FACTS}.new"
        new.write_text(json.dumps(asdict(facts)) + "\n", encoding="utf-8")
        publish_file(new, folder / FACTS)
    return facts


def open_examples(folder: Path) -> ExampleFiles | None:
    """Return what is in a folder of whole files; None if they are not there."""
    try:
        facts = ExampleFiles(**json.loads((folder / FACTS).read_bytes()))
        size = (folder / TOKENS).stat().st_size // np.dtype(facts.dtype).itemsize
        counts = {len(np.load(folder / name)) for name in (LABELS, HELD)} | {len(np.load(folder / ENDS)) - 1}
    except (OSError, ValueError, TypeError, EOFError):
        return None
    is_whole = size == facts.train + facts.validation and counts == {sum(facts.texts) + facts.held_out_texts}
    return facts if is_whole else None


def _encoded(source: Source, form: Form, read: _Read) -> Iterator[Ids]:
    """Yield the tokens of each text; note its label and length."""
    for path in source.files:
        lacks: dict[str, list[int]] = {"text": [], "label": []}  # the numbers of such rows
        rows = _labelled(path, form.columns, read, lacks)
        while some := list(islice(rows, AT_ONCE)):
            for row, ids in zip(some, form.encoder.encode_checked([row.text for row in some], path), strict=True):
                if not ids:
                    lacks["text"].append(row.number)
                read.cut += len(ids) > form.most
                read.lengths.append(min(len(ids), form.most))
                yield np.array(ids[: form.most], np.int64)
        for name, numbers in lacks.items():
            if numbers:
                rest = f" and {len(numbers) - 1} more rows have" if len(numbers) > 1 else " has"
                raise Problem(
                    f"{place(path, numbers[0])}{rest} no {name}; expected one in each: remove them, or add it"
                )


def _labelled(path: Path, columns: Columns, read: _Read, lacks: dict[str, list[int]]) -> Iterator[Row]:
    """Yield the rows that have text and label, whose number is noted; note those that lack one."""
    for row in read_rows(path, columns, _with_progress):
        if not row.text.strip() or not row.label:
            lacks["label" if row.text.strip() else "text"].append(row.number)
            continue
        label = read.kinds.setdefault(row.label, len(read.kinds))
        if label == MOST_LABELS:
            raise Problem(
                f"{place(path, row.number)}: has label {MOST_LABELS + 1} of different ones, {row.label[:40]!r}; "
                f"expected at most {MOST_LABELS}: is {columns.label!r} the column of the labels (--label_column)?"
            )
        read.labels.append(label)
        yield row


def _with_progress(path: Path) -> Iterator[bytes]:
    return counted(byte_chunks(path), -(-path.stat().st_size // CHUNK), "MB")


def _trained_labels(source: Source, columns: Columns, read: _Read) -> list[str]:
    """Return the labels to train on, which are two or more."""
    _refuse_none(source, len(read.labels))
    if len(read.kinds) == 1:
        (label,) = read.kinds
        names = ", ".join(map(str, source.files))
        raise Problem(
            f"{names}: has one kind of label, {label[:40]!r}, in all {len(read.labels)} rows of the column "
            f"{columns.label!r}; expected two or more"
        )
    return list(read.kinds)


def _refuse_none(source: Source, count: int) -> None:
    if not count:
        raise Problem(f"{', '.join(map(str, source.files))}: has no texts with labels; expected rows with both")


def _refuse_unseen(held_out: Source, known: Sequence[str], found: dict[str, int]) -> None:
    unseen = sort_labels([label for label in found if label not in set(known)])
    if unseen:
        names = ", ".join(map(str, held_out.files))
        raise Problem(
            f"{names}: has labels that the data set has not: {listed(unseen)}; expected {listed(sort_labels(known))}"
        )


def listed(labels: Sequence[str], most: int = LISTED) -> str:
    """Return labels in a line."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(" ".join(label.split())[:40] for label in labels[:most]) + more


def _facts(labels: list[str], ids: Ids, held: Ids, read: _Read, form: Form, held_out: Source | float) -> ExampleFiles:
    lengths = np.array(read.lengths)
    counts = Counter(ids[~held].tolist())
    words = ", ".join(map(str, held_out.files)) if isinstance(held_out, Source) else f"{held_out * 100:.3g}% of each label"
    return ExampleFiles(
        labels=labels,
        texts=[counts[i] for i in range(len(labels))],
        held_out_texts=int(held.sum()),
        train=int(lengths[~held].sum()),
        validation=int(lengths[held].sum()),
        cut=read.cut,
        dtype=form.encoder.dtype,
        held_out=words,
    )


class Examples:
    """The texts to train on, or those held out, as a data set of PyTorch."""

    def __init__(self, folder: Path, files: ExampleFiles, held_out: bool) -> None:
        self.labels = files.labels
        self._tokens = np.memmap(folder / TOKENS, files.dtype, "r")
        self._ends, self._labels = np.load(folder / ENDS), np.load(folder / LABELS)
        self._rows = np.flatnonzero(np.load(folder / HELD) == held_out)

    def spread(self, most: int) -> "Examples":
        """Return `most` of them at most, spread evenly over the data."""
        fewer = copy(self)
        if len(self) > most:
            fewer._rows = self._rows[np.linspace(0, len(self) - 1, most).astype(int)]
        return fewer

    @property
    def lengths(self) -> Ids:  # -> [N]
        """The tokens of each."""
        found: Ids = self._ends[self._rows + 1] - self._ends[self._rows]
        return found

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Ids, int]:  # -> [L], label
        row = self._rows[index]
        return self._tokens[self._ends[row] : self._ends[row + 1]].astype(np.int64), int(self._labels[row])


def collate(examples: Sequence[tuple[Ids, int]], pad: int) -> dict[str, Any]:  # B times [L], label -> [B, L], [B]
    """Return a batch, padded on the right to its longest text.

    There is no attention mask: attention is causal, so that no token sees the padding, which comes after the text.
    """
    import torch  # noqa: PLC0415

    tokens = np.full((len(examples), max(len(ids) for ids, _ in examples)), pad, np.int64)
    for row, (ids, _) in zip(tokens, examples, strict=True):
        row[: len(ids)] = ids
    return {"input_ids": torch.from_numpy(tokens), "labels": torch.tensor([label for _, label in examples])}
