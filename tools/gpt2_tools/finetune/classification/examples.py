"""The texts of a data set as tokens on the disk, memory-mapped, with their labels and whether they are held out."""

import json
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt2_tools.common.problem import Problem
from gpt2_tools.common.progress import counted
from gpt2_tools.common.text_stream import CHUNK, byte_chunks
from gpt2_tools.finetune.classification.labels import MOST_LABELS, sampled, sort_labels, stratified
from gpt2_tools.finetune.classification.rows import Columns, place, read_rows
from gpt2_tools.finetune.data.tokens import AT_ONCE, FACTS, Encoder, Source
from omz_model_tools.common import disk_problems, publishing

TOKENS, ENDS, LABELS, HELD = "texts.bin", "ends.npy", "labels.npy", "held_out.npy"
LISTED = 10
"""Labels that a line lists."""

Ids = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


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


@dataclass(frozen=True)
class HoldOut:
    """What is validated on: another data set, or the share of each label's texts; and texts at most, where limited."""

    data: Source | float
    most_trained: int | None = None
    most_held_out: int | None = None

    @property
    def sources(self) -> list[Source]:
        """The other data set, if there is one."""
        return [self.data] if isinstance(self.data, Source) else []

    @property
    def words(self) -> str:
        """What it is, in words."""
        if isinstance(self.data, Source):
            return ", ".join(map(str, self.data.files))
        return f"{self.data * 100:.3g}% of each label"


def write_examples(
    folder: Path,
    source: Source,
    hold_out: HoldOut,
    form: Form,
    in_order: Callable[[Sequence[str]], list[str]] = sort_labels,
) -> ExampleFiles:
    """Write the texts' tokens, their labels and the hold-out, then tokens.json.

    in_order: sorts the labels. All rows are read before any is encoded. Raises Problem for one without text or label,
    for labels of one kind or of too many, and for labels to validate on that are none to train on.
    """
    sources = [source, *hold_out.sources]
    with disk_problems(folder):
        labels, held, chosen, order = _survey(sources, hold_out, form.columns, in_order)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).unlink(missing_ok=True)
        lengths = []
        with (folder / TOKENS).open("wb") as file:
            for ids in _encoded(sources, chosen, form):
                lengths.append(len(ids))
                file.write(np.array(ids[: form.most], form.encoder.dtype).tobytes())
        kept = np.minimum(lengths, form.most)
        for name, array in ((ENDS, np.cumsum([0, *kept])), (LABELS, labels[chosen]), (HELD, held[chosen])):
            np.save(folder / name, array)
        is_trained = chosen & ~held
        facts = ExampleFiles(
            labels=order,
            texts=np.bincount(labels[is_trained], minlength=len(order)).tolist(),
            held_out_texts=int(held[chosen].sum()),
            train=int(kept[~held[chosen]].sum()),
            validation=int(kept[held[chosen]].sum()),
            cut=int((np.array(lengths) > form.most).sum()),
            dtype=form.encoder.dtype,
            held_out=hold_out.words,
        )
        with publishing(folder / FACTS) as out:
            out.write(f"{json.dumps(asdict(facts))}\n".encode())
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


def _survey(
    sources: Sequence[Source], hold_out: HoldOut, columns: Columns, in_order: Callable[[Sequence[str]], list[str]]
) -> tuple[Ids, Mask, Mask, list[str]]:  # -> [N], [N], [N], [C]
    """Read all rows; return their labels' ids, which are held out, which are taken, and the labels in order."""
    kinds: dict[str, int] = {}  # label -> its number by appearance
    found = [_labels_of(sources[0], columns, kinds)]
    _refuse_one_kind(sources[0], columns, kinds, len(found[0]))
    order = in_order(list(kinds))
    for other in sources[1:]:
        found.append(_labels_of(other, columns, kinds))
        _refuse_unseen(other, order, kinds)
    by_appearance = np.array([order.index(label) for label in kinds], np.int32)
    labels = by_appearance[np.concatenate(found)]
    if isinstance(hold_out.data, Source):
        held = np.arange(len(labels)) >= len(found[0])
    else:
        held = stratified(labels, hold_out.data)
    trained = sampled(labels, ~held, hold_out.most_trained)
    return labels, held, trained | sampled(labels, held, hold_out.most_held_out), order


def _labels_of(source: Source, columns: Columns, kinds: dict[str, int]) -> Ids:  # -> [N]
    """Return the number of each row's label. Raises Problem for rows that lack text or label, and for none."""
    numbers = []
    for path in source.files:
        lacks: dict[str, list[int]] = {"text": [], "label": []}  # the numbers of such rows
        for row in read_rows(path, columns, _with_progress):
            if not row.text.strip() or not row.label:
                lacks["label" if row.text.strip() else "text"].append(row.number)
                continue
            numbers.append(kinds.setdefault(row.label, len(kinds)))
            if len(kinds) > MOST_LABELS:
                raise Problem(
                    f"{place(path, row.number)}: has the {len(kinds)}th kind of label, {row.label[:40]!r}; expected at "
                    f"most {MOST_LABELS}: is {columns.label!r} the column of the labels (--label_column)?"
                )
        _refuse_lacking(path, lacks)
    if not numbers:
        raise Problem(f"{', '.join(map(str, source.files))}: has no texts with labels; expected rows with both")
    return np.array(numbers)


def _encoded(sources: Sequence[Source], chosen: Mask, form: Form) -> Iterator[list[int]]:
    """Yield the tokens of each text that is taken."""
    mask = iter(chosen)
    for path in (path for source in sources for path in source.files):
        rows = (row for row in read_rows(path, form.columns, _with_progress) if next(mask))
        while some := list(islice(rows, AT_ONCE)):
            found = form.encoder.encode_checked([row.text for row in some], path)
            _refuse_lacking(path, {"text": [row.number for row, ids in zip(some, found, strict=True) if not ids]})
            yield from found


def _with_progress(path: Path) -> Iterator[bytes]:
    return counted(byte_chunks(path), -(-path.stat().st_size // CHUNK), "MB")


def _refuse_lacking(path: Path, lacks: dict[str, list[int]]) -> None:
    for name, numbers in lacks.items():
        if numbers:
            more = f" and {len(numbers) - 1} more have" if len(numbers) > 1 else " has"
            raise Problem(f"{place(path, numbers[0])}{more} no {name}; expected a text and a label in each row")


def _refuse_one_kind(source: Source, columns: Columns, kinds: Sequence[str] | dict[str, int], count: int) -> None:
    if len(kinds) == 1:
        raise Problem(
            f"{', '.join(map(str, source.files))}: has one kind of label, {listed(list(kinds))}, in all {count} rows "
            f"of the column {columns.label!r}; expected two kinds or more"
        )


def _refuse_unseen(held_out: Source, known: Sequence[str], found: dict[str, int]) -> None:
    unseen = sort_labels([label for label in found if label not in set(known)])
    if unseen:
        names = ", ".join(map(str, held_out.files))
        raise Problem(f"{names}: has labels that the data set has not: {listed(unseen)}; expected {listed(known)}")


def listed(labels: Sequence[str], most: int = LISTED) -> str:
    """Return labels in a line."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(" ".join(label.split())[:40] for label in labels[:most]) + more


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
